//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use kit_data::audit::Head;
use uuid::Uuid;

use crate::{explain::MethodName, part::Part, services::Service};

/// Users, sign-in and messaging as gRPC services, and the gateway that browsers call them through.
///
/// Without a command, this process runs all services and the gateway. They store their data in SQLite files in
/// the data folder, unless the configuration names databases.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Cli {
    /// Configuration file (TOML) [default: the file that $TRELLIS_CONFIG names, if it is set]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Set a configuration key, for example gateway.listen=localhost:9000. Repeat it to set several keys
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The command. `None` runs all parts.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Service(Service),
    /// Run only the gateway
    Gateway,
    /// Migrate the databases to the schema of this version, then exit
    Migrate {
        /// The services whose databases to migrate [default: all]
        services: Vec<Service>,
    },
    /// Print the effective configuration, with secrets masked, or check it
    Config {
        /// Check the settings instead, as the start of PART does [default: of all parts in one process]
        ///
        /// It reads the files that the settings name, so run it where the process runs. It opens no port, no database
        /// and no private key.
        #[arg(long, value_name = "PART", num_args = 0..=1, value_parser = Part::named)]
        check: Option<Option<Part>>,
    },
    /// Print the policy of every method, and the source of each value
    Policy,
    /// Show how to call a method in each protocol, its policy, and what a browser meets
    ///
    /// Prints commands that work when they are pasted: curl, grpcurl, TypeScript and Python. They read the access token of
    /// a signed-in user from the variable ACCESS_TOKEN. Methods of an external upstream are known if its descriptors are a
    /// file. It opens no connection.
    Explain(Explain),
    /// Create, rotate, replace and list keys
    Keys {
        #[command(subcommand)]
        command: Keys,
    },
    /// List, retry and delete the jobs of the services
    Jobs {
        #[command(subcommand)]
        command: Jobs,
    },
    /// Examine access tokens
    Token {
        #[command(subcommand)]
        command: Token,
    },
    /// List, verify and export the audit logs of the services
    Audit {
        #[command(subcommand)]
        command: Audit,
    },
    /// Import the accounts of another service
    Accounts {
        #[command(subcommand)]
        command: Accounts,
    },
    /// Administer the accounts
    ///
    /// All commands but invite call the API through the gateway as an admin, and the services record them. Keys, jobs and
    /// dead letters have commands of their own, which need the operator's access to the files and databases: trellis keys
    /// and trellis jobs.
    Admin {
        #[command(flatten)]
        caller: AdminCaller,
        #[command(subcommand)]
        command: Admin,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// The arguments of `trellis explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The method, such as trellis.users.v1.UsersService/GetUser, or the end of its name: GetUser
    #[arg(value_parser = MethodName, hide_possible_values = true)]
    pub(crate) method: String,
    /// The origin of a page that calls the method, such as https://app.example.org
    #[arg(long)]
    pub(crate) origin: Option<String>,
    /// The address of the gateway, such as https://api.example.org [default: its first listener]
    #[arg(long, value_name = "URL")]
    pub(crate) gateway: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// The commands of `trellis keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Create the identity of a service: NAME.key, its secret key, and NAME.pub, which the other services trust
    New {
        /// The service, or gateway
        #[arg(long)]
        name: String,
        /// The folder for the key files
        #[arg(long)]
        out: PathBuf,
    },
    /// Create the secrets of auth: the key that signs access tokens, and the key that encrypts refresh tokens
    Auth {
        /// The folder for the key files
        #[arg(long)]
        out: PathBuf,
    },
    /// Take the next step of replacing the key that signs access tokens, and print what to do next
    ///
    /// A rotation has three steps, and each run takes one. The first publishes a new key, which does not sign yet. The
    /// second makes the new key sign, while the old one is still published. The third removes the old key. Copy the
    /// changed file to every replica of auth before the next step; running processes load it without a restart. If a
    /// step would invalidate tokens that are in use, the command refuses it and prints how long to wait.
    Rotate {
        /// The folder with the secrets of auth [default: auth.keys_dir, or "keys" in the data folder]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Do not wait between steps: the services may refuse valid access tokens
        ///
        /// Do not use it for a stolen key: the steps may leave it trusted. `trellis keys replace` removes all old keys.
        #[arg(long)]
        now: bool,
    },
    /// Replace all keys that sign access tokens by a new one at once, for example after a theft
    ///
    /// Removes the keys of every state. Copy the changed file to every replica of auth at once; running processes load it
    /// without a restart. The services then refuse every access token that was issued before. Clients obtain new ones
    /// with their refresh tokens, so that users stay signed in.
    Replace {
        /// The folder with the secrets of auth [default: auth.keys_dir, or "keys" in the data folder]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// List the keys that sign access tokens, and their states
    List {
        /// The folder with the secrets of auth [default: auth.keys_dir, or "keys" in the data folder]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Create a pepper of password hashes, or take the next step of replacing it, and print what to do next
    ///
    /// A pepper is a secret that enters every hash, so that a stolen database alone allows no guessing. The first run adds
    /// a pepper to the file peppers.keys. Copy it to every replica of auth. The second run makes it current: it enters new
    /// hashes, and the hash of each user at the next sign-in. Old peppers stay until no hash needs them.
    Pepper {
        /// The folder with the secrets of auth [default: auth.keys_dir, or "keys" in the data folder]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Use the pepper at once: users of replicas without the changed file cannot sign in
        ///
        /// For a mesh in one process, and if all replicas have the last file.
        #[arg(long)]
        now: bool,
    },
    /// List the peppers, their states, and the number of hashes that need each
    Peppers {
        /// The folder with the secrets of auth [default: those of the configuration, or "keys" in the data folder]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Remove an old pepper that no hash needs
    RemovePepper {
        /// The id, as `trellis keys peppers` prints it
        id: String,
        /// The folder with the secrets of auth [default: auth.keys_dir, or "keys" in the data folder]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Do not wait until every replica has the last change
        #[arg(long)]
        now: bool,
    },
}

/// The commands of `trellis token`.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Token {
    /// Explain why the gateway accepts or refuses a token of another issuer (gateway.token_issuers)
    ///
    /// Reads the token from standard input, and the keys of its issuer over the network. Prints what the token states
    /// beside what the configuration accepts, and fails if the token is refused.
    Check,
}

/// The commands of `trellis jobs`.
#[derive(Debug, Subcommand)]
pub(crate) enum Jobs {
    /// List jobs, the oldest first, with the last failure of each
    ///
    /// A job that has failed too often is "dead": it stays until you retry or delete it.
    List {
        /// Only jobs in this state
        #[arg(long)]
        state: Option<JobState>,
        /// Only jobs of this kind, for example account.deleted
        #[arg(long)]
        kind: Option<String>,
        /// The most jobs of each service
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// Print the arguments of each job too
        #[arg(long)]
        arguments: bool,
    },
    /// Make jobs due now, with all of their attempts
    ///
    /// A running process starts them after at most jobs.poll_interval.
    Retry {
        /// The ids of dead jobs, or of jobs that wait for their next attempt
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<Uuid>,
        /// Retry all dead jobs
        #[arg(long)]
        all: bool,
        /// With --all: only dead jobs of this kind
        #[arg(long, requires = "all", conflicts_with = "ids")]
        kind: Option<String>,
        /// Retry running jobs too, for example those of a killed process
        ///
        /// A job of a killed process otherwise waits for the end of its lease. If its process still runs, that attempt
        /// is stopped within the lease and changes nothing. Until then two attempts may run at once.
        #[arg(long, conflicts_with = "all")]
        force: bool,
    },
    /// Delete jobs that are not running; their work stays undone
    Delete {
        /// The ids
        #[arg(required = true)]
        ids: Vec<Uuid>,
    },
}

/// The commands of `trellis admin`.
#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Print a link that makes the account that opens it an admin
    ///
    /// Writes to the database of auth, so run it where its configuration is. The link works once, for
    /// auth.admin_code_lifetime, and replaces an earlier one. Use it for the first admin, or when no admin can sign in.
    Invite {
        /// The address of the page, such as https://chat.example.org [default: the gateway's first listener]
        #[arg(long, value_name = "URL")]
        page: Option<String>,
    },
    /// List the accounts, the newest first
    Users {
        /// Only the account with this e-mail address
        #[arg(long)]
        email: Option<String>,
        /// Only accounts in this state
        #[arg(long)]
        state: Option<AccountState>,
        /// Only accounts with this role
        #[arg(long)]
        role: Option<String>,
        /// The most accounts
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Show an account
    Show {
        /// The id or the e-mail address of the user
        user: String,
    },
    /// Grant a role; it takes effect with the user's next access token
    Grant {
        /// The id or the e-mail address of the user
        user: String,
        /// The role: admin, auditor, support, or one of auth.own_roles
        role: String,
    },
    /// Revoke a role, and end all sessions of the user
    Revoke {
        /// The id or the e-mail address of the user
        user: String,
        /// The role
        role: String,
    },
    /// Suspend an account: all of its sessions end, and it cannot sign in until it is restored
    Suspend {
        /// The id or the e-mail address of the user
        user: String,
    },
    /// Restore a suspended account
    Restore {
        /// The id or the e-mail address of the user
        user: String,
    },
    /// Send a user a link to set a new password
    Reset {
        /// The id or the e-mail address of the user
        user: String,
    },
    /// List the sessions of a user, the last used first
    Sessions {
        /// The id or the e-mail address of the user
        user: String,
    },
    /// End sessions of a user
    EndSessions {
        /// The id or the e-mail address of the user
        user: String,
        /// The id of the session
        #[arg(long, value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
        session: Option<Uuid>,
        /// End all sessions
        #[arg(long)]
        all: bool,
    },
    /// List the records of the audit logs, the newest first
    ///
    /// trellis audit reads the databases instead, and can also verify and export the logs.
    Audit {
        /// Only records that match, for example 'target = "users/ID*" AND code != OK' (AIP-160)
        #[arg(long, default_value = "", hide_default_value = true)]
        filter: String,
        /// Only this service
        #[arg(long)]
        service: Option<Service>,
        /// List the oldest first
        #[arg(long)]
        oldest_first: bool,
        /// The most records
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

/// The admin who makes the calls of `trellis admin`.
#[derive(Debug, Args)]
pub(crate) struct AdminCaller {
    /// The e-mail address of the admin who makes the calls; the password is read from standard input
    #[arg(long, global = true, value_name = "EMAIL", conflicts_with = "token_file")]
    pub(crate) admin: Option<String>,
    /// A file with the password of the admin, which only its owner can read
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "token_file")]
    pub(crate) password_file: Option<PathBuf>,
    /// A file with an access token of the admin, instead of signing in
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The address of the gateway, on this machine [default: the gateway's first listener]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) gateway: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The state of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AccountState {
    /// The sign-up is not finished
    Pending,
    /// It may sign in
    Active,
    /// An admin has suspended it
    Suspended,
    /// Its owner has deleted it
    Deleted,
}

/// The commands of `trellis audit`.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List records, the newest first
    List {
        #[command(flatten)]
        records: Records,
        /// The most records of each service
        #[arg(long, default_value_t = 100)]
        limit: u32,
        /// List the oldest first
        #[arg(long)]
        oldest_first: bool,
    },
    /// Verify that no sealed record was changed, removed or inserted
    ///
    /// Prints the end of each chain as an anchor. Note it outside of the database: with --anchor the command also finds
    /// records that were removed from the end, and a chain that was replaced as a whole.
    Verify {
        /// Only this service
        #[arg(long)]
        service: Option<Service>,
        /// An anchor that was printed or logged before. Repeat it for several services
        #[arg(long, value_name = "SERVICE:SEQ:HASH", value_parser = Anchor::parse)]
        anchor: Vec<Anchor>,
    },
    /// Print all records that match, the oldest first
    Export {
        #[command(flatten)]
        records: Records,
        /// The format
        #[arg(long, default_value = "jsonl")]
        format: AuditFormat,
    },
}

/// The records to print.
#[derive(Debug, Args)]
pub(crate) struct Records {
    /// Only this service
    #[arg(long)]
    pub(crate) service: Option<Service>,
    /// Only records that match, for example 'target = "users/ID*" AND code != OK' (AIP-160)
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) filter: String,
}

/// The format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditFormat {
    /// One JSON object a line
    Jsonl,
    /// One CloudEvent a line, in the JSON format of CloudEvents 1.0
    Cloudevents,
}

/// The noted end of a service's chain.
#[derive(Debug, Clone)]
pub(crate) struct Anchor {
    pub(crate) service: Service,
    pub(crate) head: Head,
}

impl Anchor {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = || "an anchor is SERVICE:SEQ:HASH, as trellis audit verify prints it".to_owned();
        let (service, head) = text.split_once(':').ok_or_else(expected)?;
        let service = Service::ALL.iter().copied().find(|known| known.name() == service).ok_or_else(expected)?;
        Ok(Self { service, head: Head::parse(head).ok_or_else(expected)? })
    }
}

/// The commands of `trellis accounts`.
#[derive(Debug, Subcommand)]
pub(crate) enum Accounts {
    /// Import accounts with the hashes of their passwords, so that the users keep their passwords
    ///
    /// FILE has JSON lines, or CSV with a line of names. The fields are email and hash (both required), handle,
    /// display_name, verified, and created (RFC 3339). Hashes of Argon2, bcrypt, scrypt and PBKDF2 are verified at the first
    /// sign-in,
    /// and then replaced. Bad lines are printed with their number and their reason, and all others are imported. An import
    /// can be repeated: an address that has an account is left as it is. It works beside running processes.
    Import {
        /// The file; - is the standard input
        file: PathBuf,
        /// Only check the lines, and count the accounts that would be new
        #[arg(long)]
        dry_run: bool,
        /// Print JSON: one object for each bad line, and one with the counts
        #[arg(long)]
        json: bool,
    },
}

/// The state of a job.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum JobState {
    /// It waits for its next attempt.
    Waiting,
    /// A process runs it.
    Running,
    /// It has failed too often.
    Dead,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_of_retried_jobs_needs_all() {
        let id = "00000000-0000-0000-0000-000000000000";
        let accepts = |args: &[&str]| Cli::try_parse_from([&["trellis", "jobs", "retry"], args].concat()).is_ok();
        assert!(accepts(&["--all", "--kind", "account.deleted"]));
        assert!(accepts(&[id]));
        assert!(!accepts(&["--kind", "account.deleted", id]), "the kind would have no effect");
        assert!(!accepts(&["--kind", "account.deleted"]));
    }
}
