//! The statements of admins.

use std::collections::HashMap;

use async_trait::async_trait;
use kit::{
    Timestamp,
    audit::{self, AuditEntry},
    policy::ADMIN,
};
use kit_data::store::{DbTimestamp, Error};
use sqlx::Row as _;
use uuid::Uuid;

use super::{
    super::{Db, LOCK_ACTIVE, LOCK_ADMINS},
    Row, Sql, Tx,
    account::state,
    mail_rows::insert_mail,
    session::{end_all, lock_account},
};
use crate::{
    domain::{AccountFilter, AccountId, AccountPage, AccountSummary, EmailAddress, NewMail, State},
    store::{AdminStore, Removal},
};

#[async_trait]
impl AdminStore for Sql {
    async fn list_accounts(&self, page: &AccountPage) -> Result<Vec<AccountSummary>, Error> {
        let rows = self.page_of_accounts(page).await?;
        let mut accounts = rows.iter().map(summary).collect::<Result<Vec<_>, _>>()?;
        if let (Some(newest), Some(oldest)) = (accounts.first(), accounts.last()) {
            let mut roles = self.roles_between(oldest.id, newest.id).await?;
            for account in &mut accounts {
                account.roles = roles.remove(&account.id.0).unwrap_or_default();
            }
        }
        Ok(accounts)
    }

    async fn grant_role(&self, account: AccountId, role: &str, notice: Option<&NewMail>) -> Result<bool, Error> {
        let mut tx = self.write.begin_on(account.0).await?;
        if sqlx::query(LOCK_ACTIVE).bind(account.0).fetch_optional(&mut *tx).await?.is_none() {
            return Ok(false);
        }
        if !insert_role(&mut tx, account, role).await? {
            audit::unchanged();
            return Ok(true);
        }
        self.audit.record(&mut tx, of_role(account, role)).await?;
        self.notify(&mut tx, notice).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn revoke_role(
        &self,
        account: AccountId,
        role: &str,
        notice: Option<&NewMail>,
        now: Timestamp,
    ) -> Result<Removal, Error> {
        let mut tx = self.write.begin_on(account.0).await?;
        if role == ADMIN {
            lock_admins(&mut tx).await?;
        }
        lock_account(&mut tx, account).await?;
        let revoked = sqlx::query("DELETE FROM roles WHERE account_id = $1 AND role = $2")
            .bind(account.0)
            .bind(role)
            .execute(&mut *tx)
            .await?;
        if revoked.rows_affected() == 0 {
            audit::unchanged();
            return Ok(Removal::Done(Vec::new()));
        }
        if role == ADMIN && is_without_admin(&mut tx, account).await? {
            return Ok(Removal::LastAdmin);
        }
        let ended = end_all(&mut tx, account, None, now).await?;
        self.audit.record(&mut tx, of_role(account, role)).await?;
        self.notify(&mut tx, notice).await?;
        tx.commit().await?;
        Ok(Removal::Done(ended))
    }

    async fn suspend(&self, account: AccountId, notice: Option<&NewMail>, now: Timestamp) -> Result<Removal, Error> {
        let mut tx = self.write.begin_on(account.0).await?;
        // Always, because the account may become an admin until its row is locked. Suspensions are rare.
        lock_admins(&mut tx).await?;
        if !set_state(&mut tx, account, [State::Active, State::Suspended]).await? {
            let is_suspended = is_in(&mut tx, account, State::Suspended).await?;
            return Ok(if is_suspended { Removal::Done(Vec::new()) } else { Removal::Refused });
        }
        if has_role(&mut tx, account, ADMIN).await? && is_without_admin(&mut tx, account).await? {
            return Ok(Removal::LastAdmin);
        }
        let ended = end_all(&mut tx, account, None, now).await?;
        self.audit.record(&mut tx, AuditEntry::new(account.name())).await?;
        self.notify(&mut tx, notice).await?;
        tx.commit().await?;
        Ok(Removal::Done(ended))
    }

    async fn restore(&self, account: AccountId, notice: Option<&NewMail>) -> Result<bool, Error> {
        let mut tx = self.write.begin_on(account.0).await?;
        if !set_state(&mut tx, account, [State::Suspended, State::Active]).await? {
            return is_in(&mut tx, account, State::Active).await;
        }
        self.audit.record(&mut tx, AuditEntry::new(account.name())).await?;
        self.notify(&mut tx, notice).await?;
        tx.commit().await?;
        Ok(true)
    }

    async fn has_admin(&self) -> Result<bool, Error> {
        Ok(sqlx::query(OTHER_ADMIN).bind(Uuid::nil()).fetch_optional(&self.read).await?.is_some())
    }

    async fn offer_admin(&self, code_hash: &[u8], expire_time: Timestamp) -> Result<(), Error> {
        offer(code_hash, expire_time).execute(&self.write).await?;
        Ok(())
    }

    async fn claim_admin(
        &self,
        account: AccountId,
        code_hash: &[u8],
        notice: Option<&NewMail>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let mut tx = self.write.begin_on(account.0).await?;
        let offered = lock_admins(&mut tx).await?;
        let (hash, expires): (Option<Vec<u8>>, Option<DbTimestamp>) =
            (offered.try_get("code_hash")?, offered.try_get("code_expire_time")?);
        let is_in_force = hash.is_some_and(|hash| hash == code_hash) && expires.is_some_and(|at| now < at.0);
        let active = sqlx::query(LOCK_ACTIVE).bind(account.0);
        if !is_in_force || active.fetch_optional(&mut *tx).await?.is_none() {
            return Ok(false);
        }
        sqlx::query("UPDATE admin_setup SET code_hash = NULL, code_expire_time = NULL WHERE singleton = 1")
            .execute(&mut *tx)
            .await?;
        insert_role(&mut tx, account, ADMIN).await?;
        self.audit.record(&mut tx, of_role(account, ADMIN)).await?;
        self.notify(&mut tx, notice).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// An active account other than `$1` that is an admin. An account without its address has no sign-in. No account has the
/// nil id.
const OTHER_ADMIN: &str = "SELECT r.account_id FROM roles r JOIN accounts a ON a.account_id = r.account_id \
     WHERE r.role = 'admin' AND r.account_id <> $1 AND a.state = 'active' AND a.release_time IS NULL \
     LIMIT 1";

impl Sql {
    async fn notify(&self, tx: &mut Tx<'_>, notice: Option<&NewMail>) -> Result<(), Error> {
        match notice {
            Some(notice) => insert_mail(tx, &self.jobs, notice).await,
            None => Ok(()),
        }
    }

    /// The rows of a page: each filter has its index.
    async fn page_of_accounts(&self, page: &AccountPage) -> Result<Vec<Row>, Error> {
        let AccountFilter { email, state, role } = &page.filter;
        match (email, role, state) {
            (Some(email), _, _) => self.accounts_by_email(email, page).await,
            (None, Some(role), _) => self.accounts_by_role(role, page).await,
            (None, None, Some(state)) => self.accounts_by_state(*state, page).await,
            (None, None, None) => self.newest_accounts(page).await,
        }
    }

    async fn accounts_by_email(&self, email: &EmailAddress, page: &AccountPage) -> Result<Vec<Row>, Error> {
        let query = sqlx::query(
            "SELECT a.account_id, a.email, a.state, a.create_time FROM accounts a WHERE a.email = $1 \
             AND a.account_id < $2 AND (CAST($3 AS TEXT) IS NULL OR a.state = $3) AND (CAST($4 AS TEXT) IS NULL \
             OR EXISTS (SELECT 1 FROM roles r WHERE r.account_id = a.account_id AND r.role = $4))",
        );
        let query = query.bind(email.as_str()).bind(page.before.0).bind(page.filter.state.map(State::as_str));
        Ok(query.bind(page.filter.role.as_deref()).fetch_all(&self.read).await?)
    }

    async fn accounts_by_role(&self, role: &str, page: &AccountPage) -> Result<Vec<Row>, Error> {
        let query = sqlx::query(
            "SELECT a.account_id, a.email, a.state, a.create_time FROM roles r \
             JOIN accounts a ON a.account_id = r.account_id WHERE r.role = $1 AND r.account_id < $2 \
             AND (CAST($3 AS TEXT) IS NULL OR a.state = $3) ORDER BY r.account_id DESC LIMIT $4",
        );
        let query = query.bind(role).bind(page.before.0).bind(page.filter.state.map(State::as_str));
        Ok(query.bind(most(page)).fetch_all(&self.read).await?)
    }

    async fn accounts_by_state(&self, state: State, page: &AccountPage) -> Result<Vec<Row>, Error> {
        let query = sqlx::query(
            "SELECT account_id, email, state, create_time FROM accounts WHERE state = $1 AND account_id < $2 \
             ORDER BY account_id DESC LIMIT $3",
        );
        Ok(query.bind(state.as_str()).bind(page.before.0).bind(most(page)).fetch_all(&self.read).await?)
    }

    async fn newest_accounts(&self, page: &AccountPage) -> Result<Vec<Row>, Error> {
        let query = sqlx::query(
            "SELECT account_id, email, state, create_time FROM accounts WHERE account_id < $1 \
             ORDER BY account_id DESC LIMIT $2",
        );
        Ok(query.bind(page.before.0).bind(most(page)).fetch_all(&self.read).await?)
    }

    /// The roles of the accounts in a range, in order. Few accounts have any.
    async fn roles_between(&self, oldest: AccountId, newest: AccountId) -> Result<HashMap<Uuid, Vec<String>>, Error> {
        let rows = sqlx::query("SELECT account_id, role FROM roles WHERE account_id >= $1 AND account_id <= $2")
            .bind(oldest.0)
            .bind(newest.0)
            .fetch_all(&self.read)
            .await?;
        let mut roles: HashMap<Uuid, Vec<String>> = HashMap::new();
        for row in rows {
            roles.entry(row.try_get("account_id")?).or_default().push(row.try_get("role")?);
        }
        roles.values_mut().for_each(|roles| roles.sort_unstable());
        Ok(roles)
    }
}

/// The record of a role that is granted or revoked.
fn of_role(account: AccountId, role: &str) -> AuditEntry {
    AuditEntry::new(format!("{}/roles/{role}", account.name()))
}

/// One more than the page holds.
fn most(page: &AccountPage) -> i64 {
    i64::try_from(page.size).unwrap_or(i64::MAX).saturating_add(1)
}

fn summary(row: &Row) -> Result<AccountSummary, Error> {
    let (email, create_time): (String, DbTimestamp) = (row.try_get("email")?, row.try_get("create_time")?);
    Ok(AccountSummary {
        id: AccountId(row.try_get("account_id")?),
        email: EmailAddress::stored(email),
        state: state(row)?,
        roles: Vec::new(),
        create_time: create_time.0,
    })
}

/// The statement that stores the hash of a code for the first admin.
pub(in crate::store) fn offer(
    code_hash: &[u8],
    expire_time: Timestamp,
) -> sqlx::query::Query<'_, Db, <Db as sqlx::Database>::Arguments> {
    sqlx::query("UPDATE admin_setup SET code_hash = $1, code_expire_time = $2 WHERE singleton = 1")
        .bind(code_hash)
        .bind(DbTimestamp(expire_time))
}

/// Locks the row that orders the changes of admins, before the row of an account. Returns the offered code.
pub(super) async fn lock_admins(tx: &mut Tx<'_>) -> Result<Row, Error> {
    Ok(sqlx::query(LOCK_ADMINS).fetch_one(&mut **tx).await?)
}

/// Whether no active account except `account` is an admin, within a transaction that has locked the admins.
pub(super) async fn is_without_admin(tx: &mut Tx<'_>, account: AccountId) -> Result<bool, Error> {
    Ok(sqlx::query(OTHER_ADMIN).bind(account.0).fetch_optional(&mut **tx).await?.is_none())
}

pub(super) async fn has_role(tx: &mut Tx<'_>, account: AccountId, role: &str) -> Result<bool, Error> {
    let found = sqlx::query("SELECT role FROM roles WHERE account_id = $1 AND role = $2").bind(account.0).bind(role);
    Ok(found.fetch_optional(&mut **tx).await?.is_some())
}

/// `false`: the account has the role already.
async fn insert_role(tx: &mut Tx<'_>, account: AccountId, role: &str) -> Result<bool, Error> {
    let insert = "INSERT INTO roles (account_id, role) VALUES ($1, $2) ON CONFLICT (account_id, role) DO NOTHING";
    let inserted = sqlx::query(insert).bind(account.0).bind(role).execute(&mut **tx).await?;
    Ok(inserted.rows_affected() > 0)
}

/// Changes the state of an account. `false`: the account is not in the state `from`.
async fn set_state(tx: &mut Tx<'_>, account: AccountId, [from, to]: [State; 2]) -> Result<bool, Error> {
    let changed = sqlx::query("UPDATE accounts SET state = $3 WHERE account_id = $1 AND state = $2")
        .bind(account.0)
        .bind(from.as_str())
        .bind(to.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(changed.rows_affected() > 0)
}

/// Whether an account that this transaction does not change is in a state: then the call has nothing to record.
async fn is_in(tx: &mut Tx<'_>, account: AccountId, of: State) -> Result<bool, Error> {
    let found = sqlx::query("SELECT state FROM accounts WHERE account_id = $1").bind(account.0);
    let found = found.fetch_optional(&mut **tx).await?;
    let is_in = found.map(|row| state(&row)).transpose()? == Some(of);
    if is_in {
        audit::unchanged();
    }
    Ok(is_in)
}
