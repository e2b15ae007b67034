//! The connection pool on a real PostgreSQL, and durable jobs and audit logs on both databases.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod audit;
mod database;
#[path = "../support/databases.rs"]
mod databases;
#[path = "../../../kit/tests/support/eventually.rs"]
mod eventually;
mod jobs;
#[path = "../support/locks.rs"]
#[expect(dead_code, reason = "the tests of the services use the rest")]
mod locks;
#[path = "../support/plan.rs"]
#[expect(dead_code, reason = "the tests of the services use the rest")]
mod plan;
mod writers;
