//! Personal fields of records, encrypted under the key of a person.

use kit::{
    ClockAndRng,
    audit::{AuditRecord, Facts, Personal},
    keyring::{self, Keyring},
};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    chain::RecordRow,
    store::{AuditDatabase, StoredKey},
};
use crate::store::Error;

/// The length of a key.
const KEY_LEN: usize = 32;
/// The owner of the key for records that are about no account. Their key is deleted with no person.
const UNKNOWN: Uuid = Uuid::nil();

/// The stored form of a record.
pub(super) async fn row<D: AuditDatabase>(
    connection: &mut D::Connection,
    keys: &Keyring,
    record: AuditRecord,
    clock_rng: &ClockAndRng,
) -> Result<RecordRow, Error> {
    let AuditRecord { facts, personal } = record;
    let key = match personal.is_empty() {
        true => None,
        false => key_of::<D>(connection, keys, &facts, clock_rng).await?,
    };
    let personal = key.map(|key| encrypt(&key, &personal, facts.id, clock_rng)).transpose()?.unwrap_or_default();
    Ok(RecordRow { facts, personal, seq: None, hash: None })
}

/// The personal fields of a stored record; `None`: it has none that can be read, because the person was erased.
pub(super) fn open(keys: &Keyring, key: Option<&StoredKey>, row: &RecordRow) -> Option<Personal> {
    let Some(StoredKey::Key(stored)) = key else { return None };
    let key = keys.unwrap(stored, person(&row.facts).as_bytes())?;
    let plain = keyring::decrypt(&keyring::key(&key)?, &row.personal, row.facts.id.as_bytes())?;
    serde_json::from_slice(&plain).ok()
}

/// The person under whose key the personal fields are.
pub(super) fn person(facts: &Facts) -> Uuid {
    facts.person.unwrap_or(UNKNOWN)
}

fn encrypt(key: &[u8], personal: &Personal, of: Uuid, clock_rng: &ClockAndRng) -> Result<Vec<u8>, Error> {
    let corrupt = || Error::Corrupt("the personal fields of an audit record cannot be encrypted".to_owned());
    let plain = Zeroizing::new(serde_json::to_vec(personal).map_err(|_| corrupt())?);
    Ok(keyring::encrypt(&keyring::key(key).ok_or_else(corrupt)?, &plain, of.as_bytes(), clock_rng))
}

/// The key of the record's person, which is made if there is none. `None`: the person was erased.
async fn key_of<D: AuditDatabase>(
    connection: &mut D::Connection,
    keys: &Keyring,
    facts: &Facts,
    clock_rng: &ClockAndRng,
) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let person = person(facts);
    let stored = match D::find_key(connection, person).await? {
        Some(stored) => stored,
        None => {
            let new = Zeroizing::new(clock_rng.random::<KEY_LEN>());
            let wrapped = keys.wrap(&*new, person.as_bytes(), clock_rng);
            D::insert_key(connection, person, &wrapped, facts.time).await?;
            // Another process may have stored a key, or erased the person, meanwhile.
            D::find_key(connection, person).await?.unwrap_or(StoredKey::Erased)
        }
    };
    let StoredKey::Key(stored) = stored else { return Ok(None) };
    let key = keys.unwrap(&stored, person.as_bytes());
    let lacking = || Error::Corrupt("audit.key_file lacks the key that encrypts the keys of persons".to_owned());
    key.map(Some).ok_or_else(lacking)
}
