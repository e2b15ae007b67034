//! The messaging service: its store's contract on both databases, and its API over real channels with the real
//! users service behind it.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "../../../kit/tests/support/databases.rs"]
mod databases;
mod store;
