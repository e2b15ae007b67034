//! The operator's view of the jobs of a service, on a connection of its own. It works beside running processes, on
//! SQLite too, and while no process runs.

use kit::Timestamp;
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{Database, State};
use crate::store::{Error, Location, Unopened, postgres, sqlite};

/// A job, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The id.
    pub id: Uuid,
    /// The kind.
    pub kind: String,
    /// The version of the payload.
    pub version: i32,
    /// The arguments, as JSON.
    pub payload: String,
    /// Whether it is a recurring job.
    pub is_recurring: bool,
    /// The state.
    pub state: State,
    /// When it was enqueued.
    pub create_time: Timestamp,
    /// When the next attempt may start; of a running job, when its lease expires.
    pub due_time: Timestamp,
    /// The attempts so far.
    pub attempts: i64,
    /// The last failure; empty: there was none.
    pub failure: String,
}

/// The jobs to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Jobs in this state only.
    pub state: Option<State>,
    /// Jobs of this kind only.
    pub kind: Option<String>,
    /// The most jobs.
    pub limit: u32,
}

/// A connection to the jobs of a service.
pub struct Operator(OperatorConnection);

enum OperatorConnection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Operator {
    /// Connects. Changes no schema and creates no file.
    pub async fn connect(location: &Location, schema: &'static str) -> Result<Self, Unopened> {
        Ok(Self(match location {
            Location::Postgres(url) => OperatorConnection::Postgres(postgres::connect(url, schema).await?),
            Location::Sqlite(path) => OperatorConnection::Sqlite(sqlite::connect(path).await?),
        }))
    }

    /// The jobs that match, the oldest first.
    pub async fn list(&mut self, filter: &Filter) -> Result<Vec<Listed>, Error> {
        match &mut self.0 {
            OperatorConnection::Postgres(connection) => Postgres::list(connection, filter).await,
            OperatorConnection::Sqlite(connection) => Sqlite::list(connection, filter).await,
        }
    }

    /// The job with this id, if there is one.
    pub async fn find(&mut self, id: Uuid) -> Result<Option<Listed>, Error> {
        match &mut self.0 {
            OperatorConnection::Postgres(connection) => Postgres::find(connection, id).await,
            OperatorConnection::Sqlite(connection) => Sqlite::find(connection, id).await,
        }
    }

    /// Makes a job due now, with all of its attempts. `false`: there is no such job, or a process runs it.
    pub async fn retry(&mut self, id: Uuid, now: Timestamp) -> Result<bool, Error> {
        match &mut self.0 {
            OperatorConnection::Postgres(connection) => Postgres::retry(connection, id, now).await,
            OperatorConnection::Sqlite(connection) => Sqlite::retry(connection, id, now).await,
        }
    }

    /// Like [`Operator::retry`], also for a job that a process runs: ends its claim, so that the attempt of that process
    /// changes nothing any more. If that process has not ended, two attempts may run at once until it notices.
    pub async fn take_back(&mut self, id: Uuid, now: Timestamp) -> Result<bool, Error> {
        match &mut self.0 {
            OperatorConnection::Postgres(connection) => Postgres::take_back(connection, id, now).await,
            OperatorConnection::Sqlite(connection) => Sqlite::take_back(connection, id, now).await,
        }
    }

    /// Deletes a job. `false`: there is no such job, or a process runs it.
    pub async fn delete(&mut self, id: Uuid, now: Timestamp) -> Result<bool, Error> {
        match &mut self.0 {
            OperatorConnection::Postgres(connection) => Postgres::delete(connection, id, now).await,
            OperatorConnection::Sqlite(connection) => Sqlite::delete(connection, id, now).await,
        }
    }
}
