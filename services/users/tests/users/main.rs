//! The users service: its store's contract on both databases, and its API over a real channel.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod api;
mod bench;
#[path = "../../../kit-data/tests/support/databases.rs"]
mod databases;
mod directory;
mod handles;
mod locks;
#[path = "../../../kit-data/tests/support/locks.rs"]
#[expect(dead_code, reason = "parts of it are used by the tests of other services only")]
mod locks_support;
#[path = "../../../kit/tests/support/mesh.rs"]
mod mesh;
#[path = "../../../kit-data/tests/support/plan.rs"]
mod plan;
mod profile;
mod search;
#[path = "../../../kit/tests/support/stand_in.rs"]
mod stand_in;
mod store;
