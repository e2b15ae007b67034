//! A connection pool with a bound on every wait, in which cancelled calls do not cost connections.
//!
//! It wraps sqlx's pool in this order: the bulkhead of the row that a transaction changes, the circuit breaker, and the
//! queue for a connection. sqlx closes a connection whose checkout is cancelled, and returns one to the pool without a
//! time limit. So both happen in a task that callers cannot cancel.
//!
//! After the deadline of a call the pool starts no statement for it, and commits nothing: its caller has an error, so
//! the call failed. A change that is its only statement begins a transaction too where BEGIN waits for the lock (SQLite).

use std::{
    fmt, io,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use futures_util::{TryStreamExt as _, future::BoxFuture, stream::BoxStream};
use sqlx::{Database, Describe, Either, Execute, Executor, SqlSafeStr as _, SqlStr, pool::PoolConnection};
use sqlx_core::transaction::TransactionManager as _;
use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use uuid::Uuid;

use super::{Config, Error, outage::Outage};
use crate::bulkhead::{Bulkhead, Place};
use kit::{audit::RecordedCall, context};

/// How long the return of a connection to the pool may take: an interrupted statement must end first. Beyond it the
/// connection is closed, and PostgreSQL stops the statement (`database.client_check`).
const RETURN_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection pool (see the module). Clones share the connections.
pub struct Pool<D: Database>(Arc<Inner<D>>);

struct Inner<D: Database> {
    connections: sqlx::Pool<D>,
    /// One permit for each connection, so that no call waits in sqlx's own queue.
    places: Arc<Semaphore>,
    waits: Waits,
    outage: Arc<Outage>,
    writers: Bulkhead<Uuid>,
    /// The statement that begins a transaction, if it takes the lock of all writers.
    begin: Option<&'static str>,
}

/// The bounds of the waits for a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// For a free connection.
    pub(super) connection: Duration,
    /// For BEGIN.
    pub(super) begin: Duration,
    /// Whether the only connection is the lock of all writers: then a wait for it is a wait for other changes.
    pub(super) is_lock: bool,
}

impl<D: Database> Pool<D> {
    pub(super) fn new(
        connections: sqlx::Pool<D>,
        config: &Config,
        waits: Waits,
        outage: Arc<Outage>,
        begin: Option<&'static str>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(connections.options().get_max_connections() as usize));
        let writers = Bulkhead::new(config.bounds());
        Self(Arc::new(Inner { connections, places, waits, outage, writers, begin }))
    }

    /// The maximum number of connections.
    pub fn max_connections(&self) -> u32 {
        self.0.connections.options().get_max_connections()
    }

    /// Whether the last probe of the database succeeded. Does not wait.
    pub fn is_reachable(&self) -> bool {
        self.0.outage.is_reachable()
    }

    /// Begins a transaction that does not lock a contended row.
    pub async fn begin(&self) -> Result<Transaction<'_, D>, Error> {
        self.begin_in(Vec::new()).await
    }

    /// Begins a transaction that locks `row` (a conversation, an account). Only a few transactions on one row hold a
    /// connection at once; the others wait before they take one.
    pub async fn begin_on(&self, row: Uuid) -> Result<Transaction<'_, D>, Error> {
        self.begin_on_all([row]).await
    }

    /// Begins a transaction that locks several rows. Waits in the queue of each, in total no longer than for one. All
    /// callers must use the same order of rows.
    pub async fn begin_on_all(&self, rows: impl IntoIterator<Item = Uuid>) -> Result<Transaction<'_, D>, Error> {
        let places = before(context::deadline(), self.0.writers.enter_all(rows)).await??;
        self.begin_in(places).await
    }

    /// Waits for the turn of one statement that locks the row. Hold the result until the statement has ended.
    pub async fn turn(&self, row: Uuid) -> Result<Place<Uuid>, Error> {
        Ok(before(context::deadline(), self.0.writers.enter(row)).await??)
    }

    async fn begin_in(&self, places: Vec<Place<Uuid>>) -> Result<Transaction<'_, D>, Error> {
        let lease = self.lease(true).await?;
        Ok(Transaction { lease, _places: places, _pool: self, wakes: Vec::new(), calls: Vec::new() })
    }

    /// A connection for one statement. It waits for the lock of all writers in BEGIN, not in the statement: only the
    /// former can be undone after the deadline.
    async fn checkout(&self) -> sqlx::Result<Lease<D>> {
        self.lease(self.0.begin.is_some()).await
    }

    /// A cancellation ends only the wait for a place. The checkout and BEGIN finish in a task, and the connection then
    /// returns to the pool: sqlx closes a connection whose checkout is cancelled, and does not roll back a cancelled
    /// BEGIN.
    async fn lease(&self, in_transaction: bool) -> sqlx::Result<Lease<D>> {
        let Inner { connections, places, waits, outage, begin, .. } = &*self.0;
        if outage.is_open() {
            return Err(away("the last probe of the database failed"));
        }
        let deadline = context::deadline();
        let place = before(deadline, timeout(waits.connection, Arc::clone(places).acquire_owned())).await?;
        // The semaphore is never closed.
        let place = place.map_err(|_| waits.elapsed())?.map_err(|_| sqlx::Error::PoolClosed)?;
        let limit = waits.begin;
        let (checkout, begin) = (connections.acquire(), begin.map(|text| text.into_sql_str()));
        let taking = tokio::spawn(async move {
            let connection = Some(checkout.await?);
            let mut lease = Lease { connection, place: Some(place), in_transaction: false, deadline };
            if in_transaction {
                let beginning = D::TransactionManager::begin(&mut lease, begin);
                let begun = timeout(limit, beginning).await;
                begun.map_err(|_| away("the database did not begin a transaction in time"))??;
                lease.in_transaction = true;
            }
            in_time(deadline)?;
            Ok(lease)
        });
        taking.await.unwrap_or_else(|broken| {
            Err(away(if broken.is_panic() { "the checkout of a connection panicked" } else { "the process stops" }))
        })
    }
}

impl Waits {
    /// The error after the wait for a connection. [`Error`] maps it to a status.
    fn elapsed(self) -> sqlx::Error {
        if self.is_lock { sqlx::Error::Io(io::ErrorKind::ResourceBusy.into()) } else { sqlx::Error::PoolTimedOut }
    }
}

/// Waits no longer than until the deadline of the call.
async fn before<T>(deadline: Option<Instant>, wait: impl Future<Output = T>) -> sqlx::Result<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, wait).await.map_err(|_| late()),
        None => Ok(wait.await),
    }
}

/// Returns an error after the deadline of the call.
fn in_time(deadline: Option<Instant>) -> sqlx::Result<()> {
    if deadline.is_some_and(|deadline| Instant::now() >= deadline) { Err(late()) } else { Ok(()) }
}

fn late() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::ResourceBusy, "the deadline of the call has passed"))
}

fn away(why: &'static str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, why))
}

impl<D: Database> Clone for Pool<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Database> fmt::Debug for Pool<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pool").field(&self.0.connections).finish()
    }
}

/// A connection that returns to its pool on drop, within a time limit.
struct Lease<D: Database> {
    /// `None` only during drop.
    connection: Option<PoolConnection<D>>,
    place: Option<OwnedSemaphorePermit>,
    /// A transaction is open; drop rolls it back.
    in_transaction: bool,
    /// The deadline of the call, after which nothing is committed.
    deadline: Option<Instant>,
}

impl<D: Database> Lease<D> {
    /// Commits the open transaction, if there is one.
    async fn commit(&mut self) -> sqlx::Result<()> {
        if self.in_transaction {
            in_time(self.deadline)?;
            D::TransactionManager::commit(self).await?;
            self.in_transaction = false;
        }
        Ok(())
    }
}

impl<D: Database> Deref for Lease<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        self.connection.as_ref().expect("a lease has its connection until it is dropped")
    }
}

impl<D: Database> DerefMut for Lease<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        self.connection.as_mut().expect("a lease has its connection until it is dropped")
    }
}

impl<D: Database> Drop for Lease<D> {
    fn drop(&mut self) {
        let (Some(mut connection), place) = (self.connection.take(), self.place.take()) else { return };
        if self.in_transaction {
            // Queues the ROLLBACK, which is sent during the return.
            D::TransactionManager::start_rollback(&mut connection);
        }
        // Without a runtime the process is ending, and the connection with it.
        let Ok(runtime) = Handle::try_current() else { return };
        let back = connection.return_to_pool();
        runtime.spawn(async move {
            // After a timeout the connection is closed; sqlx makes another one when necessary.
            if timeout(RETURN_TIMEOUT, back).await.is_err() {
                metrics::counter!("db_client_connections_abandoned_total").increment(1);
            }
            drop(place);
        });
    }
}

/// A transaction. Dropping it without [`commit`](Self::commit) rolls it back.
pub struct Transaction<'p, D: Database> {
    // The fields are dropped in this order: the connection returns to the pool before the next writer of the row starts.
    lease: Lease<D>,
    _places: Vec<Place<Uuid>>,
    _pool: &'p Pool<D>,
    /// Notified after the commit.
    wakes: Vec<Arc<Notify>>,
    /// The calls whose records the transaction has written.
    calls: Vec<Arc<RecordedCall>>,
}

impl<D: Database> Transaction<'_, D> {
    /// Commits, or rolls back if the deadline of the call has passed.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        self.lease.commit().await?;
        for wake in &self.wakes {
            wake.notify_one();
        }
        for call in &self.calls {
            call.recorded();
        }
        Ok(())
    }

    /// Notifies `wake` after the commit, and never if the transaction is rolled back.
    pub(crate) fn wake_after_commit(&mut self, wake: &Arc<Notify>) {
        self.wakes.push(Arc::clone(wake));
    }

    /// Notes after the commit that the call has its record.
    pub(crate) fn account_after_commit(&mut self, call: Arc<RecordedCall>) {
        self.calls.push(call);
    }

    /// Rolls back, and waits for the end of the rollback.
    pub async fn rollback(mut self) -> sqlx::Result<()> {
        D::TransactionManager::rollback(&mut self.lease).await?;
        self.lease.in_transaction = false;
        Ok(())
    }
}

impl<D: Database> Deref for Transaction<'_, D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        &self.lease
    }
}

impl<D: Database> DerefMut for Transaction<'_, D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        &mut self.lease
    }
}

impl<'p, D: Database> Executor<'p> for &Pool<D>
where
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    type Database = D;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, sqlx::Result<Either<D::QueryResult, D::Row>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, D>,
    {
        let pool = self.clone();
        Box::pin(sqlx_core::try_stream! {
            let mut lease = pool.checkout().await?;
            let mut rows = lease.fetch_many(query);
            while let Some(row) = rows.try_next().await? {
                r#yield!(row);
            }
            drop(rows);
            lease.commit().await
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<D::Row>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, D>,
    {
        let pool = self.clone();
        Box::pin(async move {
            let mut lease = pool.checkout().await?;
            let row = lease.fetch_optional(query).await?;
            lease.commit().await?;
            Ok(row)
        })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [D::TypeInfo]) -> BoxFuture<'e, sqlx::Result<D::Statement>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.lease(false).await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<D>>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.lease(false).await?.describe(sql).await })
    }
}
