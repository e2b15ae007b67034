//! Rows of second factors and challenges, within the transactions that change them. Each transaction has locked the row of
//! the account.

use kit::{Timestamp, audit::AuditEntry};
use kit_data::store::{DbTimestamp, Error};
use sqlx::Row as _;

use super::{
    Row, Tx,
    session::{hold_session, lock_account},
};
use crate::{
    domain::{AccountId, Factor, FactorId, FactorProof, SessionId, StoredTotp, TokenHash, TotpStep},
    store::{Attempt, CodeKind},
};

/// Locks the account's row, and then its session. `false`: the account is not active, its password has changed since it was
/// verified, or the session has ended.
pub(super) async fn hold_owner(
    tx: &mut Tx<'_>,
    account: AccountId,
    password_no: i64,
    session: SessionId,
    now: Timestamp,
) -> Result<bool, Error> {
    lock_account(tx, account).await?;
    let found =
        sqlx::query("SELECT account_id FROM accounts WHERE account_id = $1 AND password_no = $2 AND state = 'active'")
            .bind(account.0)
            .bind(password_no)
            .fetch_optional(&mut **tx)
            .await?;
    Ok(found.is_some() && hold_session(tx, account, session, now).await?)
}

/// Counts a code for a challenge. `false`: the challenge has expired, was used, or has had too many codes.
pub(super) async fn count_challenge(
    tx: &mut Tx<'_>,
    challenge: &TokenHash,
    most: u32,
    now: Timestamp,
) -> Result<bool, Error> {
    let counted = sqlx::query(
        "UPDATE sign_in_challenges SET attempts = attempts + 1 \
         WHERE challenge_hash = $1 AND expire_time > $2 AND attempts < $3",
    )
    .bind(&challenge.0)
    .bind(DbTimestamp(now))
    .bind(i64::from(most))
    .execute(&mut **tx)
    .await?;
    Ok(counted.rows_affected() > 0)
}

/// Counts a code of the app as wrong. The use of a proof sets the count to zero, and a new password starts it again:
/// guessing needs the password.
pub(super) async fn count_failure(
    tx: &mut Tx<'_>,
    account: AccountId,
    kind: CodeKind,
    most: u32,
) -> Result<Attempt, Error> {
    let row =
        sqlx::query("SELECT password_no FROM accounts WHERE account_id = $1 AND state = 'active' AND second_factor")
            .bind(account.0)
            .fetch_optional(&mut **tx)
            .await?;
    let Some(row) = row else { return Ok(Attempt::Invalid) };
    if kind == CodeKind::Recovery {
        return Ok(Attempt::Counted(None));
    }
    let password_no: i64 = row.try_get("password_no")?;
    let counted = sqlx::query(
        "UPDATE totp_factors SET failures = CASE WHEN failures_of = $2 THEN failures + 1 ELSE 1 END, failures_of = $2 \
         WHERE account_id = $1 AND confirm_time IS NOT NULL AND (failures_of <> $2 OR failures < $3) \
         RETURNING factor_id, sealed_secret, last_step",
    )
    .bind(account.0)
    .bind(password_no)
    .bind(i64::from(most))
    .fetch_optional(&mut **tx)
    .await?;
    counted.map_or(Ok(Attempt::Locked), |row| totp(&row).map(Some).map(Attempt::Counted))
}

/// Uses a proof up. `false`: the code was used before, or it is no recovery code of the account.
pub(super) async fn use_proof(
    tx: &mut Tx<'_>,
    account: AccountId,
    proof: &FactorProof,
    now: Timestamp,
) -> Result<bool, Error> {
    let used = match proof {
        FactorProof::Totp(factor, step) => {
            let accepted = sqlx::query(
                "UPDATE totp_factors SET last_step = $3, last_use_time = $4, failures = 0 \
                 WHERE account_id = $1 AND factor_id = $2 AND confirm_time IS NOT NULL AND last_step < $3",
            );
            accepted.bind(account.0).bind(factor.0).bind(step.0).bind(DbTimestamp(now)).execute(&mut **tx).await?
        }
        FactorProof::Recovery(hash) => {
            let used = sqlx::query("DELETE FROM recovery_codes WHERE code_hash = $1 AND account_id = $2")
                .bind(&hash.0)
                .bind(account.0)
                .execute(&mut **tx)
                .await?;
            if used.rows_affected() > 0 {
                sqlx::query("UPDATE totp_factors SET failures = 0 WHERE account_id = $1")
                    .bind(account.0)
                    .execute(&mut **tx)
                    .await?;
            }
            used
        }
    };
    Ok(used.rows_affected() > 0)
}

/// Replaces the recovery codes of the account.
pub(super) async fn insert_codes(tx: &mut Tx<'_>, account: AccountId, codes: &[TokenHash]) -> Result<(), Error> {
    sqlx::query("DELETE FROM recovery_codes WHERE account_id = $1").bind(account.0).execute(&mut **tx).await?;
    for code in codes {
        sqlx::query("INSERT INTO recovery_codes (code_hash, account_id) VALUES ($1, $2)")
            .bind(&code.0)
            .bind(account.0)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Deletes the recovery codes and the challenges of the account.
pub(super) async fn delete_codes(tx: &mut Tx<'_>, account: AccountId) -> Result<(), Error> {
    for statement in
        ["DELETE FROM recovery_codes WHERE account_id = $1", "DELETE FROM sign_in_challenges WHERE account_id = $1"]
    {
        sqlx::query(statement).bind(account.0).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Deletes everything about the second factors of a deleted account.
pub(super) async fn erase_factors(tx: &mut Tx<'_>, account: AccountId) -> Result<(), Error> {
    delete_codes(tx, account).await?;
    sqlx::query("DELETE FROM totp_factors WHERE account_id = $1").bind(account.0).execute(&mut **tx).await?;
    sqlx::query("UPDATE accounts SET second_factor = FALSE WHERE account_id = $1")
        .bind(account.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) fn totp(row: &Row) -> Result<StoredTotp, Error> {
    Ok(StoredTotp {
        id: FactorId(row.try_get("factor_id")?),
        sealed_secret: row.try_get("sealed_secret")?,
        last_step: TotpStep(row.try_get("last_step")?),
    })
}

pub(super) fn factor(row: &Row) -> Result<Factor, Error> {
    let DbTimestamp(create_time) = row.try_get("confirm_time")?;
    let last_use_time: Option<DbTimestamp> = row.try_get("last_use_time")?;
    Ok(Factor {
        id: FactorId(row.try_get("factor_id")?),
        create_time,
        last_use_time: last_use_time.map(|DbTimestamp(at)| at),
    })
}

/// The record of a factor that is turned on or removed.
pub(super) fn of_factor(account: AccountId, factor: FactorId) -> AuditEntry {
    AuditEntry::new(factor.name(account)).person(account.0)
}
