//! A recurring job that deletes expired data once a minute: unfinished sign-ups, sealed successors after the grace
//! period, accounts without an address and a session, ended sessions, old used tokens, expired links, mails that could
//! not be sent, expired challenges, and unconfirmed authenticator apps.

use std::time::Duration;

use kit::ClockAndRng;
use kit_data::jobs::{Failure, Outcome};

use crate::{domain::Lifetimes, store::AuthStore};

/// The time between two rounds.
pub(crate) const PERIOD: Duration = Duration::from_secs(60);
/// How long an unfinished sign-up is kept.
const PENDING: Duration = Duration::from_secs(3_600);
/// How long an ended session is kept for investigations.
const ENDED: Duration = Duration::from_secs(24 * 3_600);
/// How long a used token is kept. Presenting it ends its session; after this time it is unknown and only refused.
const USED: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long a mail waits that cannot be sent. Its job is a dead letter by then.
const UNSENT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long a secret of an authenticator app is kept that was not confirmed; longer than it can be confirmed.
const UNCONFIRMED: Duration = Duration::from_secs(24 * 3_600);
/// The most sign-ups of one round.
const BATCH: u32 = 500;

/// The most rows that one statement deletes, so that it holds its locks only for a short time.
const PRUNED: u32 = 1_000;

/// Runs one round. It may be repeated or interrupted: each statement selects the expired rows itself.
pub(crate) async fn round(
    store: &dyn AuthStore,
    clock_rng: &ClockAndRng,
    lifetimes: Lifetimes,
) -> Result<Outcome, Failure> {
    let now = clock_rng.now();
    store.erase_sealed(now - lifetimes.grace).await?;
    for account in store.list_pending(now - PENDING, BATCH).await? {
        store.abandon(account, now - PENDING, now, clock_rng.new_id()).await?;
    }
    while store.prune(now - ENDED, now - USED, PRUNED).await? > 0 {}
    for account in store.list_unreachable(BATCH).await? {
        store.delete_unreachable(account, now, clock_rng.new_id()).await?;
    }
    while store.prune_mail(now, now - UNSENT, PRUNED).await? > 0 {}
    while store.prune_factors(now, now - UNCONFIRMED, PRUNED).await? > 0 {}
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kit::{
        Timestamp,
        time::{ManualClock, SystemEntropy},
    };
    use kit_data::store::Location;

    use super::*;
    use crate::domain::{
        Account, AccountId, Client, EmailAddress, NewSession, PasswordHash, RefreshToken, SessionId, State,
    };

    const RULES: Lifetimes = Lifetimes {
        idle: Duration::from_secs(30 * 86_400),
        absolute: Duration::from_secs(180 * 86_400),
        grace: Duration::from_secs(10),
    };

    struct Bench {
        store: Arc<dyn AuthStore>,
        clock: Arc<ManualClock>,
        clock_rng: ClockAndRng,
        _folder: tempfile::TempDir,
    }

    impl Bench {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = crate::store::open(&Location::Sqlite(folder.path().join("auth.db")), 1).await.unwrap();
            let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
            let clock_rng = ClockAndRng { clock: clock.clone(), entropy: Arc::new(SystemEntropy::default()) };
            Self { store, clock, clock_rng, _folder: folder }
        }

        async fn sign_up(&self, email: &str) -> Account {
            let account = Account {
                id: AccountId(self.clock_rng.new_id()),
                email: EmailAddress::parse(email).unwrap(),
                password: PasswordHash("hash".to_owned()),
                password_no: 0,
                state: State::Pending,
                create_time: self.clock_rng.now(),
            };
            self.store.insert(&account).await.unwrap();
            account
        }

        fn session(&self, account: &Account) -> NewSession {
            let now = self.clock_rng.now();
            NewSession {
                id: SessionId(self.clock_rng.new_id()),
                account: account.id,
                password_no: account.password_no,
                client: Client::default(),
                token: RefreshToken::generate(&self.clock_rng).hash(),
                create_time: now,
                expire_time: RULES.end(now, now),
                mail: None,
            }
        }

        async fn is_there(&self, account: &Account) -> bool {
            self.store.find_by_email(&account.email).await.unwrap().is_some()
        }

        async fn cleanup(&self) {
            round(&*self.store, &self.clock_rng, RULES).await.unwrap();
        }
    }

    #[tokio::test]
    async fn unfinished_sign_up_is_deleted_after_an_hour() {
        let bench = Bench::new().await;
        let (left, finished) = (bench.sign_up("left@example.org").await, bench.sign_up("ada@example.org").await);
        let session = bench.session(&finished);
        assert!(bench.store.activate(&session, 0).await.unwrap());
        bench.clock.advance(PENDING);
        let young = bench.sign_up("young@example.org").await;
        bench.cleanup().await;
        assert!(bench.is_there(&left).await, "it is kept for an hour");
        bench.clock.advance(Duration::from_micros(1));
        bench.cleanup().await;
        assert!(!bench.is_there(&left).await);
        assert!(bench.is_there(&young).await && bench.is_there(&finished).await);
    }

    #[tokio::test]
    async fn ended_session_is_deleted_with_its_tokens_after_a_day() {
        let bench = Bench::new().await;
        let session = bench.session(&bench.sign_up("ada@example.org").await);
        assert!(bench.store.activate(&session, 0).await.unwrap());
        bench.store.revoke(&session.token, bench.clock_rng.now()).await.unwrap();
        bench.clock.advance(ENDED + Duration::from_micros(1));
        bench.cleanup().await;
        let now = bench.clock_rng.now();
        assert_eq!(bench.store.prune(now, now, PRUNED).await.unwrap(), 0, "nothing is left of it");
    }
}
