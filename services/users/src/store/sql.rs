//! The statements, written once; loaded by `postgres.rs` and by `sqlite.rs`, which hold what differs.

use async_trait::async_trait;
use kit::store::{Error, Stamp, violated};
use sqlx::{Pool, Row as _};

use super::{Db, FIND_ALL, bind_ids};
use crate::{
    domain::{Page, State, User, UserId},
    store::{InsertError, UserStore},
};

/// The store on one database.
pub(in crate::store) struct Sql {
    pub(super) read: Pool<Db>,
    pub(super) write: Pool<Db>,
}

type Row = <Db as sqlx::Database>::Row;

#[async_trait]
impl UserStore for Sql {
    async fn find(&self, id: UserId) -> Result<Option<User>, Error> {
        sqlx::query("SELECT user_id, handle, display_name, state, create_time FROM users WHERE user_id = $1")
            .bind(id.0)
            .fetch_optional(&self.read)
            .await?
            .map(|row| user(&row))
            .transpose()
    }

    async fn find_all(&self, ids: &[UserId]) -> Result<Vec<User>, Error> {
        let ids = bind_ids(ids.iter().map(|id| id.0));
        sqlx::query(FIND_ALL).bind(ids).fetch_all(&self.read).await?.iter().map(user).collect()
    }

    async fn list(&self, page: &Page) -> Result<Vec<User>, Error> {
        // Handles hold a-z, 0-9 and _ only: '{' is the first character past all of them.
        let end = format!("{}{{", page.prefix);
        let rows = sqlx::query(
            "SELECT user_id, handle, display_name, state, create_time FROM users \
             WHERE handle > $1 AND handle >= $2 AND handle < $3 AND state = 'active' ORDER BY handle LIMIT $4",
        )
        .bind(&page.after)
        .bind(&page.prefix)
        .bind(end)
        .bind(i64::from(page.size.get()) + 1)
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(user).collect()
    }

    async fn insert(&self, new: &User) -> Result<User, InsertError> {
        let row = sqlx::query(
            "INSERT INTO users (user_id, handle, display_name, state, create_time) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (user_id) DO UPDATE SET handle = excluded.handle, display_name = excluded.display_name \
             WHERE users.state = 'active' \
             RETURNING user_id, handle, display_name, state, create_time",
        )
        .bind(new.id.0)
        .bind(&new.handle)
        .bind(&new.display_name)
        .bind(new.state.as_str())
        .bind(Stamp(new.create_time))
        .fetch_optional(&self.write)
        .await
        .map_err(broken)?;
        user(&row.ok_or(InsertError::NotActive)?).map_err(InsertError::Store)
    }

    async fn answers(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.read).await.is_ok()
    }
}

fn broken(error: sqlx::Error) -> InsertError {
    match violated(&error).as_deref() {
        Some("users_handle_key") => InsertError::HandleTaken,
        _ => InsertError::Store(error.into()),
    }
}

fn user(row: &Row) -> Result<User, Error> {
    let state: String = row.try_get("state")?;
    let create_time: Stamp = row.try_get("create_time")?;
    Ok(User {
        id: UserId(row.try_get("user_id")?),
        handle: row.try_get("handle")?,
        display_name: row.try_get("display_name")?,
        state: State::parse(&state).ok_or(Error::Corrupt(format!("users.state {state:?}")))?,
        create_time: create_time.0,
    })
}
