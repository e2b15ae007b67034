//! Direct access to the database, without the store.

use auth::domain::jobs::AccountDeleted;
use kit_data::store::{DbTimestamp, Location};
use sqlx::{
    ConnectOptions as _,
    postgres::{PgConnectOptions, PgConnection},
    sqlite::{SqliteConnectOptions, SqliteConnection},
};
use uuid::Uuid;

/// Runs a statement on auth's tables.
pub(crate) async fn execute(location: &Location, statement: &'static str) {
    match location {
        Location::Postgres(_) => sqlx::query(statement).execute(&mut postgres(location).await).await.map(drop),
        Location::Sqlite(_) => sqlx::query(statement).execute(&mut sqlite(location).await).await.map(drop),
    }
    .unwrap();
}

/// The kind and account of all jobs that do not recur, in order.
pub(crate) async fn jobs(location: &Location) -> Vec<(String, Uuid)> {
    let all = "SELECT kind, payload FROM jobs WHERE schedule IS NULL ORDER BY kind, payload";
    let rows: Vec<(String, String)> = match location {
        Location::Postgres(_) => sqlx::query_as(all).fetch_all(&mut postgres(location).await).await.unwrap(),
        Location::Sqlite(_) => sqlx::query_as(all).fetch_all(&mut sqlite(location).await).await.unwrap(),
    };
    let account = |payload: String| serde_json::from_str::<AccountDeleted>(&payload).unwrap().account_id;
    rows.into_iter().map(|(kind, payload)| (kind, account(payload))).collect()
}

/// The number of jobs that do not recur.
pub(crate) async fn waiting(location: &Location) -> i64 {
    let count = "SELECT COUNT(*) FROM jobs WHERE schedule IS NULL";
    match location {
        Location::Postgres(_) => sqlx::query_scalar(count).fetch_one(&mut postgres(location).await).await.unwrap(),
        Location::Sqlite(_) => sqlx::query_scalar(count).fetch_one(&mut sqlite(location).await).await.unwrap(),
    }
}

/// The result of a statement that counts.
pub(crate) async fn count(location: &Location, statement: &'static str) -> i64 {
    match location {
        Location::Postgres(_) => sqlx::query_scalar(statement).fetch_one(&mut postgres(location).await).await.unwrap(),
        Location::Sqlite(_) => sqlx::query_scalar(statement).fetch_one(&mut sqlite(location).await).await.unwrap(),
    }
}

/// A row of the jobs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct JobRow {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) create_time: DbTimestamp,
    pub(crate) update_time: DbTimestamp,
    pub(crate) due_time: DbTimestamp,
    pub(crate) attempts: i64,
}

/// The rows of a statement that selects the columns of [`JobRow`] in their order.
pub(crate) async fn rows(location: &Location, statement: &'static str) -> Vec<JobRow> {
    let rows: Vec<(Uuid, String, DbTimestamp, DbTimestamp, DbTimestamp, i64)> = match location {
        Location::Postgres(_) => sqlx::query_as(statement).fetch_all(&mut postgres(location).await).await.unwrap(),
        Location::Sqlite(_) => sqlx::query_as(statement).fetch_all(&mut sqlite(location).await).await.unwrap(),
    };
    let row = |(id, kind, create_time, update_time, due_time, attempts)| JobRow {
        id,
        kind,
        create_time,
        update_time,
        due_time,
        attempts,
    };
    rows.into_iter().map(row).collect()
}

async fn postgres(location: &Location) -> PgConnection {
    let Location::Postgres(url) = location else { panic!("no PostgreSQL") };
    let options: PgConnectOptions = url.expose().parse().unwrap();
    options.options([("search_path", "auth")]).connect().await.unwrap()
}

async fn sqlite(location: &Location) -> SqliteConnection {
    let Location::Sqlite(path) = location else { panic!("no SQLite") };
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}
