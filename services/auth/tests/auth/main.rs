//! The auth service: its store's contract on both databases, and its face over real channels with the real users
//! service behind it.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod accounts;
mod api;
mod database;
#[path = "../../../kit/tests/support/databases.rs"]
mod databases;
mod limits;
mod mesh;
mod refusals;
mod sign_up;
mod store;
