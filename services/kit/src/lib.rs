//! The foundation of all processes of the mesh: configuration, the server and client stacks, identity, policy, errors,
//! health, telemetry, the limiter and the bus. `kit-data` holds the base of the stores.
//!
//! `kit` knows the principals of calls and their sessions, but no profile, account or conversation.

pub mod access;
pub mod admin;
pub mod audit;
pub mod balance;
pub mod bus;
pub mod client;
pub mod config;
pub mod context;
pub mod cookie;
pub mod descriptors;
pub mod dns;
pub mod error;
pub mod filter;
pub mod grpc;
pub mod health;
pub mod identity;
pub mod jwk;
pub mod jwt;
pub mod keyring;
pub mod keys;
pub mod limiter;
pub mod limits;
pub mod machine;
pub mod origin;
pub mod overload;
pub mod page;
pub mod policy;
pub mod principal;
pub mod reason;
pub mod record;
pub mod redis;
pub mod repeated;
pub mod retry;
pub mod rng;
pub mod secret_file;
pub mod server;
pub mod shutdown;
pub mod skew;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod trace;

pub use context::{Caller, Context, extract};
pub use time::{ClockAndRng, Timestamp};
