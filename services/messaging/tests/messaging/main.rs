//! The messaging service: its store's contract on both databases, and its API over real channels with a real users
//! service.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod admission;
mod admission_locks;
mod api;
mod bench;
mod blocks;
mod changes;
#[path = "../../../kit-data/tests/support/databases.rs"]
mod databases;
mod delivery;
#[path = "../../../kit/tests/support/dice.rs"]
mod dice;
mod doubles;
mod erased;
mod history;
mod invitations;
mod limits;
mod locks;
#[path = "../../../kit-data/tests/support/locks.rs"]
mod locks_support;
#[path = "../../../kit/tests/support/mesh.rs"]
#[expect(dead_code, reason = "the tests of other services use the rest")]
mod mesh;
mod methods;
mod model;
mod outage;
mod pages;
#[path = "../../../kit-data/tests/support/plan.rs"]
mod plan;
mod plans;
mod quotas;
mod rules;
mod sizes;
mod stalled;
mod statements;
mod storage;
mod store;
mod tokens;
