//! The statements, written once; loaded by `postgres.rs` and by `sqlite.rs`, which hold what differs.

use async_trait::async_trait;
use kit::{
    Timestamp,
    store::{Error, Stamp, violated},
};
use sqlx::{Pool, Row as _, Transaction};
use uuid::Uuid;

use super::{Db, LOCK_SESSION, begin};
use crate::{
    domain::{
        Account, AccountId, Email, Lifetimes, NewSession, PasswordHash, SessionId, State, TokenHash,
        refresh::{Decision, Presented, Used, decide},
    },
    store::{AuthStore, Continued, InsertError, Refreshed, Successor},
};

/// The store on one database.
pub(in crate::store) struct Sql {
    pub(super) read: Pool<Db>,
    pub(super) write: Pool<Db>,
}

type Row = <Db as sqlx::Database>::Row;
type Tx<'a> = Transaction<'a, Db>;

#[async_trait]
impl AuthStore for Sql {
    async fn find_by_email(&self, email: &Email) -> Result<Option<Account>, Error> {
        sqlx::query("SELECT account_id, email, password_hash, state, create_time FROM accounts WHERE email = $1")
            .bind(email.as_str())
            .fetch_optional(&self.read)
            .await?
            .map(|row| account(&row))
            .transpose()
    }

    async fn list_roles(&self, account: AccountId) -> Result<Vec<String>, Error> {
        let rows = sqlx::query("SELECT role FROM roles WHERE account_id = $1 ORDER BY role")
            .bind(account.0)
            .fetch_all(&self.read)
            .await?;
        Ok(rows.iter().map(|row| row.try_get("role")).collect::<Result<_, _>>()?)
    }

    async fn insert(&self, account: &Account) -> Result<(), InsertError> {
        let inserted = sqlx::query(
            "INSERT INTO accounts (account_id, email, password_hash, state, create_time) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(account.id.0)
        .bind(account.email.as_str())
        .bind(&account.password.0)
        .bind(account.state.as_str())
        .bind(Stamp(account.create_time))
        .execute(&self.write)
        .await;
        match inserted {
            Ok(_) => Ok(()),
            Err(error) if violated(&error).as_deref() == Some("accounts_email_key") => Err(InsertError::EmailTaken),
            Err(error) => Err(InsertError::Store(error.into())),
        }
    }

    async fn activate(&self, session: &NewSession, outbox_id: Uuid) -> Result<bool, Error> {
        let mut tx = begin(&self.write).await?;
        let activated = sqlx::query("UPDATE accounts SET state = 'active' WHERE account_id = $1 AND state = 'pending'")
            .bind(session.account.0)
            .execute(&mut *tx)
            .await?;
        if activated.rows_affected() == 0 || !insert_session(&mut tx, session).await? {
            return Ok(false);
        }
        tell(&mut tx, outbox_id, "account.activated", session.account, session.create_time).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn abandon(
        &self,
        account: AccountId,
        before: Timestamp,
        now: Timestamp,
        outbox_id: Uuid,
    ) -> Result<bool, Error> {
        let mut tx = begin(&self.write).await?;
        let deleted =
            sqlx::query("DELETE FROM accounts WHERE account_id = $1 AND state = 'pending' AND create_time < $2")
                .bind(account.0)
                .bind(Stamp(before))
                .execute(&mut *tx)
                .await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        tell(&mut tx, outbox_id, "account.abandoned", account, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn list_pending(&self, before: Timestamp, limit: u32) -> Result<Vec<AccountId>, Error> {
        let rows = sqlx::query(
            "SELECT account_id FROM accounts WHERE state = 'pending' AND create_time < $1 ORDER BY create_time LIMIT $2",
        )
        .bind(Stamp(before))
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        Ok(rows.iter().map(|row| row.try_get("account_id").map(AccountId)).collect::<Result<_, _>>()?)
    }

    async fn rehash(&self, account: AccountId, old: &PasswordHash, new: &PasswordHash) -> Result<(), Error> {
        sqlx::query("UPDATE accounts SET password_hash = $3 WHERE account_id = $1 AND password_hash = $2")
            .bind(account.0)
            .bind(&old.0)
            .bind(&new.0)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    async fn open_session(&self, session: &NewSession) -> Result<bool, Error> {
        let mut tx = begin(&self.write).await?;
        let opened = insert_session(&mut tx, session).await?;
        tx.commit().await?;
        Ok(opened)
    }

    async fn refresh(
        &self,
        presented: &TokenHash,
        successor: &Successor,
        now: Timestamp,
        lifetimes: Lifetimes,
    ) -> Result<Refreshed, Error> {
        let mut tx = begin(&self.write).await?;
        let Some(found) = lock_token(&mut tx, presented).await? else { return Ok(Refreshed::Refused) };
        match decide(found.presented, now, lifetimes) {
            Decision::Refuse => Ok(Refreshed::Refused),
            Decision::Revoke => {
                end_session(&mut tx, found.session, now).await?;
                tx.commit().await?;
                Ok(Refreshed::Revoked)
            }
            Decision::Repeat => {
                let sealed = found.sealed.clone().unwrap_or_default();
                Ok(Refreshed::Repeated(found.continued(found.presented.expire_time), sealed))
            }
            Decision::Rotate => {
                let end = lifetimes.end(found.create_time, now);
                rotate(&mut tx, presented, successor, found.session, now, end).await?;
                tx.commit().await?;
                Ok(Refreshed::Rotated(found.continued(end)))
            }
        }
    }

    async fn revoke(&self, token: &TokenHash, now: Timestamp) -> Result<(), Error> {
        sqlx::query(
            "UPDATE sessions SET revoke_time = $2 WHERE revoke_time IS NULL AND session_id = \
             (SELECT session_id FROM refresh_tokens WHERE token_hash = $1)",
        )
        .bind(&token.0)
        .bind(Stamp(now))
        .execute(&self.write)
        .await?;
        Ok(())
    }

    async fn erase_sealed(&self, before: Timestamp) -> Result<u64, Error> {
        let erased = sqlx::query(
            "UPDATE refresh_tokens SET sealed_successor = NULL WHERE sealed_successor IS NOT NULL AND use_time < $1",
        )
        .bind(Stamp(before))
        .execute(&self.write)
        .await?;
        Ok(erased.rows_affected())
    }

    async fn prune(&self, before: Timestamp, used_before: Timestamp) -> Result<u64, Error> {
        let sessions = sqlx::query("DELETE FROM sessions WHERE expire_time < $1 OR revoke_time < $1")
            .bind(Stamp(before))
            .execute(&self.write)
            .await?;
        let tokens = sqlx::query("DELETE FROM refresh_tokens WHERE use_time < $1")
            .bind(Stamp(used_before))
            .execute(&self.write)
            .await?;
        Ok(sessions.rows_affected() + tokens.rows_affected())
    }

    async fn answers(&self) -> bool {
        sqlx::query("SELECT 1").execute(&self.read).await.is_ok()
    }
}

/// A presented token, its session locked.
struct Found {
    session: SessionId,
    account: AccountId,
    create_time: Timestamp,
    presented: Presented,
    sealed: Option<Vec<u8>>,
}

impl Found {
    fn continued(&self, expire_time: Timestamp) -> Continued {
        Continued { session: self.session, account: self.account, expire_time }
    }
}

/// Three statements: which session a token belongs to never changes, so it is read without a lock; what else is
/// known of the token is read under the lock, and so after whoever held it before.
async fn lock_token(tx: &mut Tx<'_>, token: &TokenHash) -> Result<Option<Found>, Error> {
    let row = sqlx::query("SELECT session_id FROM refresh_tokens WHERE token_hash = $1")
        .bind(&token.0)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let session: Uuid = row.try_get("session_id")?;
    let Some(locked) = sqlx::query(LOCK_SESSION).bind(session).fetch_optional(&mut **tx).await? else {
        return Ok(None);
    };
    let row = sqlx::query(
        "SELECT t.use_time, t.sealed_successor, n.use_time AS successor_use_time FROM refresh_tokens t \
         LEFT JOIN refresh_tokens n ON n.token_hash = t.successor_hash WHERE t.token_hash = $1",
    )
    .bind(&token.0)
    .fetch_one(&mut **tx)
    .await?;
    let sealed: Option<Vec<u8>> = row.try_get("sealed_successor")?;
    let use_time: Option<Stamp> = row.try_get("use_time")?;
    let successor_use_time: Option<Stamp> = row.try_get("successor_use_time")?;
    let (create_time, expire_time): (Stamp, Stamp) = (locked.try_get("create_time")?, locked.try_get("expire_time")?);
    let revoke_time: Option<Stamp> = locked.try_get("revoke_time")?;
    Ok(Some(Found {
        session: SessionId(session),
        account: AccountId(locked.try_get("account_id")?),
        create_time: create_time.0,
        presented: Presented {
            account: state(&locked)?,
            expire_time: expire_time.0,
            revoked: revoke_time.is_some(),
            used: use_time
                .map(|at| Used { at: at.0, successor_waits: sealed.is_some() && successor_use_time.is_none() }),
        },
        sealed,
    }))
}

async fn rotate(
    tx: &mut Tx<'_>,
    presented: &TokenHash,
    successor: &Successor,
    session: SessionId,
    now: Timestamp,
    end: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE refresh_tokens SET use_time = $2, successor_hash = $3, sealed_successor = $4 WHERE token_hash = $1",
    )
    .bind(&presented.0)
    .bind(Stamp(now))
    .bind(&successor.hash.0)
    .bind(&successor.sealed)
    .execute(&mut **tx)
    .await?;
    // The presented token was used now: it need not be answered to its predecessor again.
    sqlx::query("UPDATE refresh_tokens SET sealed_successor = NULL WHERE successor_hash = $1")
        .bind(&presented.0)
        .execute(&mut **tx)
        .await?;
    insert_token(tx, &successor.hash, session, now).await?;
    sqlx::query("UPDATE sessions SET last_use_time = $2, expire_time = $3 WHERE session_id = $1")
        .bind(session.0)
        .bind(Stamp(now))
        .bind(Stamp(end))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Stores a session with its first token, if its account is active.
async fn insert_session(tx: &mut Tx<'_>, session: &NewSession) -> Result<bool, Error> {
    let inserted = sqlx::query(
        "INSERT INTO sessions (session_id, account_id, create_time, last_use_time, expire_time) \
         SELECT $1, account_id, $3, $3, $4 FROM accounts WHERE account_id = $2 AND state = 'active'",
    )
    .bind(session.id.0)
    .bind(session.account.0)
    .bind(Stamp(session.create_time))
    .bind(Stamp(session.expire_time))
    .execute(&mut **tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    insert_token(tx, &session.token, session.id, session.create_time).await?;
    Ok(true)
}

async fn insert_token(tx: &mut Tx<'_>, token: &TokenHash, session: SessionId, now: Timestamp) -> Result<(), Error> {
    sqlx::query("INSERT INTO refresh_tokens (token_hash, session_id, issue_time) VALUES ($1, $2, $3)")
        .bind(&token.0)
        .bind(session.0)
        .bind(Stamp(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn end_session(tx: &mut Tx<'_>, session: SessionId, now: Timestamp) -> Result<(), Error> {
    sqlx::query("UPDATE sessions SET revoke_time = $2 WHERE session_id = $1")
        .bind(session.0)
        .bind(Stamp(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Writes down what others must come to know, in the transaction that makes it true.
async fn tell(tx: &mut Tx<'_>, id: Uuid, kind: &str, subject: AccountId, now: Timestamp) -> Result<(), Error> {
    sqlx::query("INSERT INTO outbox (outbox_id, kind, subject, create_time) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(kind)
        .bind(subject.0)
        .bind(Stamp(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn account(row: &Row) -> Result<Account, Error> {
    let (email, create_time): (String, Stamp) = (row.try_get("email")?, row.try_get("create_time")?);
    Ok(Account {
        id: AccountId(row.try_get("account_id")?),
        email: Email::new(&email),
        password: PasswordHash(row.try_get("password_hash")?),
        state: state(row)?,
        create_time: create_time.0,
    })
}

fn state(row: &Row) -> Result<State, Error> {
    let text: String = row.try_get("state")?;
    State::parse(&text).ok_or(Error::Corrupt(format!("accounts.state {text:?}")))
}
