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
mod collect;
mod document;
mod escapes;
mod execution;
mod fields;
mod follow;
mod input;
mod introspection;
mod json_text;
mod limits;
mod loader;
mod names;
mod nesting;
mod output;
mod panics;
mod parse;
mod pieces;
mod plan;
mod references;
mod refused;
mod reply;
mod scalars;
mod schema;
mod source;
mod stop;
mod subscription;
#[cfg(test)]
mod test_contracts;
#[cfg(test)]
mod tests;
mod typename;
mod validation;
mod write;

pub use api::{Api, Operation, Options, Prepared, Request};
pub use budget::{Budget, Exceeded, Share};
pub use caller::{CallError, Caller, Message, MessageStream};
pub use document::{RootField, root_fields};
pub use limits::QueryLimits;
pub use panics::OnPanic;
pub use reply::Reply;
pub use source::{Method, Source};
