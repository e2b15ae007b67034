//! The audit log of a service: who did what, to what, from where, and with which result.
//!
//! A service has its own tables `audit_events`, `audit_keys` and `audit_head`, in a migration of its own. A store writes
//! the record of a change with [`Log::record`] **in the transaction of the change**: both are stored, or neither is.
//! [`kit::audit`] knows whether an audited call has done so. A [`Sealer`] in each process seals records afterwards.
//!
//! # Guarantees
//!
//! - **Complete.** A committed change has its record. A refusal is counted in memory for at most
//!   [`AuditConfig::seal_interval`] before it is stored in a transaction of its own; a process that is killed loses those.
//!   Equal refusals of an interval are one record with their number. Beyond [`AuditConfig::refusals_per_minute`] records,
//!   and beyond ten times as many that wait for the database, their callers and targets are left out.
//! - **Sealed.** Each record gets a number without gaps and the SHA-256 of its fields and of the hash before it. Both are
//!   assigned in statements that start after the row `audit_head` is locked, so that any number of processes extend one
//!   chain. [`Reader::verify`] finds the first record that was changed, removed or inserted after it was sealed.
//! - **Erasable.** Personal fields are encrypted under a key of the person ([`Log::erase`] deletes it). The chain covers the
//!   encrypted form, so that it stays valid.
//! - **Pruned in order.** Records older than [`AuditConfig::retention`] are deleted from the start of the chain. The record
//!   of the deletion, in the same transaction, states where the chain begins from then on.

mod chain;
mod config;
mod ledger;
mod log;
mod personal;
mod query;
mod reader;
mod refusals;
mod sealer;
mod store;
mod verify;

pub use chain::Head;
pub use config::AuditConfig;
pub use log::Log;
pub use query::{Cursor, RecordQuery};
pub use reader::{ListedRecord, Reader};
pub use sealer::Sealer;
pub use store::AuditDatabase;
pub use verify::{Broken, Verified, VerifyError};
