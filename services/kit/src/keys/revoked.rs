//! The recently ended sessions, whose access tokens are refused before they expire.

use std::{collections::HashSet, time::Duration};

use parking_lot::RwLock;
use tokio::sync::watch;
use uuid::Uuid;

use crate::Timestamp;

/// The maximum lifetime of access tokens. An ended session is remembered for this time; then its tokens have expired.
pub const LONGEST_ACCESS: Duration = Duration::from_secs(3_600);
/// The maximum number of sessions in each of two generations: 2 × 65 536 × about 20 bytes. If more sessions end within
/// an hour, the oldest are dropped and their access tokens are valid until they expire.
const REMEMBERED: usize = 65_536;

/// The set of revoked sessions.
#[derive(Default)]
pub(super) struct Revoked {
    sessions: RwLock<SessionGenerations>,
    /// Counts the changes of the set, to wake the tasks that wait.
    changes: watch::Sender<u64>,
}

/// Two sets: when the newer one is full or an hour old, it replaces the older one.
#[derive(Default)]
struct SessionGenerations {
    newer: HashSet<Uuid>,
    older: HashSet<Uuid>,
    /// When the newer set began.
    since: Option<Timestamp>,
}

impl Revoked {
    pub(super) fn insert(&self, ended: impl IntoIterator<Item = Uuid>, now: Timestamp) {
        let mut ended = ended.into_iter().peekable();
        if ended.peek().is_none() {
            return;
        }
        let mut sessions = self.sessions.write();
        ended.for_each(|session| sessions.insert(session, now));
        drop(sessions);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(super) fn contains(&self, session: Uuid) -> bool {
        let sessions = self.sessions.read();
        sessions.newer.contains(&session) || sessions.older.contains(&session)
    }

    /// Completes when the session is in the set.
    pub(super) async fn wait_for(&self, session: Uuid) {
        let mut changes = self.changes.subscribe();
        while !self.contains(session) {
            // `self` owns the sender, so that it exists during the wait.
            changes.changed().await.ok();
        }
    }
}

impl SessionGenerations {
    fn insert(&mut self, session: Uuid, now: Timestamp) {
        let since = *self.since.get_or_insert(now);
        if self.newer.len() >= REMEMBERED || since + LONGEST_ACCESS <= now {
            self.older = std::mem::take(&mut self.newer);
            self.since = Some(now);
        }
        self.newer.insert(session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn session_is_remembered_for_the_maximum_token_lifetime() {
        let revoked = Revoked::default();
        let [first, second, third] = [1, 2, 3].map(Uuid::from_u128);
        revoked.insert([first], at(3_599));
        revoked.insert([second], at(3_599 + 3_600));
        assert!(revoked.contains(first) && revoked.contains(second));
        revoked.insert([third], at(3_599 + 7_200));
        assert!(!revoked.contains(first) && revoked.contains(second) && revoked.contains(third));
    }

    #[test]
    fn memory_of_revoked_sessions_is_bounded() {
        let revoked = Revoked::default();
        for n in 0..u128::try_from(3 * REMEMBERED).unwrap() {
            revoked.insert([Uuid::from_u128(n)], at(0));
        }
        let sessions = revoked.sessions.read();
        assert_eq!((sessions.newer.len(), sessions.older.len()), (REMEMBERED, REMEMBERED));
    }

    #[tokio::test]
    async fn wait_ends_only_for_its_own_session() {
        let revoked = Revoked::default();
        let [mine, other] = [1, 2].map(Uuid::from_u128);
        let mut waiting = std::pin::pin!(revoked.wait_for(mine));
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        revoked.insert([other], at(0));
        assert!(tokio::time::timeout(soon, &mut waiting).await.is_err());
        revoked.insert([mine], at(0));
        waiting.await;
        revoked.wait_for(mine).await;
    }
}
