//! Statements on second factors and challenges.

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::store::{DbTimestamp, Error};
use sqlx::{AssertSqlSafe, Row as _};

use super::{
    super::delete_some,
    Sql, Tx, about,
    factor_rows::{
        count_challenge, count_failure, delete_codes, factor, hold_owner, insert_codes, of_factor, totp, use_proof,
    },
    mail_rows::insert_mail,
    of_session,
    session::{hold_session, insert_proved_session, lock_account, set_auth_time, set_second_factor},
};
use crate::{
    domain::{
        AccountId, FactorId, FactorProof, Factors, NewChallenge, NewMail, NewSession, PendingTotp, SessionId,
        StoredTotp, TokenHash,
    },
    store::{Attempt, Begun, CodeKind, ConfirmedTotp, Continued, FactorChange, FactorStore, MostAttempts, Proved},
};

#[async_trait]
impl FactorStore for Sql {
    async fn begin_totp(&self, pending: &PendingTotp) -> Result<Begun, Error> {
        let PendingTotp { id, account, password_no, session, sealed_secret, create_time } = pending;
        let mut tx = self.write.begin_on(account.0).await?;
        if !hold_owner(&mut tx, *account, *password_no, *session, *create_time).await? {
            return Ok(Begun::Refused);
        }
        sqlx::query("DELETE FROM totp_factors WHERE account_id = $1 AND confirm_time IS NULL")
            .bind(account.0)
            .execute(&mut *tx)
            .await?;
        let inserted = sqlx::query(
            "INSERT INTO totp_factors (account_id, factor_id, session_id, sealed_secret, create_time) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account_id) DO NOTHING",
        )
        .bind(account.0)
        .bind(id.0)
        .bind(session.0)
        .bind(sealed_secret)
        .bind(DbTimestamp(*create_time))
        .execute(&mut *tx)
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(Begun::Enabled);
        }
        tx.commit().await?;
        Ok(Begun::Pending)
    }

    async fn find_pending_totp(
        &self,
        account: AccountId,
        session: SessionId,
        since: Timestamp,
    ) -> Result<Option<StoredTotp>, Error> {
        let found = sqlx::query(
            "SELECT factor_id, sealed_secret, last_step FROM totp_factors \
             WHERE account_id = $1 AND session_id = $2 AND create_time >= $3 AND confirm_time IS NULL",
        )
        .bind(account.0)
        .bind(session.0)
        .bind(DbTimestamp(since))
        .fetch_optional(&self.read)
        .await?;
        found.map(|row| totp(&row)).transpose()
    }

    async fn confirm_totp(&self, confirmed: &ConfirmedTotp<'_>, since: Timestamp) -> Result<bool, Error> {
        let ConfirmedTotp { factor, step, codes, account, session, notice, now } = *confirmed;
        let mut tx = self.write.begin_on(account.0).await?;
        lock_account(&mut tx, account).await?;
        if !hold_session(&mut tx, account, session, now).await? {
            return Ok(false);
        }
        let turned_on = sqlx::query(
            "UPDATE totp_factors SET confirm_time = $5, last_step = $4 WHERE account_id = $1 AND factor_id = $2 \
             AND session_id = $3 AND create_time >= $6 AND confirm_time IS NULL",
        )
        .bind(account.0)
        .bind(factor.0)
        .bind(session.0)
        .bind(step.0)
        .bind(DbTimestamp(now))
        .bind(DbTimestamp(since))
        .execute(&mut *tx)
        .await?;
        let needed = sqlx::query("UPDATE accounts SET second_factor = TRUE WHERE account_id = $1 AND state = 'active'")
            .bind(account.0)
            .execute(&mut *tx)
            .await?;
        if turned_on.rows_affected() == 0 || needed.rows_affected() == 0 {
            return Ok(false);
        }
        insert_codes(&mut tx, account, codes).await?;
        set_second_factor(&mut tx, session).await?;
        self.end_change(tx, notice, of_factor(account, factor)).await?;
        Ok(true)
    }

    async fn list_factors(&self, account: AccountId) -> Result<Factors, Error> {
        let rows = sqlx::query(
            "SELECT factor_id, confirm_time, last_use_time FROM totp_factors \
             WHERE account_id = $1 AND confirm_time IS NOT NULL",
        )
        .bind(account.0)
        .fetch_all(&self.read)
        .await?;
        let counted = sqlx::query("SELECT COUNT(*) AS codes FROM recovery_codes WHERE account_id = $1")
            .bind(account.0)
            .fetch_one(&self.read)
            .await?;
        let codes: i64 = counted.try_get("codes")?;
        let factors = rows.iter().map(factor).collect::<Result<_, _>>()?;
        Ok(Factors { factors, recovery_codes: u32::try_from(codes).unwrap_or(u32::MAX) })
    }

    async fn offer_challenge(&self, challenge: &NewChallenge) -> Result<Option<bool>, Error> {
        let account = challenge.account;
        let mut tx = self.write.begin_on(account.0).await?;
        lock_account(&mut tx, account).await?;
        let offered = sqlx::query(
            "INSERT INTO sign_in_challenges (challenge_hash, account_id, password_no, expire_time) \
             SELECT $1, account_id, password_no, $4 FROM accounts \
             WHERE account_id = $2 AND password_no = $3 AND state = 'active' AND second_factor",
        )
        .bind(&challenge.hash.0)
        .bind(account.0)
        .bind(challenge.password_no)
        .bind(DbTimestamp(challenge.expire_time))
        .execute(&mut *tx)
        .await?;
        if offered.rows_affected() == 0 {
            return Ok(None);
        }
        let code = sqlx::query("SELECT code_hash FROM recovery_codes WHERE account_id = $1 LIMIT 1").bind(account.0);
        let has_codes = code.fetch_optional(&mut *tx).await?.is_some();
        self.audit.record(&mut tx, about(account)).await?;
        tx.commit().await?;
        Ok(Some(has_codes))
    }

    async fn find_challenge(&self, challenge: &TokenHash) -> Result<Option<AccountId>, Error> {
        let found = sqlx::query("SELECT account_id FROM sign_in_challenges WHERE challenge_hash = $1")
            .bind(&challenge.0)
            .fetch_optional(&self.read)
            .await?;
        Ok(found.map(|row| row.try_get("account_id").map(AccountId)).transpose()?)
    }

    async fn try_challenge(
        &self,
        challenge: &TokenHash,
        kind: CodeKind,
        most: MostAttempts,
        now: Timestamp,
    ) -> Result<Attempt, Error> {
        let Some(account) = self.find_challenge(challenge).await? else { return Ok(Attempt::Invalid) };
        let mut tx = self.write.begin_on(account.0).await?;
        lock_account(&mut tx, account).await?;
        if !count_challenge(&mut tx, challenge, most.of_challenge, now).await? {
            return Ok(Attempt::Invalid);
        }
        let attempt = count_failure(&mut tx, account, kind, most.in_a_row).await?;
        tx.commit().await?;
        Ok(attempt)
    }

    async fn try_code(&self, account: AccountId, kind: CodeKind, most: MostAttempts) -> Result<Attempt, Error> {
        let mut tx = self.write.begin_on(account.0).await?;
        lock_account(&mut tx, account).await?;
        let attempt = count_failure(&mut tx, account, kind, most.in_a_row).await?;
        tx.commit().await?;
        Ok(attempt)
    }

    async fn complete_sign_in(
        &self,
        challenge: &TokenHash,
        proof: &FactorProof,
        session: &NewSession,
        notice: Option<&NewMail>,
    ) -> Result<Proved, Error> {
        let (account, now) = (session.account, session.create_time);
        let mut tx = self.write.begin_on(account.0).await?;
        lock_account(&mut tx, account).await?;
        let used = sqlx::query(
            "DELETE FROM sign_in_challenges WHERE challenge_hash = $1 AND account_id = $2 AND password_no = $3 \
             AND expire_time > $4",
        )
        .bind(&challenge.0)
        .bind(account.0)
        .bind(session.password_no)
        .bind(DbTimestamp(now))
        .execute(&mut *tx)
        .await?;
        if used.rows_affected() == 0 {
            return Ok(Proved::Gone);
        }
        if !use_proof(&mut tx, account, proof, now).await? {
            return Ok(Proved::WrongCode);
        }
        if !insert_proved_session(&mut tx, &self.jobs, session).await? {
            return Ok(Proved::Gone);
        }
        self.end_change(tx, notice, of_session(account, session.id)).await?;
        Ok(Proved::Done)
    }

    async fn remove_factor(&self, factor: FactorId, change: &FactorChange<'_>) -> Result<Proved, Error> {
        let account = change.account;
        let (mut tx, proved) = self.begin_change(change).await?;
        if proved != Proved::Done {
            return Ok(proved);
        }
        let removed = sqlx::query("DELETE FROM totp_factors WHERE account_id = $1 AND factor_id = $2")
            .bind(account.0)
            .bind(factor.0)
            .execute(&mut *tx)
            .await?;
        if removed.rows_affected() == 0 {
            return Ok(Proved::Gone);
        }
        sqlx::query("UPDATE accounts SET second_factor = FALSE WHERE account_id = $1")
            .bind(account.0)
            .execute(&mut *tx)
            .await?;
        delete_codes(&mut tx, account).await?;
        self.end_change(tx, change.notice, of_factor(account, factor)).await?;
        Ok(Proved::Done)
    }

    async fn replace_recovery_codes(&self, codes: &[TokenHash], change: &FactorChange<'_>) -> Result<Proved, Error> {
        let (mut tx, proved) = self.begin_change(change).await?;
        if proved != Proved::Done {
            return Ok(proved);
        }
        insert_codes(&mut tx, change.account, codes).await?;
        self.end_change(tx, change.notice, about(change.account)).await?;
        Ok(Proved::Done)
    }

    async fn prove_again_with_code(&self, change: &FactorChange<'_>) -> Result<Result<Continued, Proved>, Error> {
        let FactorChange { account, session, now, .. } = *change;
        let (mut tx, proved) = self.begin_change(change).await?;
        if proved != Proved::Done {
            return Ok(Err(proved));
        }
        set_second_factor(&mut tx, session).await?;
        let Some(continued) = set_auth_time(&mut tx, account, session, now).await? else {
            return Ok(Err(Proved::Refused));
        };
        self.end_change(tx, change.notice, of_session(account, session)).await?;
        Ok(Ok(continued))
    }

    async fn prune_factors(&self, now: Timestamp, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let steps = [
            (delete_some("sign_in_challenges", "challenge_hash", "expire_time < $1"), now),
            (delete_some("totp_factors", "account_id", "confirm_time IS NULL AND create_time < $1"), before),
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
    /// Begins the transaction of a change, and uses the proof up in it.
    async fn begin_change(&self, change: &FactorChange<'_>) -> Result<(Tx<'_>, Proved), Error> {
        let FactorChange { account, password_no, session, proof, now, .. } = *change;
        let mut tx = self.write.begin_on(account.0).await?;
        let proved = if !hold_owner(&mut tx, account, password_no, session, now).await? {
            Proved::Refused
        } else if use_proof(&mut tx, account, proof, now).await? {
            Proved::Done
        } else {
            Proved::WrongCode
        };
        Ok((tx, proved))
    }

    /// Stores the notice and the audit record of a change, and commits it.
    async fn end_change(
        &self,
        mut tx: Tx<'_>,
        notice: Option<&NewMail>,
        entry: kit::audit::AuditEntry,
    ) -> Result<(), Error> {
        if let Some(notice) = notice {
            insert_mail(&mut tx, &self.jobs, notice).await?;
        }
        self.audit.record(&mut tx, entry).await?;
        tx.commit().await?;
        Ok(())
    }
}
