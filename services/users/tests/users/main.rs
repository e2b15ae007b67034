//! The users service: its store's contract on both databases, and its API over a real channel.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod api;
#[path = "../../../kit/tests/support/databases.rs"]
mod databases;
#[path = "../../../kit/tests/support/mesh.rs"]
mod mesh;
mod store;
