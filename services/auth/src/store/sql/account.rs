//! Reads accounts from their rows.

use kit_data::store::{DbTimestamp, Error};
use sqlx::Row as _;

use super::Row;
use crate::domain::{Account, AccountId, EmailAddress, PasswordHash, State};

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
