//! The statements on the tables of the audit log. `store/sql.rs` is compiled for both databases.

mod postgres;
mod sqlite;

use futures_util::future::BoxFuture;
use kit::Timestamp;
use uuid::Uuid;

use super::{
    Head, RecordQuery,
    chain::{Ends, RecordRow},
};

/// The key of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredKey {
    /// The key, which may be encrypted.
    Key(Vec<u8>),
    /// The person was erased. No key is made for the id again.
    Erased,
}

/// The result of a statement.
type Done<'a, T> = BoxFuture<'a, sqlx::Result<T>>;

/// A database that can hold an audit log: PostgreSQL or SQLite.
pub trait AuditDatabase: sqlx::Database {
    /// Stores a record that is not sealed.
    #[doc(hidden)]
    fn insert<'a>(connection: &'a mut Self::Connection, row: &'a RecordRow) -> Done<'a, ()>;

    /// The key of a person; `None`: there was none yet.
    #[doc(hidden)]
    fn find_key(connection: &mut Self::Connection, person: Uuid) -> Done<'_, Option<StoredKey>>;

    /// Stores the key of a person, unless there is one or the person was erased.
    #[doc(hidden)]
    fn insert_key<'a>(
        connection: &'a mut Self::Connection,
        person: Uuid,
        key: &'a [u8],
        now: Timestamp,
    ) -> Done<'a, ()>;

    /// Deletes the key of a person, and lets no other one be stored.
    #[doc(hidden)]
    fn erase_key(connection: &mut Self::Connection, person: Uuid, now: Timestamp) -> Done<'_, ()>;

    /// Locks the ends of the chain until the transaction ends.
    #[doc(hidden)]
    fn lock_ends(connection: &mut Self::Connection) -> Done<'_, Ends>;

    /// The ends of the chain.
    #[doc(hidden)]
    fn ends(connection: &mut Self::Connection) -> Done<'_, Ends>;

    /// Moves the ends of the chain.
    #[doc(hidden)]
    fn set_ends<'a>(connection: &'a mut Self::Connection, ends: &'a Ends) -> Done<'a, ()>;

    /// The oldest records that are not sealed.
    #[doc(hidden)]
    fn unsealed(connection: &mut Self::Connection, limit: i64) -> Done<'_, Vec<RecordRow>>;

    /// Seals records. Returns how many.
    #[doc(hidden)]
    fn seal<'a>(connection: &'a mut Self::Connection, sealed: &'a [(Uuid, Head)]) -> Done<'a, u64>;

    /// Sealed records after the number `after`, in their order.
    #[doc(hidden)]
    fn sealed(connection: &mut Self::Connection, after: i64, limit: i64) -> Done<'_, Vec<RecordRow>>;

    /// Deletes the sealed records up to the number `through`. Returns how many.
    #[doc(hidden)]
    fn delete_through(connection: &mut Self::Connection, through: i64) -> Done<'_, u64>;

    /// The records of a page.
    #[doc(hidden)]
    fn list<'a>(connection: &'a mut Self::Connection, query: &'a RecordQuery) -> Done<'a, Vec<RecordRow>>;

    /// How many records match.
    #[doc(hidden)]
    fn count<'a>(connection: &'a mut Self::Connection, query: &'a RecordQuery) -> Done<'a, i64>;

    /// Whether there is a record of this action about this target.
    #[doc(hidden)]
    fn has_record<'a>(connection: &'a mut Self::Connection, action: &'a str, target: &'a str) -> Done<'a, bool>;

    /// Begins a transaction that reads one state of the database.
    #[doc(hidden)]
    fn begin_snapshot(connection: &mut Self::Connection) -> Done<'_, ()>;

    /// Ends that transaction.
    #[doc(hidden)]
    fn end_snapshot(connection: &mut Self::Connection) -> Done<'_, ()>;
}
