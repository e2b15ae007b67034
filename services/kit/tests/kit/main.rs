//! The server stack over real sockets: its limits at n and n + 1, deadlines and shutdown. It serves the users contract
//! with handlers of the test. Also the connection pool on a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bench;
mod database;
#[path = "../support/databases.rs"]
#[expect(dead_code, unused_macros, unused_imports, reason = "the tests of the services use the rest")]
mod databases;
mod deadlines;
mod introspection;
mod limits;
#[path = "../support/mesh.rs"]
#[expect(dead_code, reason = "the tests of the services use the rest")]
mod mesh;
mod shutdown;
mod skew;
mod wire;
