//! A bulkhead for list calls, so that the lists of one user do not delay other users' calls.
//!
//! The gateway does not know the size of a page, so this service counts it: the list calls of one user share a number
//! of rows, and all list calls share a part of the store's connections. Further calls wait in order, until their
//! deadline.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::UserId;

/// The number of users at which those without list calls are removed for the first time.
const PRUNE_AT: usize = 1_024;

/// The bounds of list calls in this process.
pub(super) struct Lists {
    rows_per_user: u32,
    /// The connections that list calls may use at once.
    connections: Arc<Semaphore>,
    users: Mutex<Users>,
}

/// The remaining rows of each user. Users without list calls are removed regularly.
struct Users {
    rows: HashMap<UserId, Arc<Semaphore>>,
    prune_at: usize,
}

/// Permits for the user's rows and for a connection, released on drop.
pub(super) struct Turn(#[expect(dead_code, reason = "held until it is dropped")] [OwnedSemaphorePermit; 2]);

impl Lists {
    /// List calls get a quarter of the `readers`; streams get half.
    pub(super) fn new(rows_per_user: u32, readers: u32) -> Self {
        let connections = readers.div_euclid(4).max(1);
        Self {
            rows_per_user: rows_per_user.max(1),
            connections: Arc::new(Semaphore::new(connections as usize)),
            users: Mutex::new(Users { rows: HashMap::new(), prune_at: PRUNE_AT }),
        }
    }

    /// Waits until `user` may read `rows` more rows.
    pub(super) async fn turn(&self, user: UserId, rows: usize) -> Turn {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX).clamp(1, self.rows_per_user);
        // The user's own bound comes first, so that a call that waits for it holds no connection.
        let rows = self.of(user).acquire_many_owned(rows).await.expect("the semaphore is never closed");
        let connection = Arc::clone(&self.connections).acquire_owned().await.expect("the semaphore is never closed");
        Turn([rows, connection])
    }

    fn of(&self, user: UserId) -> Arc<Semaphore> {
        let mut users = self.users.lock();
        if users.rows.len() >= users.prune_at {
            // Turns and waiting calls also hold the semaphore.
            users.rows.retain(|_, rows| Arc::strong_count(rows) > 1);
            users.prune_at = (users.rows.len() * 2).max(PRUNE_AT);
        }
        let new = || Arc::new(Semaphore::new(self.rows_per_user as usize));
        Arc::clone(users.rows.entry(user).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use uuid::Uuid;

    use super::*;

    /// How long a test waits to see that a call does not get its turn.
    const A_WHILE: Duration = Duration::from_millis(20);
    const MOMENT: Duration = Duration::from_secs(10);

    fn user(n: u128) -> UserId {
        UserId(Uuid::from_u128(n))
    }

    #[tokio::test]
    async fn pages_of_one_user_share_rows_by_their_size() {
        let lists = Lists::new(100, 40);
        let large = lists.turn(user(1), 90).await;
        let small = lists.turn(user(1), 10).await;
        assert!(timeout(A_WHILE, lists.turn(user(1), 1)).await.is_err());
        drop(large);
        timeout(MOMENT, lists.turn(user(1), 90)).await.expect("the rows are free");
        drop(small);
        // A page larger than the bound needs all rows.
        timeout(MOMENT, lists.turn(user(1), 1_000)).await.expect("no other page holds rows");
    }

    #[tokio::test]
    async fn waiting_user_holds_no_connection() {
        let lists = Lists::new(10, 8);
        let held = lists.turn(user(1), 10).await;
        let mut waiting = std::pin::pin!(lists.turn(user(1), 10));
        assert!(timeout(A_WHILE, waiting.as_mut()).await.is_err());
        let other = timeout(MOMENT, lists.turn(user(2), 10)).await.expect("lists have two connections");
        assert!(timeout(A_WHILE, lists.turn(user(3), 1)).await.is_err(), "and no third");
        drop((held, other));
        timeout(MOMENT, waiting).await.expect("the connection is free");
    }

    #[tokio::test]
    async fn users_without_list_calls_are_removed() {
        let lists = Lists::new(10, 40);
        let held = lists.turn(user(0), 10).await;
        for n in 1..10 * PRUNE_AT as u128 {
            lists.turn(user(n), 1).await;
        }
        assert!(lists.users.lock().rows.len() <= 2 * PRUNE_AT);
        assert!(timeout(A_WHILE, lists.turn(user(0), 1)).await.is_err());
        drop(held);
    }
}
