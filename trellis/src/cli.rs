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
