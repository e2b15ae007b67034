//! The metrics of a connection pool.

use std::time::Duration;

use metrics::gauge;
use sqlx::{Database, Pool};

/// The interval of the metrics.
const PERIOD: Duration = Duration::from_secs(5);

/// Updates the pool's metrics until it is closed (OpenTelemetry's `db.client.connection.count`).
pub(super) fn watch<D: Database>(name: String, pool: &Pool<D>) {
    let pool = pool.clone();
    tokio::spawn(async move {
        let count =
            |state: &'static str| gauge!("db_client_connection_count", "pool" => name.clone(), "state" => state);
        let (idle, used) = (count("idle"), count("used"));
        while !pool.is_closed() {
            let free = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
            idle.set(free);
            used.set(pool.size().saturating_sub(free));
            tokio::time::sleep(PERIOD).await;
        }
    });
}
