//! The server stack over real sockets: its limits at n and n + 1, deadlines, and the way down. What is served is
//! the users contract with handlers of the test's own.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod bench;
mod deadlines;
mod introspection;
mod limits;
#[path = "../support/mesh.rs"]
#[expect(dead_code, reason = "what the tests of the services use of it too")]
mod mesh;
mod shutdown;
mod wire;
