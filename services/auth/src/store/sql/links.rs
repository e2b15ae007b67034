//! Statements that use the links of mails, and change the addresses of accounts.

use async_trait::async_trait;
use kit::{Timestamp, audit::AuditEntry};
use kit_data::{
    jobs::NewJob,
    store::{DbTimestamp, Error, violated},
};
use sqlx::Row as _;
use uuid::Uuid;

use super::{
    Sql, Tx, about,
    factor_rows::erase_factors,
    mail_rows::{delete_tokens, erase_mail, insert_mail},
    session::{end_all, lock_account},
};
use crate::{
    domain::{
        AccountId, Email, EmailAddress, MailKind, NewMail, PasswordHash, SessionId, TokenHash, jobs::AccountDeleted,
    },
    store::{EmailChange, LinkStore, Release},
};

#[async_trait]
impl LinkStore for Sql {
    async fn find_link(
        &self,
        token: &TokenHash,
        kind: MailKind,
        now: Timestamp,
    ) -> Result<Option<EmailAddress>, Error> {
        let found =
            sqlx::query("SELECT email FROM mail_tokens WHERE token_hash = $1 AND kind = $2 AND expire_time > $3")
                .bind(&token.0)
                .bind(kind.as_str())
                .bind(DbTimestamp(now))
                .fetch_optional(&self.read)
                .await?;
        Ok(found.map(|row| row.try_get("email").map(EmailAddress::stored)).transpose()?)
    }

    async fn reset_password(
        &self,
        token: &TokenHash,
        new: &PasswordHash,
        notice: Option<&NewMail>,
        now: Timestamp,
    ) -> Result<Option<Vec<SessionId>>, Error> {
        let Some(account) = self.account_of(token).await? else { return Ok(None) };
        let mut tx = self.write.begin_on(account.0).await?;
        let Some(email) = use_token(&mut tx, account, token, MailKind::PasswordReset, now).await? else {
            return Ok(None);
        };
        let changed = sqlx::query(
            "UPDATE accounts SET password_hash = $3, password_no = password_no + 1, \
             email_verify_time = COALESCE(email_verify_time, $4) \
             WHERE account_id = $1 AND email = $2 AND state = 'active'",
        )
        .bind(account.0)
        .bind(email.as_str())
        .bind(&new.0)
        .bind(DbTimestamp(now))
        .execute(&mut *tx)
        .await?;
        if changed.rows_affected() == 0 {
            return Ok(None);
        }
        delete_tokens(&mut tx, account).await?;
        let ended = end_all(&mut tx, account, None, now).await?;
        if let Some(notice) = notice {
            insert_mail(&mut tx, &self.jobs, &NewMail { account: Some(account), ..notice.clone() }).await?;
        }
        self.audit.record(&mut tx, about(account)).await?;
        tx.commit().await?;
        Ok(Some(ended))
    }

    async fn find_email(&self, account: AccountId) -> Result<Option<Email>, Error> {
        let found = sqlx::query("SELECT email, email_verify_time FROM accounts WHERE account_id = $1")
            .bind(account.0)
            .fetch_optional(&self.read)
            .await?;
        let Some(row) = found else { return Ok(None) };
        let verify_time: Option<DbTimestamp> = row.try_get("email_verify_time")?;
        let address = EmailAddress::stored(row.try_get("email")?);
        Ok(Some(Email { address, verify_time: verify_time.map(|DbTimestamp(at)| at) }))
    }

    async fn verify_email(&self, token: &TokenHash, now: Timestamp) -> Result<bool, Error> {
        let Some(account) = self.account_of(token).await? else { return Ok(false) };
        let mut tx = self.write.begin_on(account.0).await?;
        let Some(email) = use_token(&mut tx, account, token, MailKind::EmailVerification, now).await? else {
            return Ok(false);
        };
        let verified = sqlx::query(
            "UPDATE accounts SET email_verify_time = COALESCE(email_verify_time, $3) \
             WHERE account_id = $1 AND email = $2 AND state = 'active'",
        )
        .bind(account.0)
        .bind(email.as_str())
        .bind(DbTimestamp(now))
        .execute(&mut *tx)
        .await?;
        if verified.rows_affected() == 0 {
            return Ok(false);
        }
        self.audit.record(&mut tx, about(account)).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn release_email(&self, token: &TokenHash, now: Timestamp) -> Result<Release, Error> {
        let Some(account) = self.account_of(token).await? else { return Ok(Release::Invalid) };
        let mut tx = self.write.begin_on(account.0).await?;
        let verification = use_token(&mut tx, account, token, MailKind::EmailVerification, now).await?;
        let email = match verification {
            Some(email) => Some(email),
            None => use_token(&mut tx, account, token, MailKind::PasswordReset, now).await?,
        };
        let Some(email) = email else { return Ok(Release::Invalid) };
        if !release(&mut tx, account, &email, now).await? {
            return Ok(Release::Kept);
        }
        erase_mail(&mut tx, account).await?;
        // The caller reads mail at the address, and need not be the account's owner.
        self.audit.record(&mut tx, AuditEntry::new(account.name())).await?;
        tx.commit().await?;
        Ok(Release::Released)
    }

    async fn confirm_email(&self, token: &TokenHash, undo: &NewMail, now: Timestamp) -> Result<EmailChange, Error> {
        let Some(account) = self.account_of(token).await? else { return Ok(EmailChange::Invalid) };
        let mut tx = self.write.begin_on(account.0).await?;
        let Some(email) = use_token(&mut tx, account, token, MailKind::EmailChange, now).await? else {
            return Ok(EmailChange::Invalid);
        };
        let previous =
            sqlx::query("SELECT email FROM accounts WHERE account_id = $1 AND email_verify_time IS NOT NULL")
                .bind(account.0)
                .fetch_optional(&mut *tx)
                .await?;
        let previous = previous.map(|row| row.try_get("email").map(EmailAddress::stored)).transpose()?;
        if !claim(&mut tx, account, &email, now).await? {
            return Ok(EmailChange::Taken);
        }
        delete_tokens(&mut tx, account).await?;
        if let Some(previous) = previous {
            let undo = NewMail { account: Some(account), ..undo.clone() }.to(previous);
            insert_mail(&mut tx, &self.jobs, &undo).await?;
        }
        self.audit.record(&mut tx, about(account)).await?;
        tx.commit().await?;
        Ok(EmailChange::Changed(Vec::new()))
    }

    async fn undo_email(&self, token: &TokenHash, reset: &NewMail, now: Timestamp) -> Result<EmailChange, Error> {
        let Some(account) = self.account_of(token).await? else { return Ok(EmailChange::Invalid) };
        let mut tx = self.write.begin_on(account.0).await?;
        let Some(email) = use_token(&mut tx, account, token, MailKind::EmailChanged, now).await? else {
            return Ok(EmailChange::Invalid);
        };
        if !claim(&mut tx, account, &email, now).await? {
            return Ok(EmailChange::Taken);
        }
        sqlx::query("UPDATE accounts SET password_hash = '', password_no = password_no + 1 WHERE account_id = $1")
            .bind(account.0)
            .execute(&mut *tx)
            .await?;
        erase_mail(&mut tx, account).await?;
        let ended = end_all(&mut tx, account, None, now).await?;
        let reset = NewMail { account: Some(account), ..reset.clone() }.to(email);
        insert_mail(&mut tx, &self.jobs, &reset).await?;
        self.audit.record(&mut tx, about(account)).await?;
        tx.commit().await?;
        Ok(EmailChange::Changed(ended))
    }

    async fn list_unreachable(&self, limit: u32) -> Result<Vec<AccountId>, Error> {
        let rows = sqlx::query(
            "SELECT account_id FROM accounts a WHERE release_time IS NOT NULL AND state = 'active' \
             AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.account_id = a.account_id) ORDER BY release_time LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        Ok(rows.iter().map(|row| row.try_get("account_id").map(AccountId)).collect::<Result<_, _>>()?)
    }

    async fn delete_unreachable(&self, account: AccountId, now: Timestamp, job_id: Uuid) -> Result<bool, Error> {
        let mut tx = self.write.begin_on(account.0).await?;
        // No session opens while the row is locked.
        lock_account(&mut tx, account).await?;
        let session = sqlx::query("SELECT session_id FROM sessions WHERE account_id = $1 LIMIT 1").bind(account.0);
        if session.fetch_optional(&mut *tx).await?.is_some() {
            return Ok(false);
        }
        let deleted = sqlx::query(
            "UPDATE accounts SET state = 'deleted', email = $2, password_hash = '', password_no = password_no + 1, \
             release_time = NULL WHERE account_id = $1 AND release_time IS NOT NULL AND state = 'active'",
        )
        .bind(account.0)
        .bind(EmailAddress::deleted(account).as_str())
        .execute(&mut *tx)
        .await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query("DELETE FROM roles WHERE account_id = $1").bind(account.0).execute(&mut *tx).await?;
        erase_mail(&mut tx, account).await?;
        erase_factors(&mut tx, account).await?;
        let job = AccountDeleted { account_id: account.0 };
        self.jobs.enqueue(&mut tx, NewJob::now(job_id, &job, now)).await?;
        self.audit.erase(&mut tx, account.0, now).await?;
        self.audit.record(&mut tx, AuditEntry::new(account.name())).await?;
        tx.commit().await?;
        Ok(true)
    }
}

impl Sql {
    /// The account of a token, which never changes, so that this read needs no lock.
    async fn account_of(&self, token: &TokenHash) -> Result<Option<AccountId>, Error> {
        let found = sqlx::query("SELECT account_id FROM mail_tokens WHERE token_hash = $1")
            .bind(&token.0)
            .fetch_optional(&self.read)
            .await?;
        Ok(found.map(|row| row.try_get("account_id").map(AccountId)).transpose()?)
    }
}

/// Takes the address from an account that has not verified it. `false`: the account does not have it, has verified it,
/// or has a role, so that no link removes an admin. The address is then free for the account whose owner
/// has proved to read its mail.
async fn release(tx: &mut Tx<'_>, from: AccountId, email: &EmailAddress, now: Timestamp) -> Result<bool, Error> {
    // A role is granted under the same lock.
    lock_account(tx, from).await?;
    let role = sqlx::query("SELECT role FROM roles WHERE account_id = $1 LIMIT 1").bind(from.0);
    if role.fetch_optional(&mut **tx).await?.is_some() {
        return Ok(false);
    }
    let released = sqlx::query(
        "UPDATE accounts SET email = $3, release_time = $4 WHERE account_id = $1 AND email = $2 \
         AND email_verify_time IS NULL AND state IN ('active', 'pending')",
    )
    .bind(from.0)
    .bind(email.as_str())
    .bind(EmailAddress::released(from).as_str())
    .bind(DbTimestamp(now))
    .execute(&mut **tx)
    .await?;
    Ok(released.rows_affected() > 0)
}

/// Locks the account's row, and then deletes the token if it is valid. Returns the address that it proves.
async fn use_token(
    tx: &mut Tx<'_>,
    account: AccountId,
    token: &TokenHash,
    kind: MailKind,
    now: Timestamp,
) -> Result<Option<EmailAddress>, Error> {
    lock_account(tx, account).await?;
    let used =
        sqlx::query("DELETE FROM mail_tokens WHERE token_hash = $1 AND kind = $2 AND expire_time > $3 RETURNING email")
            .bind(&token.0)
            .bind(kind.as_str())
            .bind(DbTimestamp(now))
            .fetch_optional(&mut **tx)
            .await?;
    Ok(used.map(|row| row.try_get("email").map(EmailAddress::stored)).transpose()?)
}

/// Gives an address to the account whose owner has proved to read its mail, and whose row this transaction has locked.
/// Another account that has not verified the address loses it. `false`: another account has verified it, or the account
/// is not active.
async fn claim(tx: &mut Tx<'_>, account: AccountId, email: &EmailAddress, now: Timestamp) -> Result<bool, Error> {
    let holder = sqlx::query("SELECT account_id FROM accounts WHERE email = $1 AND account_id <> $2")
        .bind(email.as_str())
        .bind(account.0)
        .fetch_optional(&mut **tx)
        .await?;
    if let Some(holder) = holder {
        let holder = AccountId(holder.try_get("account_id")?);
        // The row may have changed since it was read: the statement decides.
        release(tx, holder, email, now).await?;
    }
    let claimed = sqlx::query(
        "UPDATE accounts SET email = $2, email_verify_time = $3, release_time = NULL \
         WHERE account_id = $1 AND state = 'active'",
    )
    .bind(account.0)
    .bind(email.as_str())
    .bind(DbTimestamp(now))
    .execute(&mut **tx)
    .await;
    match claimed {
        Ok(claimed) => Ok(claimed.rows_affected() > 0),
        Err(error) if violated(&error).as_deref() == Some("accounts_email_key") => Ok(false),
        Err(error) => Err(error.into()),
    }
}
