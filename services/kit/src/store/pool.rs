//! A pool of connections whose every wait has a bound, and which callers that give up do not wear out.
//!
//! Around sqlx's pool stand, in this order: the bulkhead of the row that a transaction changes, the circuit breaker, and
//! the queue for a connection. sqlx closes a connection whose checkout is dropped half-way, and takes one back without a
//! time limit: here both happen in a task that no caller cancels.

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
    sync::{OwnedSemaphorePermit, Semaphore},
};
use uuid::Uuid;

use super::{Config, Error, outage::Outage};
use crate::bulkhead::{Bulkhead, Place};

/// How long a connection may take to become usable again after its caller has left it: an interrupted statement has to
/// end first. Beyond it the connection is closed, at which PostgreSQL stops the statement (`database.client_check`).
const RETURN_TIMEOUT: Duration = Duration::from_secs(1);

/// See the module. Clones share the connections.
pub struct Pool<D: Database>(Arc<Inner<D>>);

struct Inner<D: Database> {
    connections: sqlx::Pool<D>,
    /// One for each connection: sqlx's own queue is never waited in.
    places: Arc<Semaphore>,
    acquire_timeout: Duration,
    outage: Arc<Outage>,
    writers: Bulkhead<Uuid>,
    /// What a transaction begins with.
    begin: Option<&'static str>,
}

impl<D: Database> Pool<D> {
    pub(super) fn new(
        connections: sqlx::Pool<D>,
        config: &Config,
        acquire_timeout: Duration,
        outage: Arc<Outage>,
        begin: Option<&'static str>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(connections.options().get_max_connections() as usize));
        let writers = Bulkhead::new(config.bounds());
        Self(Arc::new(Inner { connections, places, acquire_timeout, outage, writers, begin }))
    }

    /// How many connections there are at most.
    pub fn max_connections(&self) -> u32 {
        self.0.connections.options().get_max_connections()
    }

    /// Whether the database can be used, as the probe found a moment ago. Waits for nothing.
    pub fn answers(&self) -> bool {
        self.0.outage.answers()
    }

    /// Begins a transaction that locks no row for which others may wait.
    pub async fn begin(&self) -> Result<Transaction<'_, D>, Error> {
        self.begin_in(Vec::new()).await
    }

    /// Begins a transaction that locks the row (of a conversation, an account) that `row` names. Of those of one row only
    /// a few hold a connection at once; the others wait before they take one.
    pub async fn begin_on(&self, row: Uuid) -> Result<Transaction<'_, D>, Error> {
        self.begin_on_all([row]).await
    }

    /// Begins a transaction that locks several rows, and waits for its turn with each of them, together no longer than for
    /// one. All callers name the rows in one order.
    pub async fn begin_on_all(&self, rows: impl IntoIterator<Item = Uuid>) -> Result<Transaction<'_, D>, Error> {
        let places = self.0.writers.enter_all(rows).await?;
        self.begin_in(places).await
    }

    /// Waits for the turn of one statement that locks the row. It is to be held until the statement has ended.
    pub async fn turn(&self, row: Uuid) -> Result<Place<Uuid>, Error> {
        Ok(self.0.writers.enter(row).await?)
    }

    async fn begin_in(&self, places: Vec<Place<Uuid>>) -> Result<Transaction<'_, D>, Error> {
        let lease = self.lease(true).await?;
        Ok(Transaction { lease, _places: places, _pool: self })
    }

    /// A connection for one statement.
    async fn checkout(&self) -> sqlx::Result<Lease<D>> {
        self.lease(false).await
    }

    /// Only the wait for a place ends with the caller. What follows goes on, and the connection goes back to the pool when
    /// its caller is gone: sqlx closes a connection whose checkout is cut, and does not roll back a BEGIN that is.
    async fn lease(&self, in_transaction: bool) -> sqlx::Result<Lease<D>> {
        let Inner { connections, places, acquire_timeout, outage, begin, .. } = &*self.0;
        if outage.is_open() {
            return Err(away("the database was away a moment ago"));
        }
        let place = tokio::time::timeout(*acquire_timeout, Arc::clone(places).acquire_owned()).await;
        // The semaphore is never closed.
        let place = place.map_err(|_| sqlx::Error::PoolTimedOut)?.map_err(|_| sqlx::Error::PoolClosed)?;
        let patience = *acquire_timeout;
        let (checkout, begin) = (connections.acquire(), begin.map(|text| text.into_sql_str()));
        let taking = tokio::spawn(async move {
            let mut lease = Lease { connection: Some(checkout.await?), place: Some(place), in_transaction: false };
            if in_transaction {
                let beginning = D::TransactionManager::begin(&mut lease, begin);
                let begun = tokio::time::timeout(patience, beginning).await;
                begun.map_err(|_| away("the database did not begin a transaction in time"))??;
                lease.in_transaction = true;
            }
            Ok(lease)
        });
        taking.await.unwrap_or_else(|_| Err(away("the checkout of a connection broke")))
    }
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

/// A connection that goes back to its pool, within a bound.
struct Lease<D: Database> {
    /// Taken when it is dropped.
    connection: Option<PoolConnection<D>>,
    place: Option<OwnedSemaphorePermit>,
    /// A transaction is open, which is rolled back unless it was committed.
    in_transaction: bool,
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
            // Queued, and sent on the way back.
            D::TransactionManager::start_rollback(&mut connection);
        }
        // Without a runtime the process ends, and the connection with it.
        let Ok(runtime) = Handle::try_current() else { return };
        let back = connection.return_to_pool();
        runtime.spawn(async move {
            // Dropped half-way, the connection is closed, and sqlx makes another one when it is needed.
            if tokio::time::timeout(RETURN_TIMEOUT, back).await.is_err() {
                metrics::counter!("db_client_connections_abandoned_total").increment(1);
            }
            drop(place);
        });
    }
}

/// A transaction. Dropped without [`commit`](Self::commit) it is rolled back.
pub struct Transaction<'p, D: Database> {
    // In this order: the next writer of a row starts after the connection was given back.
    lease: Lease<D>,
    _places: Vec<Place<Uuid>>,
    _pool: &'p Pool<D>,
}

impl<D: Database> Transaction<'_, D> {
    /// Makes it last.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        D::TransactionManager::commit(&mut self.lease).await?;
        self.lease.in_transaction = false;
        Ok(())
    }

    /// Undoes it, and waits until it is undone.
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
            Ok(())
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<D::Row>>>
    where
        'p: 'e,
        E: 'q + Execute<'q, D>,
    {
        let pool = self.clone();
        Box::pin(async move { pool.checkout().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [D::TypeInfo]) -> BoxFuture<'e, sqlx::Result<D::Statement>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.checkout().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<D>>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.checkout().await?.describe(sql).await })
    }
}
