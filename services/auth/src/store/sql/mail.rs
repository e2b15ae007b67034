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
};
use crate::{
    domain::{KeptMail, NewLink, NewMail, StoredMail},
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
        let statement = if mail.kind.proves_another_address() {
            "INSERT INTO mail_tokens (token_hash, kind, account_id, email, expire_time, binding) \
             SELECT $1, $2, account_id, $3, $4, $6 FROM accounts WHERE account_id = $5 AND state = 'active' \
             RETURNING account_id"
        } else {
            "INSERT INTO mail_tokens (token_hash, kind, account_id, email, expire_time, binding) \
             SELECT $1, $2, account_id, email, $4, $6 FROM accounts \
             WHERE email = $3 AND account_id = COALESCE($5, account_id) AND state = 'active' RETURNING account_id"
        };
        let added = sqlx::query(statement)
            .bind(&link.hash.0)
            .bind(mail.kind.as_str())
            .bind(mail.recipient.as_str())
            .bind(DbTimestamp(link.expire_time))
            .bind(mail.account.map(|account| account.0))
            .bind(mail.details.bound_to().map(|hash| hash.0))
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
