//! Rows of mails and tokens, within the transactions that change them.

use kit_data::{
    jobs::{NewJob, Queue},
    store::{DbTimestamp, Error},
};
use sqlx::Row as _;
use uuid::Uuid;

use super::{Row, Tx};
use crate::domain::{AccountId, EmailAddress, KeptMail, Language, MailKind, NewMail, StoredMail, jobs::MailQueued};

/// Stores a mail, and enqueues the job that sends it.
pub(super) async fn insert_mail(tx: &mut Tx<'_>, jobs: &Queue, mail: &NewMail) -> Result<(), Error> {
    let statement = match mail.recipient {
        Some(_) => {
            "INSERT INTO mails (mail_id, kind, account_id, recipient, language, details, create_time) \
             VALUES ($1, $2, $3, $7, $4, $5, $6)"
        }
        None => {
            "INSERT INTO mails (mail_id, kind, account_id, recipient, language, details, create_time) \
             SELECT $1, $2, account_id, email, $4, $5, $6 FROM accounts \
             WHERE account_id = $3 AND state IN ('active', 'suspended') AND email_verify_time IS NOT NULL"
        }
    };
    let insert = sqlx::query(statement)
        .bind(mail.id)
        .bind(mail.kind.as_str())
        .bind(mail.account.map(|account| account.0))
        .bind(mail.language.as_str())
        .bind(serde_json::to_string(&mail.details).unwrap_or_default())
        .bind(DbTimestamp(mail.create_time));
    let insert = match &mail.recipient {
        Some(recipient) => insert.bind(recipient.as_str()),
        None => insert,
    };
    if insert.execute(&mut **tx).await?.rows_affected() == 0 {
        return Ok(());
    }
    jobs.enqueue(tx, NewJob::now(mail.id, &MailQueued { mail_id: mail.id }, mail.create_time)).await
}

/// Deletes the tokens of an account, whose row this transaction has locked, except those that undo a change of its
/// address: an attacker with the password must not get rid of them. Deletes its queued mails that confirm a new address
/// too, because they would get a token later.
pub(super) async fn delete_tokens(tx: &mut Tx<'_>, account: AccountId) -> Result<(), Error> {
    sqlx::query("DELETE FROM mail_tokens WHERE account_id = $1 AND kind <> $2")
        .bind(account.0)
        .bind(MailKind::EmailChanged.as_str())
        .execute(&mut **tx)
        .await?;
    sqlx::query("DELETE FROM mails WHERE account_id = $1 AND kind = $2")
        .bind(account.0)
        .bind(MailKind::EmailChange.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Deletes all tokens and unsent mails of an account, whose row this transaction has locked. Mails that are only
/// addressed to it find no account later.
pub(super) async fn erase_mail(tx: &mut Tx<'_>, account: AccountId) -> Result<(), Error> {
    sqlx::query("DELETE FROM mail_tokens WHERE account_id = $1").bind(account.0).execute(&mut **tx).await?;
    sqlx::query("DELETE FROM mails WHERE account_id = $1").bind(account.0).execute(&mut **tx).await?;
    Ok(())
}

pub(super) fn stored(row: &Row) -> Result<StoredMail, Error> {
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

pub(super) fn kept(row: &Row) -> Result<KeptMail, Error> {
    let DbTimestamp(create_time) = row.try_get("create_time")?;
    Ok(KeptMail {
        id: row.try_get("mail_id")?,
        recipient: row.try_get("recipient")?,
        subject: row.try_get("subject")?,
        text: row.try_get("body")?,
        create_time,
    })
}
