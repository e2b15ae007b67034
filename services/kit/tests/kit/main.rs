//! The server stack over real sockets: its limits at n and n + 1, deadlines, and the way down. What is served is
//! the users contract with handlers of the test's own. And the ground under the stores, on a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bench;
mod database;
#[path = "../support/databases.rs"]
#[expect(dead_code, unused_macros, unused_imports, reason = "what the tests of the services use of it too")]
mod databases;
mod deadlines;
mod introspection;
mod limits;
#[path = "../support/mesh.rs"]
#[expect(dead_code, reason = "what the tests of the services use of it too")]
mod mesh;
mod shutdown;
mod skew;
mod wire;
