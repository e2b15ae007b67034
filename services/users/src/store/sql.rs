//! The statements for both databases. `postgres.rs` and `sqlite.rs` include this module and define the statements that
//! differ.

#[path = "sql/handles.rs"]
mod handles;

use async_trait::async_trait;
use kit::{Timestamp, audit::AuditEntry};
use kit_data::{
    audit::Log,
    store::{DbTimestamp, Error, Pool, Transaction, violated},
};
use sqlx::Row as _;

use super::{Db, FIND_ALL, INSERT_TERMS, LIST_AMONG, SEARCH_AMONG, STALE, bind_ids, bind_terms};
use crate::{
    domain::{Change, Cooling, Listed, Page, Query, Revision, State, User, UserId, terms},
    store::{InsertError, UpdateError, UserStore},
};

/// The store on one database.
pub(in crate::store) struct Sql {
    pub(super) read: Pool<Db>,
    pub(super) write: Pool<Db>,
    pub(super) audit: Log,
}

type Row = <Db as sqlx::Database>::Row;
type Tx<'a> = Transaction<'a, Db>;

#[async_trait]
impl UserStore for Sql {
    fn audit(&self) -> &Log {
        &self.audit
    }

    async fn find(&self, id: UserId) -> Result<Option<User>, Error> {
        sqlx::query("SELECT user_id, handle, display_name, state, create_time, revision FROM users WHERE user_id = $1")
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

    async fn list(&self, page: &Page) -> Result<Vec<Listed>, Error> {
        let rows = sqlx::query(
            "SELECT user_id, handle, display_name, state, create_time, revision, handle AS key FROM users \
             WHERE handle > $1 AND state = 'active' ORDER BY handle LIMIT $2",
        )
        .bind(&page.after.key)
        .bind(i64::from(page.size.get()) + 1)
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(listed).collect()
    }

    async fn list_among(&self, people: &[UserId], page: &Page) -> Result<Vec<Listed>, Error> {
        let rows = sqlx::query(LIST_AMONG)
            .bind(&page.after.key)
            .bind(i64::from(page.size.get()) + 1)
            .bind(bind_ids(people.iter().map(|id| id.0)))
            .fetch_all(&self.read)
            .await?;
        rows.iter().map(listed).collect()
    }

    // A user with several matching terms is listed once, by the first of them.
    async fn search(&self, query: &Query, page: &Page) -> Result<Vec<Listed>, Error> {
        let rows = sqlx::query(
            "SELECT u.user_id, u.handle, u.display_name, u.state, u.create_time, u.revision, t.term AS key \
             FROM search_terms t JOIN users u ON u.user_id = t.user_id \
             WHERE (t.term, t.user_id) > ($3, $4) AND t.term < $2 AND u.state = 'active' \
             AND NOT EXISTS (SELECT 1 FROM search_terms s WHERE s.user_id = t.user_id AND s.term >= $1 AND s.term < t.term) \
             ORDER BY t.term, t.user_id LIMIT $5",
        )
        .bind(query.prefix())
        .bind(query.end())
        .bind(&page.after.key)
        .bind(page.after.id.0)
        .bind(i64::from(page.size.get()) + 1)
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(listed).collect()
    }

    async fn search_among(&self, people: &[UserId], query: &Query, page: &Page) -> Result<Vec<Listed>, Error> {
        let rows = sqlx::query(SEARCH_AMONG)
            .bind(query.prefix())
            .bind(query.end())
            .bind(&page.after.key)
            .bind(page.after.id.0)
            .bind(i64::from(page.size.get()) + 1)
            .bind(bind_ids(people.iter().map(|id| id.0)))
            .bind(query.handle())
            .fetch_all(&self.read)
            .await?;
        rows.iter().map(listed).collect()
    }

    async fn insert(&self, new: &User, attempt: i64) -> Result<User, InsertError> {
        let mut tx = self.write.begin_on(new.id.0).await?;
        let row = sqlx::query(
            "INSERT INTO users (user_id, handle, display_name, state, create_time, revision, sign_up_attempt) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (user_id) DO UPDATE SET \
             handle = CASE WHEN users.sign_up_attempt < excluded.sign_up_attempt THEN excluded.handle \
             ELSE users.handle END, \
             display_name = CASE WHEN users.sign_up_attempt < excluded.sign_up_attempt THEN excluded.display_name \
             ELSE users.display_name END, \
             revision = users.revision + CASE WHEN users.sign_up_attempt < excluded.sign_up_attempt THEN 1 ELSE 0 END, \
             sign_up_attempt = excluded.sign_up_attempt \
             WHERE users.state = 'active' AND users.sign_up_attempt <= excluded.sign_up_attempt \
             RETURNING user_id, handle, display_name, state, create_time, revision",
        )
        .bind(new.id.0)
        .bind(&new.handle)
        .bind(&new.display_name)
        .bind(new.state.as_str())
        .bind(DbTimestamp(new.create_time))
        .bind(new.revision.0)
        .bind(attempt)
        .fetch_optional(&mut *tx)
        .await
        .map_err(|e| if is_handle_taken(&e) { InsertError::HandleTaken } else { e.into() })?;
        let Some(row) = row else {
            tx.rollback().await?;
            let is_active = self.find(new.id).await?.is_some_and(|user| user.state == State::Active);
            return Err(if is_active { InsertError::Superseded } else { InsertError::NotActive });
        };
        let stored = user(&row)?;
        if !handles::take(&mut tx, &stored.handle, stored.id, new.create_time).await? {
            return Err(InsertError::HandleTaken);
        }
        self.audit.record(&mut tx, about(stored.id).handle(&stored.handle)).await?;
        Ok(indexed(tx, stored).await?)
    }

    async fn update(&self, change: &Change, cooling: &Cooling) -> Result<User, UpdateError> {
        let mut tx = self.write.begin_on(change.id.0).await?;
        let former = if change.handle.is_some() { handles::lock(&mut tx, change.id).await? } else { None };
        let row = sqlx::query(
            "UPDATE users SET handle = COALESCE($2, handle), display_name = COALESCE($3, display_name), \
             revision = revision + 1 \
             WHERE user_id = $1 AND state = 'active' AND revision = COALESCE($4, revision) \
             RETURNING user_id, handle, display_name, state, create_time, revision",
        )
        .bind(change.id.0)
        .bind(&change.handle)
        .bind(&change.display_name)
        .bind(change.revision.map(|revision| revision.0))
        .fetch_optional(&mut *tx)
        .await
        .map_err(|e| if is_handle_taken(&e) { UpdateError::HandleTaken } else { e.into() })?;
        let changed = user(&row.ok_or(UpdateError::NotMatched)?)?;
        if let Some(former) = former.filter(|former| *former != changed.handle) {
            if !handles::take(&mut tx, &changed.handle, changed.id, cooling.now).await? {
                return Err(UpdateError::HandleTaken);
            }
            handles::release(&mut tx, &former, changed.id, cooling).await?;
        }
        self.audit.record(&mut tx, about(changed.id).handle(&changed.handle)).await?;
        Ok(indexed(tx, changed).await?)
    }

    async fn delete(&self, id: UserId, releases_handle: bool, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.write.begin_on(id.0).await?;
        sqlx::query(
            "INSERT INTO users (user_id, handle, display_name, state, create_time, revision) \
             VALUES ($1, $2, '', 'deleted', $3, 1) \
             ON CONFLICT (user_id) DO UPDATE SET state = 'deleted', display_name = '', revision = users.revision + 1, \
             handle = CASE WHEN $4 THEN excluded.handle ELSE users.handle END \
             WHERE users.state <> 'deleted'",
        )
        .bind(id.0)
        // A placeholder handle. Real handles contain no ':', so it is always free and no user can take it.
        .bind(format!("deleted:{id}"))
        .bind(DbTimestamp(now))
        .bind(releases_handle)
        .execute(&mut *tx)
        .await?;
        put_terms(&mut tx, id, Vec::new()).await?;
        self.audit.erase(&mut tx, id.0, now).await?;
        self.audit.record(&mut tx, about(id)).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn forget_released(&self, now: Timestamp) -> Result<u64, Error> {
        let deleted = sqlx::query("DELETE FROM released_handles WHERE expire_time <= $1")
            .bind(DbTimestamp(now))
            .execute(&self.write)
            .await?;
        Ok(deleted.rows_affected())
    }

    async fn index_stale(&self, most: u32) -> Result<usize, Error> {
        let mut tx = self.write.begin().await?;
        let rows = sqlx::query(STALE).bind(i64::from(most)).fetch_all(&mut *tx).await?;
        for row in &rows {
            let user = user(row)?;
            put_terms(&mut tx, user.id, terms_of(&user)).await?;
        }
        tx.commit().await?;
        Ok(rows.len())
    }

    async fn is_reachable(&self) -> bool {
        self.read.is_reachable()
    }
}

fn about(id: UserId) -> AuditEntry {
    AuditEntry::new(format!("users/{id}")).person(id.0)
}

/// Writes the search terms of a changed profile and commits the transaction.
async fn indexed(mut tx: Transaction<'_, Db>, user: User) -> Result<User, Error> {
    put_terms(&mut tx, user.id, terms_of(&user)).await?;
    tx.commit().await?;
    Ok(user)
}

/// The search terms of a user: none unless the profile is active.
fn terms_of(user: &User) -> Vec<String> {
    if user.state == State::Active { terms(&user.handle, &user.display_name) } else { Vec::new() }
}

/// Replaces the search terms of a user. An earlier statement of the transaction has locked the profile's row, so that
/// the terms of two changes do not mix.
async fn put_terms(tx: &mut Transaction<'_, Db>, id: UserId, terms: Vec<String>) -> Result<(), Error> {
    sqlx::query("DELETE FROM search_terms WHERE user_id = $1").bind(id.0).execute(&mut **tx).await?;
    if !terms.is_empty() {
        sqlx::query(INSERT_TERMS).bind(id.0).bind(bind_terms(terms)).execute(&mut **tx).await?;
    }
    sqlx::query("UPDATE users SET terms_revision = revision WHERE user_id = $1").bind(id.0).execute(&mut **tx).await?;
    Ok(())
}

fn is_handle_taken(error: &sqlx::Error) -> bool {
    violated(error).as_deref() == Some("users_handle_key")
}

fn listed(row: &Row) -> Result<Listed, Error> {
    Ok(Listed { user: user(row)?, key: row.try_get("key")? })
}

fn user(row: &Row) -> Result<User, Error> {
    let state: String = row.try_get("state")?;
    let create_time: DbTimestamp = row.try_get("create_time")?;
    Ok(User {
        id: UserId(row.try_get("user_id")?),
        handle: row.try_get("handle")?,
        display_name: row.try_get("display_name")?,
        state: State::parse(&state).ok_or(Error::Corrupt(format!("users.state {state:?}")))?,
        create_time: create_time.0,
        revision: Revision(row.try_get("revision")?),
    })
}
