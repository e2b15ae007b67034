//! The server stack over real sockets: its limits at n and n + 1, deadlines and shutdown. It serves the users contract
//! with handlers of the test.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod audit;
mod bench;
mod deadlines;
#[path = "../support/eventually.rs"]
mod eventually;
mod introspection;
mod limits;
#[path = "../support/mesh.rs"]
#[expect(dead_code, reason = "the tests of the services use the rest")]
mod mesh;
mod shutdown;
mod skew;
mod wire;
