//! The statements on the table `jobs`. `store/sql.rs` is compiled for both databases.

mod operator;
mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use kit::Timestamp;
use uuid::Uuid;

pub use operator::{Filter, Listed, Operator};

use crate::store::{Error, Pool};

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It waits for its next attempt, which may be due.
    Waiting,
    /// A process has claimed it.
    Running,
    /// A dead letter: only the operator changes it.
    Dead,
}

impl State {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Running, Self::Dead];

    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Dead => "dead",
        }
    }

    /// Reads the name in the database.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A database that can hold jobs: PostgreSQL or SQLite.
pub trait Database: sqlx::Database {
    /// Stores a job.
    #[doc(hidden)]
    fn insert<'a>(connection: &'a mut Self::Connection, new: &'a NewRow) -> BoxFuture<'a, sqlx::Result<()>>;

    /// The statements of a worker.
    #[doc(hidden)]
    fn statements(read: Pool<Self>, write: Pool<Self>) -> Arc<dyn Statements>;

    /// The statement that claims jobs of this number of kinds.
    #[doc(hidden)]
    fn claim_statement(kinds: usize) -> String;

    /// The jobs that match, the oldest first.
    #[doc(hidden)]
    fn list<'a>(connection: &'a mut Self::Connection, filter: &'a Filter) -> BoxFuture<'a, Result<Vec<Listed>, Error>>;

    /// The job with this id.
    #[doc(hidden)]
    fn find(connection: &mut Self::Connection, id: Uuid) -> BoxFuture<'_, Result<Option<Listed>, Error>>;

    /// Makes a job due that is not running, or whose claim has expired. Returns whether there is such a job.
    #[doc(hidden)]
    fn retry(connection: &mut Self::Connection, id: Uuid, now: Timestamp) -> BoxFuture<'_, Result<bool, Error>>;

    /// Makes a job due, and ends the claim of a process. Returns whether there is such a job.
    #[doc(hidden)]
    fn take_back(connection: &mut Self::Connection, id: Uuid, now: Timestamp) -> BoxFuture<'_, Result<bool, Error>>;

    /// Deletes a job that is not running, or whose claim has expired. Returns whether there is such a job.
    #[doc(hidden)]
    fn delete(connection: &mut Self::Connection, id: Uuid, now: Timestamp) -> BoxFuture<'_, Result<bool, Error>>;
}

/// A row to insert.
#[derive(Debug)]
pub struct NewRow {
    pub(super) id: Uuid,
    pub(super) kind: &'static str,
    pub(super) version: i32,
    pub(super) payload: String,
    /// The name of a recurring job, which has one row.
    pub(super) schedule: Option<&'static str>,
    pub(super) now: Timestamp,
    pub(super) due: Timestamp,
}

/// The jobs to claim.
#[derive(Debug)]
pub struct Claim {
    pub(super) now: Timestamp,
    /// When the claim ends unless it is renewed.
    pub(super) until: Timestamp,
    /// The most jobs.
    pub(super) limit: i64,
    pub(super) wanted: Vec<Wanted>,
}

/// The most jobs of one kind to claim.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) kind: &'static str,
    /// The newest version that the process can read.
    pub(super) version: i32,
    pub(super) limit: i64,
}

/// A claimed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub(super) id: Uuid,
    pub(super) kind: String,
    pub(super) version: i32,
    pub(super) payload: String,
    pub(super) create_time: Timestamp,
    /// The number of the claim: a change by an earlier claim has no effect.
    pub(super) claims: i64,
    /// The number of attempts, including this one.
    pub(super) attempts: i64,
    /// The claims in a row before this one whose lease has expired.
    pub(super) lost_leases: i64,
}

/// The next state of a claimed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    pub(super) state: State,
    pub(super) attempts: i64,
    pub(super) now: Timestamp,
    pub(super) due: Timestamp,
    /// The last failure; empty: there was none.
    pub(super) failure: String,
}

/// The jobs of one kind in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    pub(super) kind: String,
    pub(super) state: State,
    pub(super) jobs: i64,
    /// When the oldest one was enqueued, without recurring jobs.
    pub(super) oldest: Option<Timestamp>,
    /// The latest change.
    pub(super) update_time: Timestamp,
}

/// The statements of a worker.
#[async_trait]
pub trait Statements: Send + Sync {
    /// Claims due jobs: those that wait, and those whose lease has expired.
    async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>, Error>;

    /// Prolongs a claim. `false`: the claim is not in force any more.
    async fn renew(&self, id: Uuid, claim: i64, now: Timestamp, until: Timestamp) -> Result<bool, Error>;

    /// Changes the state of a claimed job. `false`: the claim is not in force any more.
    async fn put_back(&self, id: Uuid, claim: i64, next: &Next) -> Result<bool, Error>;

    /// Deletes a claimed job that is done. `false`: the claim is not in force any more.
    async fn remove(&self, id: Uuid, claim: i64) -> Result<bool, Error>;

    /// Stores a recurring job if it is missing, and makes a waiting one due no later than `new.due`.
    async fn schedule(&self, new: &NewRow) -> Result<(), Error>;

    /// The number and age of the jobs.
    async fn backlog(&self) -> Result<Vec<Backlog>, Error>;

    /// Makes jobs due that were changed after `after`: the clock was set back since.
    async fn rescue(&self, after: Timestamp, now: Timestamp, until: Timestamp) -> Result<u64, Error>;
}
