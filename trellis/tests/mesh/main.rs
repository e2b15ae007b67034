//! The real binary, called from outside: one process or several, on either database.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panicking, and tell what they did")]

mod cli;
mod edge;
mod foreign;
mod harness;
mod kill;
mod limits;
mod split;
mod web;
