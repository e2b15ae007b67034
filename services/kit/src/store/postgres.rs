//! PostgreSQL: one schema a service, acknowledged means on disk.

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    AssertSqlSafe, PgPool,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{Unopened, gauge, refused};
use crate::{config::Secret, error::chain};

/// How long a call waits for a free connection before it is UNAVAILABLE.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A statement beyond this is stopped by the server: nothing here is meant to take so long.
const STATEMENT_TIMEOUT: &str = "30000";
/// What schemas are made under: "trellis" in ASCII, which nobody else is likely to lock.
const SCHEMA_LOCK: i64 = 0x74_72_65_6c_6c_69_73;

/// Connects, makes the schema when it is missing, and brings it up to date.
pub async fn open(url: &Secret, schema: &'static str, pool: u32, migrator: &Migrator) -> Result<PgPool, Unopened> {
    let options = PgConnectOptions::from_str(url.expose())
        .map_err(|e| Unopened(format!("{schema}.database_url is no PostgreSQL address: {}", chain(&e))))?;
    let place = format!("the database {}:{}", options.get_host(), options.get_port());
    let options = options.application_name(&format!("trellis-{schema}")).options([
        ("search_path", schema),
        ("synchronous_commit", "on"),
        ("statement_timeout", STATEMENT_TIMEOUT),
    ]);
    let pool = PgPoolOptions::new()
        .max_connections(pool)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_with(options)
        .await
        .map_err(|e| Unopened(format!("{place} cannot be reached ({schema}.database_url): {}", chain(&e))))?;
    // `schema` is one of this program's own names. The lock lasts until both statements are committed: IF NOT EXISTS
    // alone fails for the second of two replicas that start at the same moment.
    let make = format!("SELECT pg_advisory_xact_lock({SCHEMA_LOCK}); CREATE SCHEMA IF NOT EXISTS {schema}");
    sqlx::raw_sql(AssertSqlSafe(make))
        .execute(&pool)
        .await
        .map_err(|e| Unopened(format!("{place}: the schema {schema} cannot be made: {}", chain(&e))))?;
    migrator.run(&pool).await.map_err(|e| refused(&format!("{place}, schema {schema},"), &e))?;
    gauge::watch(schema.to_owned(), &pool);
    Ok(pool)
}
