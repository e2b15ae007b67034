//! Hashing passwords: slow and big on purpose, so off the async threads and never too many at once.

use std::{sync::Arc, thread::available_parallelism, time::Duration};

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use kit::{ClockAndRng, error};
use metrics::{Gauge, gauge, histogram};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::Status;

use crate::domain::PasswordHash;

/// OWASP Password Storage Cheat Sheet, Argon2id: m = 19 MiB, t = 2, p = 1 at least. One hash takes about 20 ms
/// of one core.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// RFC 9106, section 3.1 asks for 16.
const SALT_BYTES: usize = 16;
/// When to come back while the queue is full: it moves by about 50 a second and core.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Of the memory that a process may use, hashes take half at most.
const SHARE_OF_MEMORY: u64 = 2;

/// One thread a core (of the CPU quota, where there is one), as far as their hashes fit into the memory limit.
fn threads_here() -> usize {
    threads_for(available_parallelism().map_or(1, usize::from), kit::machine::memory_limit())
}

fn threads_for(cores: usize, memory: Option<u64>) -> usize {
    let fit = memory.map(|bytes| bytes / SHARE_OF_MEMORY / (u64::from(MEMORY_KIB) * 1_024));
    let fit = fit.and_then(|fit| usize::try_from(fit).ok()).unwrap_or(usize::MAX);
    cores.min(fit).max(1)
}

mod prepared;

pub(crate) use prepared::Password;

/// What a password turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verified {
    /// Another one than was hashed.
    Wrong,
    /// The one that was hashed.
    Right,
    /// The one that was hashed, by an earlier version, as it was sent: a new hash is due.
    RightAsSent,
}

impl Verified {
    /// Whether it is the password.
    pub(crate) fn is_right(self) -> bool {
        self != Self::Wrong
    }
}

/// Which queue a password waits in. Strangers who fill theirs keep no owner waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// From a network from which the account was used before, or in a session.
    Known,
    /// From any other network.
    Unknown,
}

impl Queue {
    /// As it is called in metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Unknown => "unknown",
        }
    }
}

/// Hashes and verifies passwords.
pub(crate) struct Hasher {
    /// Those at work: bounds memory to 19 MiB each.
    working: Arc<Semaphore>,
    /// Those of the unknown queue among them: one thread fewer than there are, and at least one. So of several threads
    /// one is for the known queue; on a single thread a known password waits for two unknown ones at most.
    unknown_working: Arc<Semaphore>,
    /// Those at work or waiting, of the known queue.
    known: Arc<Semaphore>,
    /// The same of the unknown queue.
    unknown: Arc<Semaphore>,
    clock_rng: ClockAndRng,
    /// The hash of nobody's password: verified against when there is no account, so that time tells nothing.
    nobody: PasswordHash,
}

impl Hasher {
    /// `threads` at once (0: as many as cores and memory allow), and so many more waiting in each queue.
    pub(crate) fn new(threads: usize, known: usize, unknown: usize, clock_rng: ClockAndRng) -> Self {
        let threads = if threads == 0 { threads_here() } else { threads };
        let nobody = hash(&clock_rng.random::<SALT_BYTES>(), &clock_rng.random::<SALT_BYTES>());
        Self {
            working: Arc::new(Semaphore::new(threads)),
            unknown_working: Arc::new(Semaphore::new((threads - 1).max(1))),
            known: Arc::new(Semaphore::new(threads + known)),
            unknown: Arc::new(Semaphore::new(threads + unknown)),
            clock_rng,
            nobody,
        }
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: Password, queue: Queue) -> Result<PasswordHash, Status> {
        let salt = self.clock_rng.random::<SALT_BYTES>();
        self.work(queue, move || hash(password.prepared().as_bytes(), &salt)).await
    }

    /// Whether `password` is the one that was hashed; without a hash it is not, and takes the same time. A password that
    /// was sent in another form than it is hashed in takes two hashes, whether there is an account or not, and one place
    /// of the queue.
    pub(crate) async fn verify(
        &self,
        password: Password,
        hashed: Option<PasswordHash>,
        queue: Queue,
    ) -> Result<Verified, Status> {
        let is_somebody = hashed.is_some();
        let hashed = hashed.unwrap_or_else(|| self.nobody.clone());
        let verify = move || {
            let matches = |text: &str| argon2().verify_password(text.as_bytes(), &*hashed.0).is_ok();
            match password.as_sent() {
                _ if matches(password.prepared()) => Verified::Right,
                Some(sent) if matches(sent) => Verified::RightAsSent,
                _ => Verified::Wrong,
            }
        };
        let verified = self.work(queue, verify).await?;
        Ok(if is_somebody { verified } else { Verified::Wrong })
    }

    /// Whether a stored hash was made with other parameters than today's.
    pub(crate) fn is_outdated(hashed: &PasswordHash) -> bool {
        let today = format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$");
        !hashed.0.starts_with(&today)
    }

    async fn work<T: Send + 'static>(
        &self,
        queue: Queue,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let admitted = match queue {
            Queue::Known => &self.known,
            Queue::Unknown => &self.unknown,
        };
        let _admitted = admitted.try_acquire().map_err(|_| {
            metrics::counter!("auth_hashes_refused_total", "queue" => queue.name()).increment(1);
            error::exhausted("OVERLOADED", "too many sign-ins at once; try again", RETRY_AFTER)
        })?;
        let (waiting, since) = (Shown::new("waiting", queue), Instant::now());
        // The places go with the thread: a caller who gives up does not make room for more than may work at once.
        let of_unknown = match queue {
            Queue::Known => None,
            Queue::Unknown => Some(place(&self.unknown_working).await?),
        };
        let working = place(&self.working).await?;
        histogram!("auth_hash_wait_duration_seconds").record(since.elapsed().as_secs_f64());
        drop(waiting);
        let running = Shown::new("running", queue);
        let done = tokio::task::spawn_blocking(move || {
            let _place = (of_unknown, working, running);
            task()
        });
        done.await.map_err(|e| error::internal(&e))
    }
}

/// A place among those that work. No semaphore is ever closed.
async fn place(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    Arc::clone(of).acquire_owned().await.map_err(|e| error::internal(&e))
}

/// One hash more in the metrics, under this state, until it is dropped.
struct Shown(Gauge);

impl Shown {
    fn new(state: &'static str, queue: Queue) -> Self {
        let shown = Self(gauge!("auth_hashes", "state" => state, "queue" => queue.name()));
        shown.0.increment(1);
        shown
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are within Argon2's ranges");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &[u8], salt: &[u8]) -> PasswordHash {
    let hashed = argon2().hash_password_with_salt(password, salt);
    PasswordHash(hashed.expect("a password of any length that the contract admits can be hashed").to_string())
}

#[cfg(test)]
mod tests {
    use kit::telemetry;

    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[test]
    fn hashing_threads_fit_into_the_memory_limit() {
        // 32 cores under the 512 MiB of the pod: 13 hashes take 247 MiB.
        assert_eq!(threads_for(32, Some(512 << 20)), 13);
        assert_eq!(threads_for(4, Some(512 << 20)), 4);
        assert_eq!(threads_for(32, None), 32);
        assert_eq!(threads_for(8, Some(16 << 20)), 1);
    }

    #[tokio::test]
    async fn only_the_right_password_is_verified() {
        let hasher = Hasher::new(1, 4, 4, ClockAndRng::system());
        let hashed = hasher.hash(password("correct horse"), Queue::Unknown).await.unwrap();
        assert!(hashed.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hashed.0);
        assert!(!Hasher::is_outdated(&hashed));
        let verify = async |text, hashed| hasher.verify(password(text), hashed, Queue::Unknown).await.unwrap();
        assert_eq!(verify("correct horse", Some(hashed.clone())).await, Verified::Right);
        assert_eq!(verify("wrong", Some(hashed)).await, Verified::Wrong);
        assert_eq!(verify("wrong", None).await, Verified::Wrong);
    }

    #[tokio::test]
    async fn password_is_the_same_in_every_normalization_form() {
        let hasher = Hasher::new(1, 4, 4, ClockAndRng::system());
        let (composed, decomposed) = ("Gr\u{fc}\u{df}e aus K\u{f6}ln", "Gru\u{308}\u{df}e\u{a0}aus Ko\u{308}ln");
        for (one, other) in [(composed, decomposed), (decomposed, composed)] {
            let hashed = hasher.hash(password(one), Queue::Unknown).await.unwrap();
            let verified = hasher.verify(password(other), Some(hashed), Queue::Unknown).await.unwrap();
            assert_eq!(verified, Verified::Right);
        }
        let before = hash(decomposed.as_bytes(), &[7; SALT_BYTES]);
        let verify = async |text, hashed| hasher.verify(password(text), hashed, Queue::Unknown).await.unwrap();
        assert_eq!(verify(decomposed, Some(before.clone())).await, Verified::RightAsSent);
        assert_eq!(verify(composed, Some(before)).await, Verified::Wrong);
        assert_eq!(verify(decomposed, None).await, Verified::Wrong);
    }

    /// Waits for a line of the metrics: the other tests of this process hash passwords too.
    async fn is_shown(line: &str) {
        let metrics = telemetry::metrics();
        for _ in 0..500 {
            if metrics.render().lines().any(|shown| shown == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{line} never came: {}", metrics.render());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_more_than_the_queue_holds_is_refused() {
        // First: what is counted before there is a recorder is lost.
        telemetry::metrics();
        let hasher = Arc::new(Hasher::new(1, 1, 1, ClockAndRng::system()));
        let held = Arc::clone(&hasher.working).acquire_owned().await.unwrap();
        let one = |hasher: Arc<Hasher>| {
            tokio::spawn(async move { hasher.hash(password("correct horse"), Queue::Unknown).await })
        };
        let waiting = [one(Arc::clone(&hasher)), one(Arc::clone(&hasher))];
        while hasher.unknown.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = hasher.hash(password("correct horse"), Queue::Unknown).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        is_shown(r#"auth_hashes{state="waiting",queue="unknown"} 2"#).await;
        drop(held);
        for task in waiting {
            task.await.unwrap().unwrap();
        }
        is_shown(r#"auth_hashes{state="waiting",queue="unknown"} 0"#).await;
        is_shown(r#"auth_hashes{state="running",queue="unknown"} 0"#).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn unknown_networks_leave_a_thread_to_known_ones() {
        let hasher = Arc::new(Hasher::new(2, 1, 8, ClockAndRng::system()));
        // As many strangers as may wait, none of whom comes to an end.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(std::sync::Mutex::new(held));
        let strangers: Vec<_> = (0..10)
            .map(|_| {
                let (hasher, held) = (Arc::clone(&hasher), Arc::clone(&held));
                tokio::spawn(async move { hasher.work(Queue::Unknown, move || held.lock().unwrap().recv()).await })
            })
            .collect();
        while hasher.unknown.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = hasher.hash(password("correct horse"), Queue::Unknown).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        hasher.hash(password("correct horse"), Queue::Known).await.unwrap();
        drop(release);
        for stranger in strangers {
            assert!(stranger.await.unwrap().unwrap().is_err(), "it ended when it was let go");
        }
    }
}
