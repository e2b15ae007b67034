//! Password hashing. It needs much time and memory on purpose, so it runs off the async threads, with a bound on the
//! hashes at once.

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
/// RFC 9106, section 3.1 recommends 16.
const SALT_BYTES: usize = 16;
/// `retry-after` of a full queue, which shrinks by about 50 passwords per second and core.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Hashes use at most this fraction (one half) of the memory limit.
const SHARE_OF_MEMORY: u64 = 2;

/// One thread per core (of the CPU quota, if there is one), as far as their hashes fit into the memory limit.
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

/// The result of verifying a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verified {
    /// The password is wrong.
    Wrong,
    /// The password is right.
    Right,
    /// The password is right, but an earlier version hashed it without preparation: it needs a new hash.
    RightAsSent,
}

impl Verified {
    /// Whether the password is right.
    pub(crate) fn is_right(self) -> bool {
        self != Self::Wrong
    }
}

/// The queue of a password. Unknown clients that fill their queue do not delay owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// From a network from which the account was used before, or in a session.
    Known,
    /// From any other network.
    Unknown,
}

impl Queue {
    /// The label value in metrics.
    fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Unknown => "unknown",
        }
    }
}

/// Hashes and verifies passwords.
pub(crate) struct Hasher {
    /// Permits of running hashes; each uses 19 MiB.
    working: Arc<Semaphore>,
    /// Permits of running hashes of the unknown queue: one fewer than threads, and at least one. So one of several
    /// threads is reserved for the known queue; with a single thread a known password waits for at most two unknown
    /// ones.
    unknown_working: Arc<Semaphore>,
    /// Permits of running and waiting hashes of the known queue.
    known: Arc<Semaphore>,
    /// Permits of running and waiting hashes of the unknown queue.
    unknown: Arc<Semaphore>,
    clock_rng: ClockAndRng,
    /// The hash of a random password. It is verified if there is no account, so that the time reveals nothing.
    dummy: PasswordHash,
}

/// A form of a password: as this release hashes it, or as the client sent it, which earlier releases hashed.
#[derive(Clone, Copy)]
enum Form {
    Prepared,
    Sent,
}

impl Hasher {
    /// Runs `threads` hashes at once (0: as many as cores and memory allow), with this many more waiting in each queue.
    pub(crate) fn new(threads: usize, known: usize, unknown: usize, clock_rng: ClockAndRng) -> Self {
        let threads = if threads == 0 { threads_here() } else { threads };
        let dummy = hash(&clock_rng.random::<SALT_BYTES>(), &clock_rng.random::<SALT_BYTES>());
        Self {
            working: Arc::new(Semaphore::new(threads)),
            unknown_working: Arc::new(Semaphore::new((threads - 1).max(1))),
            known: Arc::new(Semaphore::new(threads + known)),
            unknown: Arc::new(Semaphore::new(threads + unknown)),
            clock_rng,
            dummy,
        }
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: Password, queue: Queue) -> Result<PasswordHash, Status> {
        let salt = self.clock_rng.random::<SALT_BYTES>();
        self.work(queue, move || hash(password.prepared().as_bytes(), &salt)).await
    }

    /// Verifies `password` against the hash. Without a hash the result is `Wrong`, after the same time. A password
    /// whose sent form differs from its prepared form takes two hashes, whether there is an account or not. Each
    /// waits in the queue by itself.
    pub(crate) async fn verify(
        &self,
        password: Password,
        hashed: Option<PasswordHash>,
        queue: Queue,
    ) -> Result<Verified, Status> {
        let has_account = hashed.is_some();
        let hashed = hashed.unwrap_or_else(|| self.dummy.clone());
        let verified = if self.matches(password.clone(), &hashed, queue, Form::Prepared).await? {
            Verified::Right
        } else if password.as_sent().is_some() && self.matches(password, &hashed, queue, Form::Sent).await? {
            Verified::RightAsSent
        } else {
            Verified::Wrong
        };
        Ok(if has_account { verified } else { Verified::Wrong })
    }

    async fn matches(
        &self,
        password: Password,
        hashed: &PasswordHash,
        queue: Queue,
        form: Form,
    ) -> Result<bool, Status> {
        let hashed = hashed.clone();
        let verify = move || {
            let text = match form {
                Form::Prepared => password.prepared(),
                Form::Sent => password.as_sent().unwrap_or_default(),
            };
            argon2().verify_password(text.as_bytes(), &*hashed.0).is_ok()
        };
        self.work(queue, verify).await
    }

    /// Whether a stored hash has other parameters than new hashes.
    pub(crate) fn is_outdated(hashed: &PasswordHash) -> bool {
        let current = format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$");
        !hashed.0.starts_with(&current)
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
        // The permits move into the blocking task: a cancelled call does not free them while its hash still runs.
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

/// Acquires a permit. The semaphores are never closed.
async fn place(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Status> {
    Arc::clone(of).acquire_owned().await.map_err(|e| error::internal(&e))
}

/// Counts one hash under this state in the metrics until it is dropped.
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
    PasswordHash(hashed.expect("Argon2 hashes a password of any length that the contract allows").to_string())
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

    /// Waits for a line of the metrics, because other tests of this process hash passwords too.
    async fn is_shown(line: &str) {
        let metrics = telemetry::metrics();
        for _ in 0..500 {
            if metrics.render().lines().any(|shown| shown == line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{line} is not in the metrics: {}", metrics.render());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn password_beyond_the_queue_limit_is_refused() {
        // Install the recorder first: counts without a recorder are lost.
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
    async fn one_thread_is_reserved_for_known_networks() {
        let hasher = Arc::new(Hasher::new(2, 1, 8, ClockAndRng::system()));
        // Fills the unknown queue with tasks that do not end.
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
            assert!(stranger.await.unwrap().unwrap().is_err(), "it ends when it is released");
        }
    }
}
