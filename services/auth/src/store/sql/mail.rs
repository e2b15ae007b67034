//! Statements on mails and on the tokens of their links.

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::{
    jobs::{NewJob, Queue},
    store::{DbTimestamp, Error},
};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::{
    super::delete_some,
    Row, Sql, Tx,
    session::{end_all, lock_account},
};
use crate::{
    domain::{
        AccountId, EmailAddress, KeptMail, Language, MailKind, NewLink, NewMail, PasswordHash, SessionId, StoredMail,
        TokenHash, jobs::MailQueued,
    },
    store::MailStore,
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
             SELECT $1, $2, account_id, email, $4 FROM accounts WHERE email = $3 AND state = 'active' \
             RETURNING account_id",
        )
        .bind(&link.hash.0)
        .bind(mail.kind.as_str())
        .bind(mail.recipient.as_str())
        .bind(DbTimestamp(link.expire_time))
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

/// Stores a mail, and enqueues the job that sends it.
pub(super) async fn insert_mail(tx: &mut Tx<'_>, jobs: &Queue, mail: &NewMail) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO mails (mail_id, kind, account_id, recipient, language, details, create_time) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(mail.id)
    .bind(mail.kind.as_str())
    .bind(mail.account.map(|account| account.0))
    .bind(mail.recipient.as_str())
    .bind(mail.language.as_str())
    .bind(serde_json::to_string(&mail.details).unwrap_or_default())
    .bind(DbTimestamp(mail.create_time))
    .execute(&mut **tx)
    .await?;
    jobs.enqueue(tx, NewJob::now(mail.id, &MailQueued { mail_id: mail.id }, mail.create_time)).await
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

/// Deletes the tokens of an account, whose row this transaction has locked.
pub(super) async fn delete_tokens(tx: &mut Tx<'_>, account: AccountId) -> Result<(), Error> {
    sqlx::query("DELETE FROM mail_tokens WHERE account_id = $1").bind(account.0).execute(&mut **tx).await?;
    Ok(())
}

/// Deletes what mails keep of an account that is deleted. Mails that are only addressed to it find no account later.
pub(super) async fn erase_mail(tx: &mut Tx<'_>, account: AccountId) -> Result<(), Error> {
    delete_tokens(tx, account).await?;
    sqlx::query("DELETE FROM mails WHERE account_id = $1").bind(account.0).execute(&mut **tx).await?;
    Ok(())
}

fn stored(row: &Row) -> Result<StoredMail, Error> {
    let (kind, details, language): (String, String, String) =
        (row.try_get("kind")?, row.try_get("details")?, row.try_get("language")?);
    let (account, expire_time): (Option<Uuid>, Option<DbTimestamp>) =
        (row.try_get("account_id")?, row.try_get("expire_time")?);
    let DbTimestamp(create_time) = row.try_get("create_time")?;
    Ok(StoredMail {
        id: row.try_get("mail_id")?,
        kind: MailKind::parse(&kind).ok_or_else(|| Error::Corrupt(format!("mails.kind {kind:?}")))?,
        account: account.map(AccountId),
        recipient: EmailAddress::stored(row.try_get("recipient")?),
        language: Language::stored(&language),
        details: serde_json::from_str(&details).map_err(|why| Error::Corrupt(format!("mails.details: {why}")))?,
        sealed_token: row.try_get("sealed_token")?,
        expire_time: expire_time.map(|DbTimestamp(at)| at),
        create_time,
    })
}

fn kept(row: &Row) -> Result<KeptMail, Error> {
    let DbTimestamp(create_time) = row.try_get("create_time")?;
    Ok(KeptMail {
        id: row.try_get("mail_id")?,
        recipient: row.try_get("recipient")?,
        subject: row.try_get("subject")?,
        text: row.try_get("body")?,
        create_time,
    })
}
