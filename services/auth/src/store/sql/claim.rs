//! Gives an address to the account whose owner has proved to read its mail, and takes it from another account.

use kit::{Timestamp, audit::AuditEntry};
use kit_data::{
    audit::Log,
    store::{DbTimestamp, Error, violated},
};
use sqlx::Row as _;
use uuid::Uuid;

use super::{Sql, Tx, mail_rows::erase_mail, session::lock_account};
use crate::{
    domain::{AccountId, EmailAddress, TokenHash},
    store::EmailChange,
};

/// The account of a token, and the other account that has the address of the token.
pub(super) struct Claimant {
    pub(super) account: AccountId,
    holder: Option<AccountId>,
}

/// The result of a claim.
pub(super) enum Claim {
    /// The account has the address.
    Done,
    /// It does not get the address; the caller changes nothing.
    Refused(EmailChange),
    /// Another account has the address than the one whose row is locked; the caller changes nothing, and tries again.
    Moved,
}

impl Sql {
    /// The accounts whose rows a claim locks. `None`: the token is unknown.
    pub(super) async fn find_claimant(&self, token: &TokenHash) -> Result<Option<Claimant>, Error> {
        let found = sqlx::query(
            "SELECT t.account_id, a.account_id AS holder FROM mail_tokens t \
             LEFT JOIN accounts a ON a.email = t.email AND a.account_id <> t.account_id WHERE t.token_hash = $1",
        )
        .bind(&token.0)
        .fetch_optional(&self.read)
        .await?;
        let Some(row) = found else { return Ok(None) };
        let holder: Option<Uuid> = row.try_get("holder")?;
        Ok(Some(Claimant { account: AccountId(row.try_get("account_id")?), holder: holder.map(AccountId) }))
    }

    /// Begins a transaction with the locks of both rows. All claims take them in the order of the ids, so that two which
    /// cross do not wait for each other.
    pub(super) async fn begin_claim(&self, claimant: &Claimant) -> Result<Tx<'_>, Error> {
        let mut rows: Vec<Uuid> =
            [Some(claimant.account), claimant.holder].into_iter().flatten().map(|id| id.0).collect();
        rows.sort_unstable();
        let mut tx = self.write.begin_on_all(rows.iter().copied()).await?;
        for row in rows {
            lock_account(&mut tx, AccountId(row)).await?;
        }
        Ok(tx)
    }
}

/// Gives the address to the account, within a transaction that has locked both rows. Another account that has not
/// verified the address loses it, with all links and mails. That is recorded as a change of that account.
pub(super) async fn claim(
    tx: &mut Tx<'_>,
    audit: &Log,
    claimant: &Claimant,
    email: &EmailAddress,
    now: Timestamp,
) -> Result<Claim, Error> {
    let Claimant { account, holder } = claimant;
    let found = sqlx::query("SELECT account_id FROM accounts WHERE email = $1 AND account_id <> $2")
        .bind(email.as_str())
        .bind(account.0)
        .fetch_optional(&mut **tx)
        .await?;
    if let Some(found) = found {
        let found = AccountId(found.try_get("account_id")?);
        if Some(found) != *holder {
            return Ok(Claim::Moved);
        }
        if !release(tx, found, email, now).await? {
            return Ok(Claim::Refused(EmailChange::Taken));
        }
        erase_mail(tx, found).await?;
        // The caller need not be the owner of that account.
        audit.record(tx, AuditEntry::new(found.name())).await?;
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
        Ok(claimed) if claimed.rows_affected() > 0 => Ok(Claim::Done),
        Ok(_) => Ok(Claim::Refused(EmailChange::Invalid)),
        // A sign-up has taken the address since it was read.
        Err(error) if violated(&error).as_deref() == Some("accounts_email_key") => Ok(Claim::Moved),
        Err(error) => Err(error.into()),
    }
}

/// Takes the address from an account that has not verified it. `false`: the account does not have it, or has verified
/// it. The address is then free for the account whose owner has proved to read its mail.
pub(super) async fn release(
    tx: &mut Tx<'_>,
    from: AccountId,
    email: &EmailAddress,
    now: Timestamp,
) -> Result<bool, Error> {
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
