//! The connection pool on a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod database;
#[path = "../support/databases.rs"]
#[expect(dead_code, unused_macros, unused_imports, reason = "the tests of the services use the rest")]
mod databases;
#[path = "../../../kit/tests/support/eventually.rs"]
mod eventually;
