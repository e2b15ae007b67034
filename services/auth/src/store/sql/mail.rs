//! Statements on mails and on the tokens of their links.

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::{
    jobs::NewJob,
    store::{DbTimestamp, Error},
};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::{
    super::delete_some,
    Sql, Tx,
    mail_rows::{delete_tokens, erase_mail, insert_mail, kept, stored},
    session::{end_all, lock_account},
};
use crate::{
    domain::{
        AccountId, Email, EmailAddress, KeptMail, MailKind, NewLink, NewMail, PasswordHash, SessionId, StoredMail,
        TokenHash, jobs::AccountDeleted,
    },
    store::{MailStore, Release},
};

#[async_trait]
impl MailStore for Sql {
    async fn queue_mail(&self, mail: &NewMail) -> Result<(), Error> {
        let mut tx = self.write.begin().await?;
        insert_mail(&mut tx, &self.jobs, mail).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn find_mail(&self, id: Uuid) -> Result<Option<StoredMail>, Error> {
        let found = sqlx::query(
            "SELECT m.mail_id, m.kind, m.account_id, m.recipient, m.details, m.sealed_token, m.expire_time, m.create_time, \
             COALESCE(NULLIF(a.language, ''), m.language) AS language FROM mails m \
             LEFT JOIN accounts a ON a.account_id = m.account_id WHERE m.mail_id = $1",
        )
        .bind(id)
        .fetch_optional(&self.read)
        .await?;
        found.map(|row| stored(&row)).transpose()
    }

    async fn add_link(&self, mail: &StoredMail, link: &NewLink) -> Result<bool, Error> {
        let mut tx = self.write.begin_on(mail.id).await?;
        let added = sqlx::query(
            "INSERT INTO mail_tokens (token_hash, kind, account_id, email, expire_time) \
             SELECT $1, $2, account_id, email, $4 FROM accounts \
             WHERE email = $3 AND account_id = COALESCE($5, account_id) AND state = 'active' RETURNING account_id",
        )
        .bind(&link.hash.0)
        .bind(mail.kind.as_str())
        .bind(mail.recipient.as_str())
        .bind(DbTimestamp(link.expire_time))
        .bind(mail.account.map(|account| account.0))
        .fetch_optional(&mut *tx)
        .await?;
        let Some(added) = added else { return Ok(false) };
        let account: Uuid = added.try_get("account_id")?;
        sqlx::query("UPDATE mails SET sealed_token = $2, account_id = $3, expire_time = $4 WHERE mail_id = $1")
            .bind(mail.id)
            .bind(&link.sealed)
            .bind(account)
            .bind(DbTimestamp(link.expire_time))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn delete_mail(&self, id: Uuid) -> Result<(), Error> {
        sqlx::query("DELETE FROM mails WHERE mail_id = $1").bind(id).execute(&self.write).await?;
        Ok(())
    }

    async fn keep_mail(&self, mail: &KeptMail, most: u32) -> Result<(), Error> {
        let mut tx = self.write.begin().await?;
        sqlx::query(
            "INSERT INTO mailbox (mail_id, recipient, subject, body, create_time) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (mail_id) DO NOTHING",
        )
        .bind(mail.id)
        .bind(&mail.recipient)
        .bind(&mail.subject)
        .bind(&mail.text)
        .bind(DbTimestamp(mail.create_time))
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "DELETE FROM mailbox WHERE mail_id NOT IN \
             (SELECT mail_id FROM mailbox ORDER BY create_time DESC, mail_id DESC LIMIT $1)",
        )
        .bind(i64::from(most))
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM mails WHERE mail_id = $1").bind(mail.id).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn list_mailbox(&self, limit: u32) -> Result<Vec<KeptMail>, Error> {
        let rows = sqlx::query(
            "SELECT mail_id, recipient, subject, body, create_time FROM mailbox \
             ORDER BY create_time DESC, mail_id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.read)
        .await?;
        rows.iter().map(kept).collect()
    }

    async fn is_link_valid(&self, token: &TokenHash, kind: MailKind, now: Timestamp) -> Result<bool, Error> {
        let found = sqlx::query("SELECT kind FROM mail_tokens WHERE token_hash = $1 AND kind = $2 AND expire_time > $3")
            .bind(&token.0)
            .bind(kind.as_str())
            .bind(DbTimestamp(now))
            .fetch_optional(&self.read)
            .await?;
        Ok(found.is_some())
    }

    async fn reset_password(
        &self,
        token: &TokenHash,
        new: &PasswordHash,
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
            return Ok(Release::Verified);
        }
        erase_mail(&mut tx, account).await?;
        tx.commit().await?;
        Ok(Release::Released)
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
        lock_account(&mut tx, account).await?;
        let deleted = sqlx::query(
            "UPDATE accounts SET state = 'deleted', email = $2, password_hash = '', password_no = password_no + 1, \
             release_time = NULL WHERE account_id = $1 AND release_time IS NOT NULL AND state = 'active' \
             AND NOT EXISTS (SELECT 1 FROM sessions WHERE account_id = $1)",
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
        let job = AccountDeleted { account_id: account.0 };
        self.jobs.enqueue(&mut tx, NewJob::now(job_id, &job, now)).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn prune_mail(&self, now: Timestamp, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let steps = [
            (delete_some("mail_tokens", "token_hash", "expire_time < $1"), now),
            (delete_some("mails", "mail_id", "create_time < $1"), before),
        ];
        for (statement, before) in steps {
            // The statement consists of constants only.
            let delete = sqlx::query(AssertSqlSafe(statement)).bind(DbTimestamp(before)).bind(i64::from(limit));
            let deleted = delete.execute(&self.write).await?.rows_affected();
            if deleted > 0 {
                return Ok(deleted);
            }
        }
        Ok(0)
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

/// Takes the address from an account that has not verified it. `false`: the account does not have it, or has verified it.
/// The address is then free for the account whose owner has proved to read its mail.
async fn release(tx: &mut Tx<'_>, from: AccountId, email: &EmailAddress, now: Timestamp) -> Result<bool, Error> {
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
    let used = sqlx::query("DELETE FROM mail_tokens WHERE token_hash = $1 AND kind = $2 AND expire_time > $3 RETURNING email")
        .bind(&token.0)
        .bind(kind.as_str())
        .bind(DbTimestamp(now))
        .fetch_optional(&mut **tx)
        .await?;
    Ok(used.map(|row| row.try_get("email").map(EmailAddress::stored)).transpose()?)
}
