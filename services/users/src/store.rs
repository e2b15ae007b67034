//! The store of profiles.

mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::{
    audit::Log,
    store::{Error, Location, Settings, Unopened},
};

use crate::domain::{Change, Cooling, Listed, Page, Query, User, UserId};

/// The statements of the service. A read is one round trip. A change is one transaction that includes the search terms.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// The audit log of the service. Each change of a profile is recorded in its transaction.
    fn audit(&self) -> &Log;

    /// The profile, in any state.
    async fn find(&self, id: UserId) -> Result<Option<User>, Error>;

    /// The existing profiles of `ids`, in any state and order.
    async fn find_all(&self, ids: &[UserId]) -> Result<Vec<User>, Error>;

    /// The active users of a page in the order of handles, and one more if there is another page.
    async fn list(&self, page: &Page) -> Result<Vec<Listed>, Error>;

    /// Like `list`, but only users in `people`.
    async fn list_among(&self, people: &[UserId], page: &Page) -> Result<Vec<Listed>, Error>;

    /// The active users that match `query`, in the order of their first matching term, and one more if there is another
    /// page.
    async fn search(&self, query: &Query, page: &Page) -> Result<Vec<Listed>, Error>;

    /// Like `search`, but only users in `people` and the user whose handle equals the query.
    async fn search_among(&self, people: &[UserId], query: &Query, page: &Page) -> Result<Vec<Listed>, Error>;

    /// Stores the profile. If the id exists, a later attempt replaces the handle and the display name, but not the
    /// state and the create time: a sign-up may be repeated with other names until its account is active. The same
    /// attempt changes nothing, and an earlier one is refused. A handle is free if the unique constraint accepts it and
    /// it is not reserved for a previous owner at the profile's create time.
    async fn insert(&self, user: &User, attempt: i64) -> Result<User, InsertError>;

    /// Changes an active profile if it still has the revision in `change`, so that of two concurrent changes only one
    /// succeeds. A replaced handle is reserved for its owner by the rules of `cooling`.
    async fn update(&self, change: &Change, cooling: &Cooling) -> Result<User, UpdateError>;

    /// Deletes the profile: erases the display name, and keeps the id and, unless `releases_handle`, the handle. An
    /// unknown id is stored as a tombstone too, so that a late `insert` is refused.
    async fn delete(&self, id: UserId, releases_handle: bool, now: Timestamp) -> Result<(), Error>;

    /// Deletes the released handles whose cooling period is over, and returns their number.
    async fn forget_released(&self, now: Timestamp) -> Result<u64, Error>;

    /// Writes the search terms of at most `most` profiles whose terms are missing or outdated. Returns the number of
    /// these profiles. Several replicas may do this at once.
    async fn index_stale(&self, most: u32) -> Result<usize, Error>;

    /// Whether the database is reachable.
    async fn is_reachable(&self) -> bool;
}

/// Why a profile was not stored.
#[derive(Debug)]
pub enum InsertError {
    /// Another user has the handle, or may take it back.
    HandleTaken,
    /// The id belongs to a profile that is suspended or deleted.
    NotActive,
    /// A later attempt at the sign-up has stored the profile.
    Superseded,
    /// The store failed.
    Store(Error),
}

/// Why a profile was not changed.
#[derive(Debug)]
pub enum UpdateError {
    /// Another user has the handle, or may take it back.
    HandleTaken,
    /// The user has reached the limit of reserved former handles.
    TooManyHandles,
    /// There is no active profile with this id and revision.
    NotMatched,
    /// The store failed.
    Store(Error),
}

impl<E: Into<Error>> From<E> for InsertError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

impl<E: Into<Error>> From<E> for UpdateError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// Opens the store and runs its migrations.
pub async fn open(location: &Location, settings: impl Into<Settings>) -> Result<Arc<dyn UserStore>, Unopened> {
    let settings = settings.into();
    Ok(match location {
        Location::Postgres(url) => Arc::new(postgres::open(url, &settings).await?),
        Location::Sqlite(path) => Arc::new(sqlite::open(path, &settings).await?),
    })
}
