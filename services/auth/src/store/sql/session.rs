//! Statements on sessions and their tokens, within the transactions that change them.

use kit::Timestamp;
use kit_data::{
    jobs::Queue,
    store::{DbTimestamp, Error},
};
use sqlx::Row as _;
use uuid::Uuid;

use super::{
    super::{HOLD_ACCOUNT, HOLD_SESSION, INSERT_SESSION, LOCK_ACCOUNT, LOCK_SESSION},
    Row, Tx,
    account::state,
    mail_rows::insert_mail,
};
use crate::{
    domain::{
        AccountId, Client, EndedSession, Language, NewSession, Session, SessionId, TokenHash,
        refresh::{Presented, Used},
    },
    store::{Continued, Successor},
};

/// The session `$1` of the account `$2`, if it is in force at `$3`.
pub(in crate::store) const IN_FORCE: &str = "SELECT session_id FROM sessions WHERE session_id = $1 AND account_id = $2 \
     AND revoke_time IS NULL AND expire_time > $3";

/// A presented token and its session, whose row is locked.
pub(super) struct Found {
    pub(super) session: SessionId,
    pub(super) account: AccountId,
    pub(super) create_time: Timestamp,
    auth_time: Timestamp,
    second_factor: bool,
    pub(super) presented: Presented,
    pub(super) sealed: Option<Vec<u8>>,
}

impl Found {
    pub(super) fn continued(&self, expire_time: Timestamp) -> Continued {
        let Self { session, account, auth_time, second_factor, .. } = *self;
        Continued { session, account, auth_time, expire_time, second_factor }
    }
}

/// Reads the token and locks its session. Three statements: a token never moves to another session, so the session's id
/// is read without a lock; the token's columns and the account's state are read after the session's row is locked.
pub(super) async fn lock_token(tx: &mut Tx<'_>, token: &TokenHash) -> Result<Option<Found>, Error> {
    let row = sqlx::query("SELECT session_id FROM refresh_tokens WHERE token_hash = $1")
        .bind(&token.0)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let session: Uuid = row.try_get("session_id")?;
    let Some(locked) = sqlx::query(LOCK_SESSION).bind(session).fetch_optional(&mut **tx).await? else {
        return Ok(None);
    };
    let account: Uuid = locked.try_get("account_id")?;
    let row = sqlx::query(
        "SELECT t.use_time, t.sealed_successor, n.use_time AS successor_use_time, a.state FROM refresh_tokens t \
         JOIN accounts a ON a.account_id = $2 \
         LEFT JOIN refresh_tokens n ON n.token_hash = t.successor_hash WHERE t.token_hash = $1",
    )
    .bind(&token.0)
    .bind(account)
    .fetch_one(&mut **tx)
    .await?;
    let sealed: Option<Vec<u8>> = row.try_get("sealed_successor")?;
    let use_time: Option<DbTimestamp> = row.try_get("use_time")?;
    let successor_use_time: Option<DbTimestamp> = row.try_get("successor_use_time")?;
    let time = |column: &str| locked.try_get(column).map(|DbTimestamp(at)| at);
    let revoke_time: Option<DbTimestamp> = locked.try_get("revoke_time")?;
    Ok(Some(Found {
        session: SessionId(session),
        account: AccountId(account),
        create_time: time("create_time")?,
        auth_time: time("auth_time")?,
        second_factor: locked.try_get("second_factor")?,
        presented: Presented {
            account: state(&row)?,
            expire_time: time("expire_time")?,
            revoked: revoke_time.is_some(),
            used: use_time
                .map(|at| Used { at: at.0, successor_waits: sealed.is_some() && successor_use_time.is_none() }),
        },
        sealed,
    }))
}

pub(super) async fn rotate(
    tx: &mut Tx<'_>,
    presented: &TokenHash,
    successor: &Successor,
    continued: &Continued,
    client: &Client,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE refresh_tokens SET use_time = $2, successor_hash = $3, sealed_successor = $4 WHERE token_hash = $1",
    )
    .bind(&presented.0)
    .bind(DbTimestamp(now))
    .bind(&successor.hash.0)
    .bind(&successor.sealed)
    .execute(&mut **tx)
    .await?;
    // The presented token is used now, so a repeat of its predecessor must not return it again.
    sqlx::query("UPDATE refresh_tokens SET sealed_successor = NULL WHERE successor_hash = $1")
        .bind(&presented.0)
        .execute(&mut **tx)
        .await?;
    insert_token(tx, &successor.hash, continued.session, now).await?;
    sqlx::query(
        "UPDATE sessions SET last_use_time = $2, expire_time = $3, user_agent = $4, address = $5 WHERE session_id = $1",
    )
    .bind(continued.session.0)
    .bind(DbTimestamp(now))
    .bind(DbTimestamp(continued.expire_time))
    .bind(&client.user_agent)
    .bind(&client.address)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Stores a session with its first token, and its mail, if its account is active, has had no change of its password, and has
/// no second factor.
pub(super) async fn insert_session(tx: &mut Tx<'_>, jobs: &Queue, session: &NewSession) -> Result<bool, Error> {
    insert(tx, jobs, session, false).await
}

/// The same, after this transaction has used up a proof of the second factor.
pub(super) async fn insert_proved_session(tx: &mut Tx<'_>, jobs: &Queue, session: &NewSession) -> Result<bool, Error> {
    insert(tx, jobs, session, true).await
}

async fn insert(tx: &mut Tx<'_>, jobs: &Queue, session: &NewSession, is_proved: bool) -> Result<bool, Error> {
    let inserted = sqlx::query(INSERT_SESSION)
        .bind(session.id.0)
        .bind(session.account.0)
        .bind(session.password_no)
        .bind(DbTimestamp(session.create_time))
        .bind(DbTimestamp(session.expire_time))
        .bind(&session.client.user_agent)
        .bind(&session.client.address)
        .bind(is_proved)
        .execute(&mut **tx)
        .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    insert_token(tx, &session.token, session.id, session.create_time).await?;
    if let Some(mail) = &session.mail {
        insert_mail(tx, jobs, mail).await?;
    }
    Ok(true)
}

async fn insert_token(tx: &mut Tx<'_>, token: &TokenHash, session: SessionId, now: Timestamp) -> Result<(), Error> {
    sqlx::query("INSERT INTO refresh_tokens (token_hash, session_id, issue_time) VALUES ($1, $2, $3)")
        .bind(&token.0)
        .bind(session.0)
        .bind(DbTimestamp(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn end_session(tx: &mut Tx<'_>, session: SessionId, now: Timestamp) -> Result<(), Error> {
    sqlx::query("UPDATE sessions SET revoke_time = $2 WHERE session_id = $1")
        .bind(session.0)
        .bind(DbTimestamp(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Ends the sessions of an account, whose row this transaction has locked. Returns those that were in force.
pub(super) async fn end_all(
    tx: &mut Tx<'_>,
    account: AccountId,
    keep: Option<SessionId>,
    now: Timestamp,
) -> Result<Vec<SessionId>, Error> {
    let ended = sqlx::query(
        "UPDATE sessions SET revoke_time = $3 WHERE account_id = $1 AND session_id <> $2 AND revoke_time IS NULL \
         AND expire_time > $3 RETURNING session_id",
    )
    .bind(account.0)
    // No session has the nil id.
    .bind(keep.map_or(Uuid::nil(), |session| session.0))
    .bind(DbTimestamp(now))
    .fetch_all(&mut **tx)
    .await?;
    Ok(ended.iter().map(|row| row.try_get("session_id").map(SessionId)).collect::<Result<_, _>>()?)
}

/// Locks the account's row until the transaction ends.
pub(super) async fn lock_account(tx: &mut Tx<'_>, account: AccountId) -> Result<(), Error> {
    sqlx::query(LOCK_ACCOUNT).bind(account.0).execute(&mut **tx).await?;
    Ok(())
}

/// Holds the account until the transaction ends, if it is active, has had no change of its password, and has no second
/// factor. `false`: it is not.
pub(super) async fn hold_account(tx: &mut Tx<'_>, account: AccountId, password_no: i64) -> Result<bool, Error> {
    let held = sqlx::query(HOLD_ACCOUNT).bind(account.0).bind(password_no);
    Ok(held.fetch_optional(&mut **tx).await?.is_some())
}

/// Stores that the user of the session has proved the second factor.
pub(super) async fn set_second_factor(tx: &mut Tx<'_>, session: SessionId) -> Result<(), Error> {
    sqlx::query("UPDATE sessions SET second_factor = TRUE WHERE session_id = $1")
        .bind(session.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Stores the time of a proof in a session that is in force. `None`: it is not.
pub(super) async fn set_auth_time(
    tx: &mut Tx<'_>,
    account: AccountId,
    session: SessionId,
    now: Timestamp,
) -> Result<Option<Continued>, Error> {
    let row = sqlx::query(
        "UPDATE sessions SET auth_time = $3 WHERE session_id = $1 AND account_id = $2 AND revoke_time IS NULL \
         AND expire_time > $3 RETURNING expire_time, second_factor",
    )
    .bind(session.0)
    .bind(account.0)
    .bind(DbTimestamp(now))
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let expire_time: DbTimestamp = row.try_get("expire_time")?;
    let second_factor = row.try_get("second_factor")?;
    Ok(Some(Continued { session, account, auth_time: now, expire_time: expire_time.0, second_factor }))
}

/// Locks the session if it is in force, within a transaction that has locked the account's row. `false`: it is not.
pub(super) async fn hold_session(
    tx: &mut Tx<'_>,
    account: AccountId,
    session: SessionId,
    now: Timestamp,
) -> Result<bool, Error> {
    let held = sqlx::query(HOLD_SESSION).bind(session.0).bind(account.0).bind(DbTimestamp(now));
    Ok(held.fetch_optional(&mut **tx).await?.is_some())
}

pub(super) fn ended(row: &Row) -> Result<EndedSession, Error> {
    let revoke_time: DbTimestamp = row.try_get("revoke_time")?;
    Ok(EndedSession { id: SessionId(row.try_get("session_id")?), revoke_time: revoke_time.0 })
}

pub(super) fn session(row: &Row) -> Result<Session, Error> {
    let time = |column: &str| row.try_get(column).map(|DbTimestamp(at)| at);
    Ok(Session {
        id: SessionId(row.try_get("session_id")?),
        create_time: time("create_time")?,
        last_use_time: time("last_use_time")?,
        expire_time: time("expire_time")?,
        client: Client {
            user_agent: row.try_get("user_agent")?,
            address: row.try_get("address")?,
            language: Language::default(),
        },
    })
}
