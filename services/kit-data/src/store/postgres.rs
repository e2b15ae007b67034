//! PostgreSQL: one schema for each service, with synchronous commits.

mod connect;
mod probe;
mod tls;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sqlx::{
    AssertSqlSafe, Connection as _, Postgres,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgConnection, PgPoolOptions},
};

use super::{
    Config, Migrated, OlderSchema, Pool, Settings, Unopened, gauge, migrate,
    outage::{self, Outage},
    pool::Waits,
};
use kit::{config::Secret, error::chain};
use probe::PostgresProbe;

/// The key of the advisory lock for migrations: "trellis" in ASCII, which other programs are unlikely to use.
const MIGRATION_LOCK: i64 = 0x74_72_65_6c_6c_69_73;

/// Connects, creates the schema if it is missing, and applies the migrations.
pub fn open<'a>(
    url: &'a Secret,
    schema: &'static str,
    settings: &'a Settings,
    migrator: &'a Migrator,
) -> BoxFuture<'a, Result<Pool<Postgres>, Unopened>> {
    // Boxed, because the compiler cannot prove that sqlx's futures are Send.
    Box::pin(opened(url, schema, settings, migrator))
}

async fn opened(
    url: &Secret,
    schema: &'static str,
    settings: &Settings,
    migrator: &Migrator,
) -> Result<Pool<Postgres>, Unopened> {
    let options = options(url, schema, &format!("trellis-{schema}"))?;
    let config = &settings.database;
    let migrated = match settings.older_schema {
        OlderSchema::Migrate => bring_up_to_date(&options, schema, config, migrator).await?,
        OlderSchema::Refuse => check(&options, schema, migrator).await?,
    };
    settings.migrated.set(migrated).ok();
    let options = options.options(timeouts(config));
    let outage = Outage::none();
    let connections = PgPoolOptions::new()
        .max_connections(settings.pool_size)
        .acquire_timeout(config.acquire_timeout.0)
        .before_acquire(|_, found| Box::pin(std::future::ready(Ok(!outage::is_suspect(found.age)))))
        .connect_lazy_with(options.clone());
    gauge::watch(schema.to_owned(), &connections);
    outage::watch(schema.to_owned(), &outage, PostgresProbe::new(options));
    let limit = config.acquire_timeout.0;
    let waits = Waits { connection: limit, begin: limit, is_lock: false };
    Ok(Pool::new(connections, config, waits, Arc::clone(&outage), None))
}

/// Connects to a service's schema, for the operator. Changes nothing.
pub(crate) async fn connect(url: &Secret, schema: &'static str) -> Result<PgConnection, Unopened> {
    let options = options(url, schema, "trellis-operator")?.options(timeouts(&Config::default()));
    connect::connect(&key(schema), &options).await.map_err(Unopened)
}

/// The options of every connection to a service's schema: TLS beyond the loopback, and durable commits.
fn options(url: &Secret, schema: &'static str, application: &str) -> Result<PgConnectOptions, Unopened> {
    let options = connect::options(&key(schema), url).map_err(Unopened)?;
    let session = [("search_path", schema), ("synchronous_commit", "on")];
    Ok(tls::required(options, schema).application_name(application).options(session))
}

/// Checks a URL without a connection.
pub(super) fn check_url(key: &str, url: &Secret) -> Result<(), String> {
    connect::options(key, url).map(drop)
}

/// The configuration key of a service's URL.
fn key(schema: &str) -> String {
    format!("{schema}.database_url")
}

/// The timeouts that the server enforces. The TCP settings detect clients that have gone without closing the
/// connection.
fn timeouts(config: &Config) -> Vec<(&'static str, String)> {
    let millis = |time: Duration| time.as_millis().to_string();
    let peer = config.peer_timeout.0;
    let probe = (peer.as_secs() / 3).max(1).to_string();
    vec![
        ("lock_timeout", millis(config.lock_timeout.0)),
        ("statement_timeout", millis(config.statement_timeout.0)),
        ("idle_in_transaction_session_timeout", millis(config.idle_transaction_timeout.0)),
        ("client_connection_check_interval", millis(config.client_check.0)),
        ("tcp_user_timeout", millis(peer)),
        ("tcp_keepalives_idle", probe.clone()),
        ("tcp_keepalives_interval", probe),
        ("tcp_keepalives_count", "2".to_owned()),
    ]
}

async fn check(options: &PgConnectOptions, schema: &str, migrator: &Migrator) -> Result<Migrated, Unopened> {
    let mut connection = connect::connect(&key(schema), options).await.map_err(Unopened)?;
    let checked = migrate::check(migrator, &mut connection, &place(options, schema)).await;
    connection.close().await.ok();
    checked
}

/// The schema, for messages to the operator.
fn place(options: &PgConnectOptions, schema: &str) -> String {
    format!("the database {}, schema {schema},", connect::place(options))
}

/// Migrates on a separate connection with separate timeouts: a migration may take longer than any call.
async fn bring_up_to_date(
    options: &PgConnectOptions,
    schema: &'static str,
    config: &Config,
    migrator: &Migrator,
) -> Result<Migrated, Unopened> {
    let mut connection = connect::connect(&key(schema), options).await.map_err(Unopened)?;
    // Waits without a limit while another process migrates. IF NOT EXISTS alone fails for the second of two replicas
    // that start at the same time. `schema` is a constant of this program.
    let prepare = format!(
        "SET client_min_messages = warning; SET lock_timeout = 0; SET statement_timeout = 0; \
         SELECT pg_advisory_lock({MIGRATION_LOCK}); SET lock_timeout = {lock}; \
         SET statement_timeout = {statement}; CREATE SCHEMA IF NOT EXISTS \"{schema}\"",
        statement = config.migration_statement_timeout.0.as_millis(),
        lock = config.migration_lock_timeout.0.as_millis(),
    );
    sqlx::raw_sql(AssertSqlSafe(prepare))
        .execute(&mut connection)
        .await
        .map_err(|e| Unopened(format!("{} cannot be created: {}", place(options, schema), chain(&e))))?;
    let migrated = migrate::run(migrator, &mut connection).await;
    // Releases the lock after success and failure.
    connection.close().await.ok();
    migrated.map_err(|e| migrate::refused(&place(options, schema), "", &e))
}
