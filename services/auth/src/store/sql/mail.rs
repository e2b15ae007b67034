//! Statements on mails.

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::store::{DbTimestamp, Error};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::{
    super::delete_some,
    Sql,
    mail_rows::{insert_mail, kept, stored},
    session::{hold_session, lock_account},
};
use crate::{
    domain::{Account, AccountId, EmailAddress, KeptMail, NewLink, NewMail, SessionId, StoredMail},
    store::MailStore,
};

#[async_trait]
impl MailStore for Sql {
    async fn queue_mails(&self, mails: &[NewMail]) -> Result<(), Error> {
        let mut tx = self.write.begin().await?;
        for mail in mails {
            insert_mail(&mut tx, &self.jobs, mail).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn queue_email_change(
        &self,
        account: &Account,
        session: SessionId,
        mails: &[NewMail],
        now: Timestamp,
    ) -> Result<bool, Error> {
        let mut tx = self.write.begin_on(account.id.0).await?;
        lock_account(&mut tx, account.id).await?;
        let unchanged = sqlx::query(
            "SELECT account_id FROM accounts WHERE account_id = $1 AND password_no = $2 AND state = 'active'",
        )
        .bind(account.id.0)
        .bind(account.password_no)
        .fetch_optional(&mut *tx)
        .await?;
        if unchanged.is_none() || !hold_session(&mut tx, account.id, session, now).await? {
            return Ok(false);
        }
        for mail in mails {
            insert_mail(&mut tx, &self.jobs, mail).await?;
        }
        tx.commit().await?;
        Ok(true)
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
        let account = match mail.account {
            Some(account) => Some(account),
            None => self.active_account_of(&mail.recipient).await?,
        };
        let Some(account) = account else { return Ok(false) };
        let mut tx = self.write.begin_on(account.0).await?;
        // The statements below see the account and the mail as they are after the wait for the lock.
        lock_account(&mut tx, account).await?;
        let queued =
            sqlx::query("UPDATE mails SET sealed_token = $2, account_id = $3, expire_time = $4 WHERE mail_id = $1")
                .bind(mail.id)
                .bind(&link.sealed)
                .bind(account.0)
                .bind(DbTimestamp(link.expire_time))
                .execute(&mut *tx)
                .await?;
        if queued.rows_affected() == 0 {
            return Ok(false);
        }
        let statement = if mail.kind.proves_another_address() {
            "INSERT INTO mail_tokens (token_hash, kind, account_id, email, expire_time) \
             SELECT $1, $2, account_id, $3, $4 FROM accounts WHERE account_id = $5 AND state = 'active'"
        } else {
            "INSERT INTO mail_tokens (token_hash, kind, account_id, email, expire_time) \
             SELECT $1, $2, account_id, email, $4 FROM accounts \
             WHERE email = $3 AND account_id = $5 AND state = 'active'"
        };
        let added = sqlx::query(statement)
            .bind(&link.hash.0)
            .bind(mail.kind.as_str())
            .bind(mail.recipient.as_str())
            .bind(DbTimestamp(link.expire_time))
            .bind(account.0)
            .execute(&mut *tx)
            .await?;
        if added.rows_affected() == 0 {
            return Ok(false);
        }
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
        let oldest = sqlx::query(
            "SELECT create_time, mail_id FROM mailbox ORDER BY create_time DESC, mail_id DESC LIMIT 1 OFFSET $1",
        )
        .bind(i64::from(most))
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(oldest) = oldest {
            let (create_time, id): (DbTimestamp, Uuid) = (oldest.try_get("create_time")?, oldest.try_get("mail_id")?);
            sqlx::query("DELETE FROM mailbox WHERE (create_time, mail_id) <= ($1, $2)")
                .bind(create_time)
                .bind(id)
                .execute(&mut *tx)
                .await?;
        }
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
    /// The active account with this address. A caller that changes anything locks its row and decides again.
    async fn active_account_of(&self, email: &EmailAddress) -> Result<Option<AccountId>, Error> {
        let found = sqlx::query("SELECT account_id FROM accounts WHERE email = $1 AND state = 'active'")
            .bind(email.as_str())
            .fetch_optional(&self.read)
            .await?;
        Ok(found.map(|row| row.try_get("account_id").map(AccountId)).transpose()?)
    }
}
