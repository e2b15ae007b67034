//! Direct access to the database, without the store.

use auth::domain::jobs::AccountDeleted;
use kit_data::store::Location;
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

async fn postgres(location: &Location) -> PgConnection {
    let Location::Postgres(url) = location else { panic!("no PostgreSQL") };
    let options: PgConnectOptions = url.expose().parse().unwrap();
    options.options([("search_path", "auth")]).connect().await.unwrap()
}

async fn sqlite(location: &Location) -> SqliteConnection {
    let Location::Sqlite(path) = location else { panic!("no SQLite") };
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}
