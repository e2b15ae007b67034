//! Makes a GraphQL schema of gRPC services from their descriptors, and executes operations as calls of their methods.
//!
//! The crate does no I/O: a [`Caller`] makes the calls. So each field of an operation is a call like any other, with the
//! access rules, limits and deadlines of its method. `docs/protocols.md` describes the schema.

mod analysis;
mod api;
mod arguments;
mod budget;
mod caller;
mod calls;
mod costs;
mod document;
mod layout;
mod loader;
mod names;
mod nesting;
mod output;
mod references;
mod reply;
mod scalars;
mod schema;
mod session;
mod source;
#[cfg(test)]
mod test_contracts;
#[cfg(test)]
mod tests;

pub use analysis::QueryLimits;
pub use api::{Api, Operation, Options, Prepared, Request};
pub use caller::{CallError, Caller, MessageStream};
pub use document::{RootField, root_fields};
pub use reply::Reply;
pub use source::{Method, Source};
