//! Direct access to the database, without the store.

use kit_data::store::Location;
use sqlx::{
    ConnectOptions as _, Row as _,
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

/// The kind and subject of all outbox events, in order.
pub(crate) async fn outbox(location: &Location) -> Vec<(String, Uuid)> {
    let all = "SELECT kind, subject FROM outbox ORDER BY kind, subject";
    match location {
        Location::Postgres(_) => {
            let rows = sqlx::query(all).fetch_all(&mut postgres(location).await).await.unwrap();
            rows.iter().map(|row| (row.get("kind"), row.get("subject"))).collect()
        }
        Location::Sqlite(_) => {
            let rows = sqlx::query(all).fetch_all(&mut sqlite(location).await).await.unwrap();
            rows.iter().map(|row| (row.get("kind"), row.get("subject"))).collect()
        }
    }
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
