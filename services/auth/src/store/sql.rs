//! The statements for both databases. `postgres.rs` and `sqlite.rs` include this module and define the statements that
//! differ.

#[path = "sql/account.rs"]
mod account;
#[path = "sql/claim.rs"]
mod claim;
#[path = "sql/links.rs"]
mod links;
#[path = "sql/mail.rs"]
mod mail;
#[path = "sql/mail_rows.rs"]
mod mail_rows;
#[path = "sql/prune.rs"]
mod prune;
#[path = "sql/session.rs"]
pub(super) mod session;

use async_trait::async_trait;
use kit::{ClockAndRng, Timestamp, audit::AuditEntry, keyring::Keyring};
use kit_data::{
    audit::Log,
    jobs::{NewJob, Queue},
    store::{DbTimestamp, Error, Pool, Transaction, violated},
};
use sqlx::Row as _;
use uuid::Uuid;

use super::Db;
use crate::{
    domain::{
        Account, AccountId, Client, EmailAddress, EndedPage, EndedSession, Lifetimes, MailKind, NewMail, NewSession,
        Page, PasswordHash, Session, SessionId, TokenHash,
        jobs::{AccountAbandoned, AccountDeleted},
        refresh::{Decision, decide},
    },
    store::{AuthStore, InsertError, NewImport, Refreshed, Successor},
};
use account::{account, count_containing, insert_unless_present};
use mail_rows::{delete_tokens, erase_mail, insert_mail};
use prune::prune_some;
use session::{
    IN_FORCE, end_all, end_session, ended, hold_session, insert_session, lock_account, lock_token, rotate, session,
};

/// The action in the audit record of an imported account.
const IMPORT: &str = "auth.import";

/// The store on one database.
pub(in crate::store) struct Sql {
    read: Pool<Db>,
    write: Pool<Db>,
    jobs: Queue,
    audit: Log,
}

impl Sql {
    pub(super) fn new(read: Pool<Db>, write: Pool<Db>, audit_keys: &Keyring) -> Self {
        let audit = Log::new("auth", write.clone(), audit_keys.clone());
        Self { jobs: Queue::new("auth", read.clone(), write.clone()), audit, read, write }
    }
}

type Row = <Db as sqlx::Database>::Row;
type Tx<'a> = Transaction<'a, Db>;

#[async_trait]
impl AuthStore for Sql {
    fn jobs(&self) -> &Queue {
        &self.jobs
    }

    fn audit(&self) -> &Log {
        &self.audit
    }

    async fn instance(&self, new: &str) -> Result<String, Error> {
        sqlx::query("INSERT INTO instance (singleton, instance_id) VALUES (1, $1) ON CONFLICT (singleton) DO NOTHING")
            .bind(new)
            .execute(&self.write)
            .await?;
        let row = sqlx::query("SELECT instance_id FROM instance").fetch_one(&self.write).await?;
        Ok(row.try_get("instance_id")?)
    }

    async fn find(&self, id: AccountId) -> Result<Option<Account>, Error> {
        let found = sqlx::query(
            "SELECT account_id, email, password_hash, password_no, state, create_time FROM accounts \
             WHERE account_id = $1",
        )
        .bind(id.0)
        .fetch_optional(&self.read)
        .await?;
        found.map(|row| account(&row)).transpose()
    }

    async fn find_by_email(&self, email: &EmailAddress) -> Result<Option<Account>, Error> {
        let found = sqlx::query(
            "SELECT account_id, email, password_hash, password_no, state, create_time FROM accounts WHERE email = $1",
        )
        .bind(email.as_str())
        .fetch_optional(&self.read)
        .await?;
        found.map(|row| account(&row)).transpose()
    }

    async fn list_addresses(&self, email: &EmailAddress, limit: u32) -> Result<Vec<String>, Error> {
        let rows = sqlx::query(
            "SELECT address FROM sessions WHERE account_id = \
             (SELECT account_id FROM accounts WHERE email = $1 AND state = 'active') \
             ORDER BY last_use_time DESC, session_id DESC LIMIT $2",
        )
        .bind(email.as_str())
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(|row| row.try_get("address").map_err(Error::from)).collect()
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
            "INSERT INTO accounts (account_id, email, password_hash, password_no, state, create_time) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(account.id.0)
        .bind(account.email.as_str())
        .bind(&account.password.0)
        .bind(account.password_no)
        .bind(account.state.as_str())
        .bind(DbTimestamp(account.create_time))
        .execute(&self.write)
        .await;
        match inserted {
            Ok(_) => Ok(()),
            Err(error) if violated(&error).as_deref() == Some("accounts_email_key") => Err(InsertError::EmailTaken),
            Err(error) => Err(InsertError::Store(error.into())),
        }
    }

    async fn import(&self, accounts: &[NewImport], clock_rng: &ClockAndRng) -> Result<u64, Error> {
        let mut tx = self.write.begin().await?;
        let mut imported = 0;
        for new in accounts {
            if insert_unless_present(&mut tx, new).await? {
                imported += 1;
                self.jobs.enqueue(&mut tx, NewJob::now(clock_rng.new_id(), &new.job, clock_rng.now())).await?;
                self.audit.record_task(&mut tx, IMPORT, about(new.account.id)).await?;
            }
        }
        tx.commit().await?;
        Ok(imported)
    }

    async fn resume(&self, account: AccountId) -> Result<Option<i64>, Error> {
        let _turn = self.write.turn(account.0).await?;
        let resumed = sqlx::query(
            "UPDATE accounts SET sign_up_attempt = sign_up_attempt + 1 WHERE account_id = $1 AND state = 'pending' \
             RETURNING sign_up_attempt",
        )
        .bind(account.0)
        .fetch_optional(&self.write)
        .await?;
        Ok(resumed.map(|row| row.try_get("sign_up_attempt")).transpose()?)
    }

    async fn activate(&self, session: &NewSession, attempt: i64) -> Result<bool, Error> {
        let mut tx = self.write.begin_on(session.account.0).await?;
        let activated = sqlx::query(
            "UPDATE accounts SET state = 'active', language = $3 \
             WHERE account_id = $1 AND state = 'pending' AND sign_up_attempt = $2",
        )
        .bind(session.account.0)
        .bind(attempt)
        .bind(session.client.language.as_str())
        .execute(&mut *tx)
        .await?;
        if activated.rows_affected() == 0 || !insert_session(&mut tx, &self.jobs, session).await? {
            return Ok(false);
        }
        self.audit.record(&mut tx, of_session(session.account, session.id)).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn abandon(
        &self,
        account: AccountId,
        before: Timestamp,
        now: Timestamp,
        job_id: Uuid,
    ) -> Result<bool, Error> {
        let mut tx = self.write.begin_on(account.0).await?;
        let deleted =
            sqlx::query("DELETE FROM accounts WHERE account_id = $1 AND state = 'pending' AND create_time < $2")
                .bind(account.0)
                .bind(DbTimestamp(before))
                .execute(&mut *tx)
                .await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        let job = AccountAbandoned { account_id: account.0 };
        self.jobs.enqueue(&mut tx, NewJob::now(job_id, &job, now)).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn list_pending(&self, before: Timestamp, limit: u32) -> Result<Vec<AccountId>, Error> {
        let rows = sqlx::query(
            "SELECT account_id FROM accounts WHERE state = 'pending' AND create_time < $1 ORDER BY create_time LIMIT $2",
        )
        .bind(DbTimestamp(before))
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        Ok(rows.iter().map(|row| row.try_get("account_id").map(AccountId)).collect::<Result<_, _>>()?)
    }

    async fn count_hashes(&self, pepper: Option<&str>) -> Result<u64, Error> {
        count_containing(&self.read, &pepper.map_or("$".to_owned(), |id| format!(",keyid={id}$"))).await
    }

    async fn count_peppered(&self) -> Result<u64, Error> {
        count_containing(&self.read, ",keyid=").await
    }

    async fn rehash(&self, account: AccountId, old: &PasswordHash, new: &PasswordHash) -> Result<(), Error> {
        let _turn = self.write.turn(account.0).await?;
        sqlx::query("UPDATE accounts SET password_hash = $3 WHERE account_id = $1 AND password_hash = $2")
            .bind(account.0)
            .bind(&old.0)
            .bind(&new.0)
            .execute(&self.write)
            .await?;
        Ok(())
    }

    async fn change_password(
        &self,
        account: &Account,
        new: &PasswordHash,
        keep: SessionId,
        notice: Option<&NewMail>,
        now: Timestamp,
    ) -> Result<Option<Vec<SessionId>>, Error> {
        let mut tx = self.write.begin_on(account.id.0).await?;
        let changed = sqlx::query(
            "UPDATE accounts SET password_hash = $3, password_no = password_no + 1 \
             WHERE account_id = $1 AND password_no = $2 AND state = 'active'",
        )
        .bind(account.id.0)
        .bind(account.password_no)
        .bind(&new.0)
        .execute(&mut *tx)
        .await?;
        if changed.rows_affected() == 0 {
            return Ok(None);
        }
        if !hold_session(&mut tx, account.id, keep, now).await? {
            return Ok(None);
        }
        // Links that were sent before would replace the new password.
        delete_tokens(&mut tx, account.id).await?;
        let ended = end_all(&mut tx, account.id, Some(keep), now).await?;
        if let Some(notice) = notice {
            insert_mail(&mut tx, &self.jobs, notice).await?;
        }
        self.audit.record(&mut tx, about(account.id)).await?;
        tx.commit().await?;
        Ok(Some(ended))
    }

    async fn delete_account(
        &self,
        account: &Account,
        session: SessionId,
        now: Timestamp,
        job_id: Uuid,
    ) -> Result<Option<Vec<SessionId>>, Error> {
        let mut tx = self.write.begin_on(account.id.0).await?;
        let deleted = sqlx::query(
            "UPDATE accounts SET state = 'deleted', email = $3, password_hash = '', password_no = password_no + 1 \
             WHERE account_id = $1 AND password_no = $2 AND state = 'active'",
        )
        .bind(account.id.0)
        .bind(account.password_no)
        .bind(EmailAddress::deleted(account.id).as_str())
        .execute(&mut *tx)
        .await?;
        if deleted.rows_affected() == 0 || !hold_session(&mut tx, account.id, session, now).await? {
            return Ok(None);
        }
        sqlx::query("DELETE FROM roles WHERE account_id = $1").bind(account.id.0).execute(&mut *tx).await?;
        erase_mail(&mut tx, account.id).await?;
        let ended = end_all(&mut tx, account.id, None, now).await?;
        let job = AccountDeleted { account_id: account.id.0 };
        self.jobs.enqueue(&mut tx, NewJob::now(job_id, &job, now)).await?;
        self.audit.erase(&mut tx, account.id.0, now).await?;
        self.audit.record(&mut tx, about(account.id)).await?;
        tx.commit().await?;
        Ok(Some(ended))
    }

    async fn open_session(&self, session: &NewSession) -> Result<bool, Error> {
        let mut tx = self.write.begin_on(session.account.0).await?;
        if !insert_session(&mut tx, &self.jobs, session).await? {
            return Ok(false);
        }
        self.audit.record(&mut tx, of_session(session.account, session.id)).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn refresh(
        &self,
        presented: &TokenHash,
        successor: &Successor,
        client: &Client,
        now: Timestamp,
        lifetimes: Lifetimes,
    ) -> Result<Refreshed, Error> {
        let mut tx = self.write.begin_on(presented.row()).await?;
        let Some(found) = lock_token(&mut tx, presented).await? else { return Ok(Refreshed::Refused) };
        match decide(found.presented, now, lifetimes) {
            Decision::Refuse => Ok(Refreshed::Refused),
            Decision::Revoke => {
                end_session(&mut tx, found.session, now).await?;
                if let Some(id) = successor.notice {
                    let mail = NewMail::new(id, MailKind::SessionEnded, client.clone(), now).of(found.account);
                    insert_mail(&mut tx, &self.jobs, &mail).await?;
                }
                let reused = of_session(found.account, found.session);
                self.audit.record(&mut tx, reused.refused("UNAUTHENTICATED", "REFRESH_TOKEN_REUSED")).await?;
                tx.commit().await?;
                Ok(Refreshed::Revoked(found.session))
            }
            Decision::Repeat => {
                let sealed = found.sealed.clone().unwrap_or_default();
                Ok(Refreshed::Repeated(found.continued(found.presented.expire_time), sealed))
            }
            Decision::Rotate => {
                let end = lifetimes.end(found.create_time, now);
                let continued = found.continued(end);
                rotate(&mut tx, presented, successor, &continued, client, now).await?;
                tx.commit().await?;
                Ok(Refreshed::Rotated(continued))
            }
        }
    }

    async fn list_sessions(&self, account: AccountId, page: &Page, now: Timestamp) -> Result<Vec<Session>, Error> {
        let rows = sqlx::query(
            "SELECT session_id, create_time, last_use_time, expire_time, user_agent, address FROM sessions \
             WHERE account_id = $1 AND (last_use_time, session_id) < ($2, $3) \
             AND revoke_time IS NULL AND expire_time > $4 ORDER BY last_use_time DESC, session_id DESC LIMIT $5",
        )
        .bind(account.0)
        .bind(DbTimestamp(page.after.0))
        .bind(page.after.1.0)
        .bind(DbTimestamp(now))
        .bind(i64::try_from(page.size).unwrap_or(i64::MAX).saturating_add(1))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(session).collect()
    }

    async fn is_in_force(&self, account: AccountId, session: SessionId, now: Timestamp) -> Result<bool, Error> {
        let found = sqlx::query(IN_FORCE).bind(session.0).bind(account.0).bind(DbTimestamp(now));
        Ok(found.fetch_optional(&self.read).await?.is_some())
    }

    async fn list_ended(&self, page: &EndedPage) -> Result<Vec<EndedSession>, Error> {
        let rows = sqlx::query(
            "SELECT session_id, revoke_time FROM sessions WHERE revoke_time IS NOT NULL \
             AND (revoke_time, session_id) > ($1, $2) ORDER BY revoke_time, session_id LIMIT $3",
        )
        .bind(DbTimestamp(page.after.0))
        .bind(page.after.1.0)
        .bind(i64::try_from(page.size).unwrap_or(i64::MAX).saturating_add(1))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(ended).collect()
    }

    async fn revoke(&self, token: &TokenHash, now: Timestamp) -> Result<Option<SessionId>, Error> {
        // A token never moves to another session, so this read needs no lock.
        let found = sqlx::query("SELECT session_id FROM refresh_tokens WHERE token_hash = $1")
            .bind(&token.0)
            .fetch_optional(&self.read)
            .await?;
        let Some(found) = found else { return Ok(None) };
        let session: Uuid = found.try_get("session_id")?;
        let mut tx = self.write.begin_on(session).await?;
        let ended = sqlx::query(
            "UPDATE sessions SET revoke_time = COALESCE(revoke_time, $2) WHERE session_id = $1 RETURNING account_id",
        )
        .bind(session)
        .bind(DbTimestamp(now))
        .fetch_optional(&mut *tx)
        .await?;
        let Some(ended) = ended else { return Ok(None) };
        self.audit.record(&mut tx, of_session(AccountId(ended.try_get("account_id")?), SessionId(session))).await?;
        tx.commit().await?;
        Ok(Some(SessionId(session)))
    }

    async fn revoke_session(&self, account: AccountId, session: SessionId, now: Timestamp) -> Result<bool, Error> {
        let mut tx = self.write.begin_on(account.0).await?;
        let ended = sqlx::query(
            "UPDATE sessions SET revoke_time = COALESCE(revoke_time, $3) WHERE session_id = $1 AND account_id = $2",
        )
        .bind(session.0)
        .bind(account.0)
        .bind(DbTimestamp(now))
        .execute(&mut *tx)
        .await?;
        if ended.rows_affected() == 0 {
            return Ok(false);
        }
        self.audit.record(&mut tx, of_session(account, session)).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn revoke_all(
        &self,
        account: AccountId,
        keep: Option<SessionId>,
        now: Timestamp,
    ) -> Result<Vec<SessionId>, Error> {
        let mut tx = self.write.begin_on(account.0).await?;
        lock_account(&mut tx, account).await?;
        let ended = end_all(&mut tx, account, keep, now).await?;
        self.audit.record(&mut tx, about(account)).await?;
        tx.commit().await?;
        Ok(ended)
    }

    async fn erase_sealed(&self, before: Timestamp) -> Result<u64, Error> {
        let erased = sqlx::query(
            "UPDATE refresh_tokens SET sealed_successor = NULL WHERE sealed_successor IS NOT NULL AND use_time < $1",
        )
        .bind(DbTimestamp(before))
        .execute(&self.write)
        .await?;
        Ok(erased.rows_affected())
    }

    async fn prune(&self, before: Timestamp, used_before: Timestamp, limit: u32) -> Result<u64, Error> {
        prune_some(&self.write, before, used_before, limit).await
    }

    async fn is_reachable(&self) -> bool {
        self.read.is_reachable()
    }
}

/// The record of a session that is opened or ended. A caller without an access token has proved to be its owner.
fn of_session(account: AccountId, session: SessionId) -> AuditEntry {
    AuditEntry::new(session.name(account)).person(account.0).session(session.0)
}

fn about(account: AccountId) -> AuditEntry {
    AuditEntry::new(account.name()).person(account.0)
}
