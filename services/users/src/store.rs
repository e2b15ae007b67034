//! Where profiles live.

mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use kit::{
    Timestamp,
    store::{Error, Location, Settings, Unopened},
};

use crate::domain::{Change, Cooling, Listed, Page, Query, User, UserId};

/// The statements of the service. Reading is one round trip; a change is one transaction with the search terms.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// The profile, in whatever state.
    async fn find(&self, id: UserId) -> Result<Option<User>, Error>;

    /// The profiles of those of `ids` that exist, in whatever state and order.
    async fn find_all(&self, ids: &[UserId]) -> Result<Vec<User>, Error>;

    /// The active users of a page by handle, and one more when there are more.
    async fn list(&self, page: &Page) -> Result<Vec<Listed>, Error>;

    /// Of such a page, those whose ids are in `people`.
    async fn list_among(&self, people: &[UserId], page: &Page) -> Result<Vec<Listed>, Error>;

    /// The active users that `query` finds, by the least of their terms that match, and one more when there are more.
    async fn search(&self, query: &Query, page: &Page) -> Result<Vec<Listed>, Error>;

    /// Of such a page, those whose ids are in `people`, and the user whose handle the query is.
    async fn search_among(&self, people: &[UserId], query: &Query, page: &Page) -> Result<Vec<Listed>, Error>;

    /// Stores the profile. When the id is there already, a later attempt replaces its handle and name, and its state and
    /// time stay: a sign-up may be repeated, with other names too, until its account is active. The same attempt
    /// changes nothing, and an earlier one is refused. A handle is free if the unique constraint says so, and if it does
    /// not wait for its previous owner at the profile's create time.
    async fn insert(&self, user: &User, attempt: i64) -> Result<User, InsertError>;

    /// Changes an active profile, if it is still in the state that the change names: two owners' changes of one
    /// state do not both happen. A handle that it replaces waits for its owner as `cooling` says.
    async fn update(&self, change: &Change, cooling: &Cooling) -> Result<User, UpdateError>;

    /// Deletes the profile: the name goes, the id stays taken, and so does the handle unless it is released. An id that was never seen is written
    /// down as deleted too, so that an `insert` that comes late finds it gone.
    async fn delete(&self, id: UserId, releases_handle: bool, now: Timestamp) -> Result<(), Error>;

    /// Deletes the released handles that no longer wait for their owner, and returns how many.
    async fn forget_released(&self, now: Timestamp) -> Result<u64, Error>;

    /// Writes the search terms of at most `most` profiles whose terms are missing or outdated. Returns how many profiles
    /// it found. Others may do the same at once.
    async fn index_stale(&self, most: u32) -> Result<usize, Error>;

    /// Whether the database answers.
    async fn answers(&self) -> bool;
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
    /// As many handles as the limit allows wait for the user already.
    TooManyHandles,
    /// There is no active profile with this id in this state.
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

/// Opens the store and brings it up to date.
pub async fn open(location: &Location, settings: impl Into<Settings>) -> Result<Arc<dyn UserStore>, Unopened> {
    let settings = settings.into();
    Ok(match location {
        Location::Postgres(url) => Arc::new(postgres::open(url, &settings).await?),
        Location::Sqlite(path) => Arc::new(sqlite::open(path, &settings).await?),
    })
}
