//! The operator's access to the store, on a connection of its own. It works beside running processes, on SQLite too.

use kit::Timestamp;
use kit_data::store::{Location, Unopened};

use super::{postgres, sqlite};
use crate::domain::AdminCode;

/// Makes `code` the code with which an account becomes an admin. Changes no schema and creates no file.
pub async fn offer_admin(location: &Location, code: &AdminCode, expire_time: Timestamp) -> Result<(), Unopened> {
    let hash = code.hash();
    match location {
        Location::Postgres(url) => postgres::offer_admin(url, &hash, expire_time).await,
        Location::Sqlite(path) => sqlite::offer_admin(path, &hash, expire_time).await,
    }
}
