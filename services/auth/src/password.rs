//! Password hashing. It needs much time and memory on purpose, so it runs off the async threads, with a bound on the
//! hashes at once.

use std::{io, sync::Arc, time::Duration};

use kit::{ClockAndRng, error};
use metrics::{Gauge, gauge, histogram};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::Status;

use crate::{
    config::{Argon2Config, Config},
    domain::PasswordHash,
    keys::{Keys, Pepper},
};

/// RFC 9106, section 3.1 recommends 16.
const SALT_BYTES: usize = 16;
/// `retry-after` of a full queue, which shrinks by about 50 passwords per second and core.
const RETRY_AFTER: Duration = Duration::from_secs(1);

mod breached;
mod memory;
mod prepared;
mod stored;
mod strength;

pub(crate) use breached::Breached;
pub(crate) use memory::Memory;
pub(crate) use prepared::Password;
use stored::{Stored, Unusable};
pub(crate) use strength::OwnWords;

/// Why a new password is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Weakness {
    /// It is easy to guess. The text states why, and what to do.
    Guessable(String),
    /// It is in the list of breached passwords.
    Breached,
}

/// The result of verifying a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verified {
    /// The password is wrong.
    Wrong,
    /// The password is right.
    Right,
    /// The password is right, but was hashed without preparation, by an earlier version or by another program: it needs a
    /// new hash.
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
    /// Permits of running hashes. Each stands for the memory of one new hash; a stored hash that needs more takes several.
    working: Arc<Semaphore>,
    /// Permits of running hashes of the unknown queue: one fewer than threads, and at least one. So one of several
    /// threads is reserved for the known queue; with a single thread a known password waits for at most two unknown
    /// ones.
    unknown_working: Arc<Semaphore>,
    /// Permits of running and waiting hashes of the known queue.
    known: Arc<Semaphore>,
    /// Permits of running and waiting hashes of the unknown queue.
    unknown: Arc<Semaphore>,
    memory: Memory,
    clock_rng: ClockAndRng,
    cost: Argon2Config,
    keys: Keys,
}

/// A form of a password: as this release hashes it, or as the client sent it.
#[derive(Clone, Copy)]
enum Form {
    Prepared,
    Sent,
}

impl Hasher {
    /// Runs as many hashes at once as the configuration states, or as cores and memory allow, with more waiting in each
    /// queue.
    pub(crate) fn new(config: &Config, keys: Keys, clock_rng: ClockAndRng) -> Self {
        let memory = Memory::here(config.hashing_threads, config.argon2);
        let threads = memory.threads;
        Self {
            working: Arc::new(Semaphore::new(threads)),
            unknown_working: Arc::new(Semaphore::new((threads - 1).max(1))),
            known: Arc::new(Semaphore::new(threads + config.hashing_queue_known)),
            unknown: Arc::new(Semaphore::new(threads + config.hashing_queue)),
            memory,
            clock_rng,
            cost: config.argon2,
            keys,
        }
    }

    /// Hashes a new password, unless it is easy to guess or in the list. Both take one place in the queue.
    pub(crate) async fn hash_new(
        &self,
        password: Password,
        own: OwnWords,
        breached: Option<Breached>,
        queue: Queue,
    ) -> Result<io::Result<Result<PasswordHash, Weakness>>, Status> {
        let hash = self.hashing();
        let judge_and_hash = move || {
            let weakness = weakness(&password, &own, breached.as_ref())?;
            Ok(weakness.map_or_else(|| Ok(hash(&password)), Err))
        };
        self.work(queue, 1, judge_and_hash).await
    }

    /// Hashes a password.
    pub(crate) async fn hash(&self, password: Password, queue: Queue) -> Result<PasswordHash, Status> {
        let hash = self.hashing();
        self.work(queue, 1, move || hash(&password)).await
    }

    /// Hashes with a new salt, the configured cost, and the current pepper.
    fn hashing(&self) -> impl FnOnce(&Password) -> PasswordHash + Send + 'static {
        let (salt, cost, peppers) = (self.clock_rng.random::<SALT_BYTES>(), self.cost, self.keys.peppers());
        move |password| PasswordHash(stored::hash(password.prepared().as_bytes(), &salt, cost, peppers.current()))
    }

    /// Verifies `password` against the hash. Without a hash the result is `Wrong`, after the time of a hash of this
    /// configuration. A password whose sent form differs from its prepared form takes two hashes, whether there is an
    /// account or not. Each waits in the queue by itself.
    pub(crate) async fn verify(
        &self,
        password: Password,
        hashed: Option<PasswordHash>,
        queue: Queue,
    ) -> Result<Verified, Status> {
        // An account without a password has an empty hash.
        let Some(hashed) = hashed.filter(|hashed| !hashed.0.is_empty()) else {
            for _ in [Some(()), password.as_sent().map(drop)].into_iter().flatten() {
                self.hash(password.clone(), queue).await?;
            }
            return Ok(Verified::Wrong);
        };
        let stored = self.usable(&hashed).map_err(|why| {
            tracing::error!("the hash of a password {why}");
            error::unavailable("the check of this password")
        })?;
        if self.matches(password.clone(), &stored, queue, Form::Prepared).await? {
            return Ok(Verified::Right);
        }
        let is_right = password.as_sent().is_some() && self.matches(password, &stored, queue, Form::Sent).await?;
        Ok(if is_right { Verified::RightAsSent } else { Verified::Wrong })
    }

    /// Parses a hash that this process can verify.
    fn usable(&self, hashed: &PasswordHash) -> Result<Stored, Unusable> {
        let stored = Stored::parse(&hashed.0)?;
        self.memory.admit(&stored)?;
        match stored.pepper() {
            Some(id) if self.keys.peppers().find(id).is_none() => Err(Unusable::NoPepper(id.to_owned())),
            _ => Ok(stored),
        }
    }

    async fn matches(&self, password: Password, stored: &Stored, queue: Queue, form: Form) -> Result<bool, Status> {
        let (stored, peppers) = (stored.clone(), self.keys.peppers());
        let places = self.memory.places(&stored);
        let verify = move || {
            let text = match form {
                Form::Prepared => password.prepared(),
                Form::Sent => password.as_sent().unwrap_or_default(),
            };
            let pepper = stored.pepper().and_then(|id| peppers.find(id));
            stored.matches(text.as_bytes(), pepper.map_or(&[], Pepper::secret))
        };
        self.work(queue, places, verify).await
    }

    /// Whether a stored hash has another algorithm, cost or pepper than new hashes.
    pub(crate) fn is_outdated(&self, hashed: &PasswordHash) -> bool {
        !hashed.0.starts_with(&stored::prefix(self.cost, self.keys.peppers().current()))
    }

    async fn work<T: Send + 'static>(
        &self,
        queue: Queue,
        places: u32,
        task: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Status> {
        let admitted = match queue {
            Queue::Known => &self.known,
            Queue::Unknown => &self.unknown,
        };
        let _admitted = admitted.try_acquire().map_err(|_| {
            metrics::counter!("auth_hashes_refused_total", "queue" => queue.name()).increment(1);
            error::exhausted(kit::reason::OVERLOADED, "too many sign-ins at once; try again", RETRY_AFTER)
        })?;
        let (waiting, since) = (Shown::new("waiting", queue), Instant::now());
        // The permits move into the blocking task: a cancelled call does not free them while its hash still runs.
        let of_unknown = match queue {
            Queue::Known => None,
            Queue::Unknown => {
                let most = u32::try_from(self.memory.threads - 1).unwrap_or(u32::MAX).max(1);
                Some(take(&self.unknown_working, places.min(most)).await?)
            }
        };
        let working = take(&self.working, places).await?;
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

/// Acquires permits, in the order of the calls. The semaphores are never closed.
async fn take(of: &Arc<Semaphore>, permits: u32) -> Result<OwnedSemaphorePermit, Status> {
    Arc::clone(of).acquire_many_owned(permits).await.map_err(|e| error::internal(&e))
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

/// Why a new password is refused. `None`: it is neither easy to guess nor in the list.
fn weakness(password: &Password, own: &OwnWords, breached: Option<&Breached>) -> io::Result<Option<Weakness>> {
    if let Some(why) = strength::weakness(password.prepared(), own) {
        return Ok(Some(Weakness::Guessable(why)));
    }
    let Some(breached) = breached else { return Ok(None) };
    let forms = [Some(password.prepared()), password.as_sent()];
    for form in forms.into_iter().flatten() {
        if breached.contains(form)? {
            return Ok(Some(Weakness::Breached));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "password/tests.rs"]
mod tests;
