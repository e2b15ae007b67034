//! The auth service: its store's contract on both databases, and its API over real channels with the real users service
//! behind it.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod account;
mod accounts;
mod admin;
mod api;
mod audit;
mod database;
#[path = "../../../kit-data/tests/support/databases.rs"]
mod databases;
mod deletion;
mod email;
mod erased;
mod factor_locks;
mod factors;
mod import;
mod limits;
mod locks;
#[path = "../../../kit-data/tests/support/locks.rs"]
#[expect(dead_code, reason = "parts of it are used by the tests of other services only")]
mod locks_support;
mod mail;
mod mesh;
mod messaging;
mod migration;
mod new_passwords;
mod peppers;
#[path = "../../../kit-data/tests/support/plan.rs"]
mod plan;
mod plans;
#[path = "../../../kit/tests/support/ports.rs"]
mod ports;
mod refusals;
mod sessions;
mod sign_up;
#[path = "../../../kit/tests/support/stand_in.rs"]
mod stand_in;
mod store;
mod unicode;
