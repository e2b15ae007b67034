//! The real binary, called from outside: one process or several, on either database.

mod cli;
mod edge;
mod foreign;
mod harness;
mod kill;
mod limits;
mod split;
mod web;
