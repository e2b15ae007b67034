//! Hashing passwords: slow and big on purpose, so off the async threads and never too many at once.

use std::{sync::Arc, thread::available_parallelism, time::Duration};

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use kit::{Ambient, error};
use metrics::{Gauge, gauge, histogram};
use tokio::{sync::Semaphore, time::Instant};
use tonic::Status;
use zeroize::Zeroizing;

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

/// A password in the clear, erased when dropped.
pub(crate) type Password = Zeroizing<String>;

/// Hashes and verifies passwords.
pub(crate) struct Hasher {
    /// Those at work: bounds memory to 19 MiB each.
    working: Arc<Semaphore>,
    /// Those at work or waiting.
    admitted: Arc<Semaphore>,
    ambient: Ambient,
    /// The hash of nobody's password: verified against when there is no account, so that time tells nothing.
    nobody: PasswordHash,
}

impl Hasher {
    /// `threads` at once (0: as many as cores and memory allow), and `queue` more waiting.
    pub(crate) fn new(threads: usize, queue: usize, ambient: Ambient) -> Self {
        let threads = if threads == 0 { threads_here() } else { threads };
        let nobody = hash(&ambient.random::<SALT_BYTES>(), &ambient.random::<SALT_BYTES>());
        Self {
            working: Arc::new(Semaphore::new(threads)),
            admitted: Arc::new(Semaphore::new(threads + queue)),
            ambient,
            nobody,
        }
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: Password) -> Result<PasswordHash, Status> {
        let salt = self.ambient.random::<SALT_BYTES>();
        self.work(move || hash(password.as_bytes(), &salt)).await
    }

    /// Whether `password` is the one that was hashed; without a hash it is not, and takes the same time.
    pub(crate) async fn verify(&self, password: Password, hashed: Option<PasswordHash>) -> Result<bool, Status> {
        let is_somebody = hashed.is_some();
        let hashed = hashed.unwrap_or_else(|| self.nobody.clone());
        let matches = self.work(move || argon2().verify_password(password.as_bytes(), &*hashed.0).is_ok()).await?;
        Ok(matches && is_somebody)
    }

    /// Whether a stored hash was made with other parameters than today's.
    pub(crate) fn is_outdated(hashed: &PasswordHash) -> bool {
        let today = format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}$");
        !hashed.0.starts_with(&today)
    }

    async fn work<T: Send + 'static>(&self, task: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
        let _admitted = self.admitted.try_acquire().map_err(|_| {
            metrics::counter!("auth_hashes_refused_total").increment(1);
            error::exhausted("OVERLOADED", "too many sign-ins at once; try again", RETRY_AFTER)
        })?;
        let (waiting, since) = (Shown::new("waiting"), Instant::now());
        // Neither semaphore is ever closed. The place goes with the thread: a caller who gives up does not make
        // room for more than may work at once.
        let working = Arc::clone(&self.working).acquire_owned().await.map_err(|e| error::internal(&e))?;
        histogram!("auth_hash_wait_duration_seconds").record(since.elapsed().as_secs_f64());
        drop(waiting);
        let running = Shown::new("running");
        let done = tokio::task::spawn_blocking(move || {
            let _place = (working, running);
            task()
        });
        done.await.map_err(|e| error::internal(&e))
    }
}

/// One hash more in the metrics, under this state, until it is dropped.
struct Shown(Gauge);

impl Shown {
    fn new(state: &'static str) -> Self {
        let shown = Self(gauge!("auth_hashes", "state" => state));
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
    PasswordHash(hashed.expect("a password of at most 1 KiB can be hashed").to_string())
}

#[cfg(test)]
mod tests {
    use kit::telemetry;

    use super::*;

    fn password(text: &str) -> Password {
        Zeroizing::new(text.to_owned())
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
        let hasher = Hasher::new(1, 4, Ambient::system());
        let hashed = hasher.hash(password("correct horse")).await.unwrap();
        assert!(hashed.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hashed.0);
        assert!(!Hasher::is_outdated(&hashed));
        assert!(hasher.verify(password("correct horse"), Some(hashed.clone())).await.unwrap());
        assert!(!hasher.verify(password("wrong"), Some(hashed)).await.unwrap());
        assert!(!hasher.verify(password("wrong"), None).await.unwrap());
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
        let hasher = Arc::new(Hasher::new(1, 1, Ambient::system()));
        let held = Arc::clone(&hasher.working).acquire_owned().await.unwrap();
        let one = |hasher: Arc<Hasher>| tokio::spawn(async move { hasher.hash(password("correct horse")).await });
        let waiting = [one(Arc::clone(&hasher)), one(Arc::clone(&hasher))];
        while hasher.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = hasher.hash(password("correct horse")).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        is_shown(r#"auth_hashes{state="waiting"} 2"#).await;
        drop(held);
        for task in waiting {
            task.await.unwrap().unwrap();
        }
        is_shown(r#"auth_hashes{state="waiting"} 0"#).await;
        is_shown(r#"auth_hashes{state="running"} 0"#).await;
    }
}
