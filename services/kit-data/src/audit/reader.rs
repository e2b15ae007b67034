//! Reads the audit log of a service on one connection, beside the processes of the service.

use std::collections::HashMap;

use kit::{
    audit::{Facts, Personal},
    keyring::Keyring,
};
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::{
    Head, RecordQuery, Verified,
    chain::RecordRow,
    personal::{open, person},
    store::{AuditDatabase, StoredKey},
    verify::{self, VerifyError},
};
use crate::store::{Error, Location, Unopened, postgres, sqlite};

/// A record as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRecord {
    /// All fields but the personal ones.
    pub facts: Facts,
    /// Personal data. `None`: there is none, or it was erased with the person.
    pub personal: Option<Personal>,
    /// Whether there is personal data that cannot be read, because the person was erased.
    pub is_erased: bool,
    /// The position in the chain; `None`: it is not sealed yet.
    pub sealed: Option<Head>,
}

/// Reads the audit log of a service.
pub struct Reader {
    connection: ReaderConnection,
    keys: Keyring,
}

enum ReaderConnection {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Reader {
    /// Connects. Changes no schema and creates no file.
    pub async fn connect(location: &Location, schema: &'static str, keys: Keyring) -> Result<Self, Unopened> {
        let connection = match location {
            Location::Postgres(url) => ReaderConnection::Postgres(postgres::connect(url, schema).await?),
            Location::Sqlite(path) => ReaderConnection::Sqlite(sqlite::connect(path).await?),
        };
        Ok(Self { connection, keys })
    }

    /// The records of a page.
    pub async fn list(&mut self, query: &RecordQuery) -> Result<Vec<ListedRecord>, Error> {
        match &mut self.connection {
            ReaderConnection::Postgres(connection) => list::<Postgres>(connection, &self.keys, query).await,
            ReaderConnection::Sqlite(connection) => list::<Sqlite>(connection, &self.keys, query).await,
        }
    }

    /// How many records match, on all pages.
    pub async fn count(&mut self, query: &RecordQuery) -> Result<i64, Error> {
        Ok(match &mut self.connection {
            ReaderConnection::Postgres(connection) => Postgres::count(connection, query).await,
            ReaderConnection::Sqlite(connection) => Sqlite::count(connection, query).await,
        }?)
    }

    /// Verifies the chain. `anchor` is a position that was noted before; `progress` gets the number of the last verified
    /// record and of the last one.
    pub async fn verify(
        &mut self,
        anchor: Option<&Head>,
        progress: &mut (dyn FnMut(i64, i64) + Send),
    ) -> Result<Verified, VerifyError> {
        match &mut self.connection {
            ReaderConnection::Postgres(connection) => verify::chain::<Postgres>(connection, anchor, progress).await,
            ReaderConnection::Sqlite(connection) => verify::chain::<Sqlite>(connection, anchor, progress).await,
        }
    }
}

/// The records of a page, each with the fields that the key of its person opens.
pub(super) async fn list<D: AuditDatabase>(
    connection: &mut D::Connection,
    keys: &Keyring,
    query: &RecordQuery,
) -> Result<Vec<ListedRecord>, Error> {
    let rows = D::list(connection, query).await?;
    let mut known: HashMap<Uuid, Option<StoredKey>> = HashMap::new();
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        let of = person(&row.facts);
        if !row.personal.is_empty() && !known.contains_key(&of) {
            known.insert(of, D::find_key(connection, of).await?);
        }
        let key = known.get(&of).and_then(Option::as_ref);
        records.push(listed(keys, key, row)?);
    }
    Ok(records)
}

fn listed(keys: &Keyring, key: Option<&StoredKey>, row: RecordRow) -> Result<ListedRecord, Error> {
    let has_personal = !row.personal.is_empty();
    let personal = if has_personal { open(keys, key, &row) } else { None };
    if has_personal && personal.is_none() && matches!(key, Some(StoredKey::Key(_))) {
        let id = row.facts.id;
        return Err(Error::Corrupt(format!("personal fields of record {id}; audit.key_file may lack their key")));
    }
    let sealed = row.seq.zip(row.hash).map(|(seq, hash)| Head { seq, hash });
    Ok(ListedRecord { is_erased: has_personal && personal.is_none(), facts: row.facts, personal, sealed })
}
