//! Reads accounts from their rows, imports and counts them.

use kit_data::store::{DbTimestamp, Error, Pool};
use sqlx::Row as _;

use super::{Db, Row, Tx};
use crate::{
    domain::{Account, AccountId, EmailAddress, PasswordHash, State},
    store::NewImport,
};

/// An account from its row.
pub(super) fn account(row: &Row) -> Result<Account, Error> {
    let (email, create_time): (String, DbTimestamp) = (row.try_get("email")?, row.try_get("create_time")?);
    Ok(Account {
        id: AccountId(row.try_get("account_id")?),
        email: EmailAddress::stored(email),
        password: PasswordHash(row.try_get("password_hash")?),
        password_no: row.try_get("password_no")?,
        state: state(row)?,
        create_time: create_time.0,
    })
}

/// The state of an account from its row.
pub(super) fn state(row: &Row) -> Result<State, Error> {
    let text: String = row.try_get("state")?;
    State::parse(&text).ok_or(Error::Corrupt(format!("accounts.state {text:?}")))
}

/// The number of password hashes that contain `text`. LIKE would ignore the case on SQLite.
pub(super) async fn count_containing(read: &Pool<Db>, text: &str) -> Result<u64, Error> {
    let row =
        sqlx::query("SELECT COUNT(*) AS hashes FROM accounts WHERE replace(password_hash, $1, '') <> password_hash")
            .bind(text)
            .fetch_one(read)
            .await?;
    let count: i64 = row.try_get("hashes")?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Stores an account. `false`: another one has its address.
pub(super) async fn insert_unless_present(tx: &mut Tx<'_>, new: &NewImport) -> Result<bool, Error> {
    let NewImport { account, verify_time, .. } = new;
    let inserted = sqlx::query(
        "INSERT INTO accounts (account_id, email, password_hash, password_no, state, create_time, email_verify_time) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (email) DO NOTHING",
    )
    .bind(account.id.0)
    .bind(account.email.as_str())
    .bind(&account.password.0)
    .bind(account.password_no)
    .bind(account.state.as_str())
    .bind(DbTimestamp(account.create_time))
    .bind(verify_time.map(DbTimestamp))
    .execute(&mut **tx)
    .await?;
    Ok(inserted.rows_affected() > 0)
}
