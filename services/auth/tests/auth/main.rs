//! The auth service: its store's contract on both databases, and its face over real channels with the real users
//! service behind it.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod account;
mod api;
#[path = "../../../kit/tests/support/databases.rs"]
mod databases;
mod deletion;
mod mesh;
mod messaging;
mod plans;
mod sessions;
mod sign_up;
#[path = "../../../kit/tests/support/stand_in.rs"]
mod stand_in;
mod store;
