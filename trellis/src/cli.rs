//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Users, sign-in and messaging as gRPC services, and the gateway that browsers call them through.
///
/// Without a command all four run in this process, on SQLite in the data folder unless databases are
/// configured.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
pub(crate) struct Cli {
    /// The configuration file (TOML). Default: $TRELLIS_CONFIG, if it is set.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one key of the configuration, such as gateway.listen=localhost:9000. May be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// What to do; nothing: run everything.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the users service alone.
    Users,
    /// Runs the auth service alone.
    Auth,
    /// Runs the messaging service alone.
    Messaging,
    /// Runs the gateway alone.
    Gateway,
    /// Brings the databases up to date, and ends.
    Migrate {
        /// Whose. Default: all.
        services: Vec<Service>,
    },
    /// Prints the effective configuration, secrets masked.
    Config,
    /// Prints every method with the policy that is in force, and where it comes from.
    Policy,
    /// Makes keys.
    Keys {
        #[command(subcommand)]
        command: Keys,
    },
    /// Prints a completion script for a shell.
    Completions {
        /// Which shell.
        shell: Shell,
    },
}

/// Which keys to make.
#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Makes a service's identity: NAME.key, its secret, and NAME.pub, which the others trust.
    New {
        /// The service: users, auth, messaging or gateway.
        #[arg(long)]
        name: String,
        /// The folder to write into.
        #[arg(long)]
        out: PathBuf,
    },
    /// Makes auth's secrets: the key that signs access tokens, and the one that seals refresh tokens.
    Auth {
        /// The folder to write into.
        #[arg(long)]
        out: PathBuf,
    },
    /// Takes the next step in replacing the key that signs access tokens, and says what to do after it.
    ///
    /// A rotation has three steps. Each run takes one: it adds a key that is published and signs nothing yet; it lets
    /// that key sign, while the old one is still published; it removes the old key. Bring each step to every replica of
    /// auth before the next. A running process takes the changed file over by itself. A step that would refuse tokens
    /// which are still in use is not taken before its time.
    Rotate {
        /// The folder with auth's secrets. Default: auth.keys_dir, else the one in the data folder.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Waits for nothing. Three runs replace a stolen key at once: all access tokens are refused then, and clients
        /// fetch new ones by their refresh tokens.
        #[arg(long)]
        now: bool,
    },
    /// Lists the keys that sign access tokens, with their states.
    List {
        /// The folder with auth's secrets. Default: auth.keys_dir, else the one in the data folder.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// A service with a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    /// Profiles.
    Users,
    /// Accounts and sessions.
    Auth,
    /// Conversations.
    Messaging,
}

impl Service {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Users, Self::Auth, Self::Messaging];

    /// Its name in the configuration, in service tokens, and in the data folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Auth => "auth",
            Self::Messaging => "messaging",
        }
    }
}
