//! Keeps the lists that one user reads from delaying everybody else's calls.
//!
//! The gateway cannot see how large a page is, so its cost is counted here: the list calls of one user share a number of
//! rows, and all lists together use a part of the store's connections. Further calls wait for their turn, in order, until
//! their deadline.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::UserId;

/// The number of users from which on those who read no list any more are looked for.
const SWEEP_AT: usize = 1_024;

/// The turns of lists on this process.
pub(super) struct Lists {
    rows_per_user: u32,
    /// The connections that lists use at once.
    connections: Arc<Semaphore>,
    users: Mutex<Users>,
}

/// The rows that each user may still read. Who reads none is swept out now and then.
struct Users {
    rows: HashMap<UserId, Arc<Semaphore>>,
    sweep_at: usize,
}

/// A turn, given back when it is dropped: the user's rows, and a connection.
pub(super) struct Turn(#[expect(dead_code, reason = "held until it is dropped")] [OwnedSemaphorePermit; 2]);

impl Lists {
    /// Lists get a quarter of the `readers`, beside the half that streams get.
    pub(super) fn new(rows_per_user: u32, readers: u32) -> Self {
        let connections = readers.div_euclid(4).max(1);
        Self {
            rows_per_user: rows_per_user.max(1),
            connections: Arc::new(Semaphore::new(connections as usize)),
            users: Mutex::new(Users { rows: HashMap::new(), sweep_at: SWEEP_AT }),
        }
    }

    /// Waits until `user` may read as many rows.
    pub(super) async fn turn(&self, user: UserId, rows: usize) -> Turn {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX).clamp(1, self.rows_per_user);
        // The user's own bound comes first: who waits for it holds no connection.
        let rows = self.of(user).acquire_many_owned(rows).await.expect("it is never closed");
        let connection = Arc::clone(&self.connections).acquire_owned().await.expect("it is never closed");
        Turn([rows, connection])
    }

    fn of(&self, user: UserId) -> Arc<Semaphore> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.rows.len() >= users.sweep_at {
            // A turn, and who waits for one, holds the semaphore too.
            users.rows.retain(|_, rows| Arc::strong_count(rows) > 1);
            users.sweep_at = (users.rows.len() * 2).max(SWEEP_AT);
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

    /// What is refused now is still refused after this.
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
        // A page larger than the bound waits until it is alone.
        timeout(MOMENT, lists.turn(user(1), 1_000)).await.expect("it is alone");
    }

    #[tokio::test]
    async fn waiting_user_takes_no_place_of_others() {
        let lists = Lists::new(10, 8);
        let held = lists.turn(user(1), 10).await;
        let mut waiting = std::pin::pin!(lists.turn(user(1), 10));
        assert!(timeout(A_WHILE, waiting.as_mut()).await.is_err());
        let other = timeout(MOMENT, lists.turn(user(2), 10)).await.expect("two connections are for lists");
        assert!(timeout(A_WHILE, lists.turn(user(3), 1)).await.is_err(), "and no third");
        drop((held, other));
        timeout(MOMENT, waiting).await.expect("its turn has come");
    }

    #[tokio::test]
    async fn users_who_read_nothing_are_forgotten() {
        let lists = Lists::new(10, 40);
        let held = lists.turn(user(0), 10).await;
        for n in 1..10 * SWEEP_AT as u128 {
            lists.turn(user(n), 1).await;
        }
        assert!(lists.users.lock().unwrap().rows.len() <= 2 * SWEEP_AT);
        assert!(timeout(A_WHILE, lists.turn(user(0), 1)).await.is_err());
        drop(held);
    }
}
