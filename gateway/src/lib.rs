//! The gateway: the only entry for outside callers. It speaks gRPC, gRPC-Web, Connect, JSON over HTTP, GraphQL and
//! WebSocket with them and gRPC with the services. It authenticates the caller, applies the contract's limits, and
//! forwards messages. It decodes only those of protocols that convert them.
//!
//! Services do not trust it with identities: it forwards the user's own token, and every service verifies it again.
//!
//! A program can serve its own tonic services with it, in one process: [`Gateway::embedded`].
//!
//! Its modules stand in layers: `xtask/src/checks/layers/table.rs` lists them, and `cargo xtask ci` checks them.

#![warn(missing_docs)]

mod authorization;
pub mod config;
mod external;
mod front;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod gateway;
mod graphql;
mod http;
mod io;
mod issuers;
mod limits_report;
mod method_catalog;
mod own_services;
mod page_origin;
mod protocol;
mod rate_limit;
mod reason;
mod route_rules;
mod routes;
mod rpc;
mod server;
mod state;
#[cfg(test)]
mod test_contracts;
mod tls;
mod upstream;

pub use config::Config;
pub use gateway::Gateway;
pub use issuers::{TokenReport, check_token};
pub use kit::shutdown::{Shutdown, ShutdownConfig};
pub use limits_report::{ExternalMethod, ShownLimits};
pub use method_catalog::{CatalogMethod, HttpForm, method_catalog};
pub use own_services::OwnServices;
pub use page_origin::PageOrigin;
pub use routes::Route;
pub use server::Listener;
