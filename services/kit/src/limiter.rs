//! Rate limiting: what may be asked, what is answered, and the two that answer: one inside a process, and one that
//! several processes share through Redis. `docs/rate-limiting.md` says what each promises.

mod config;
mod key;
mod lease;
mod local;
mod quota;
mod redis;
mod shards;
mod streams;

use std::{pin::Pin, sync::Arc, time::Duration};

pub use config::Config;
pub use key::{Key, MOST_NETWORKS, Multiples, Network, fingerprint, network, networks};
pub use local::Local;
pub use quota::{Kind, Quota};
pub use streams::{Hold, Opening, StreamAsk, TooMany};

use crate::{Ambient, bus, time::SteadyClock};

/// How many rules one call may have.
pub const MOST_RULES: usize = 4;
/// How many limits one call may have: a rule by address is a limit for each network of the address.
pub const MOST_LIMITS: usize = MOST_RULES * MOST_NETWORKS;

/// One limit of a call.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Whose bucket of which rule, and of which scope: one key never comes with two.
    pub key: Key,
    /// The rule. One key always comes with the same rule and cost, until the configuration changes.
    pub quota: Quota,
    /// What the call costs; at most the quota's burst.
    pub cost: u32,
}

impl Limit {
    /// What fills the places of an array behind a call's limits.
    pub const NONE: Self = Self { key: Key::NOBODY, quota: Quota::ONE, cost: 1 };
}

/// The question of one call: all limits take their cost, or none does.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// What the buckets belong to, such as a method: on a Cluster all buckets of a scope live on one node.
    pub scope: &'a str,
    /// At most [`MOST_LIMITS`].
    pub limits: &'a [Limit],
    /// What to do while the shared count cannot be asked.
    pub away: Away,
}

/// What becomes of calls while the limiter cannot be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Away {
    /// Each process counts on its own, up to its configured share of each limit.
    #[default]
    Local,
    /// They are refused.
    Refuse,
}

/// What was decided, and what the caller has left of each limit, in the order of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the call may go on.
    pub outcome: Outcome,
    /// What is left.
    pub standings: [Standing; MOST_LIMITS],
}

/// Whether a call may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It may.
    Admitted,
    /// Not now; a repeat after this time is admitted if nothing else comes in between.
    Refused {
        /// The time.
        retry_after: Duration,
    },
    /// The limiter is away, and the call's policy says to refuse then.
    Away,
}

/// What is left of one limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Cost that may still be taken. Where a part of it is on lease: as this process knows it.
    pub left: u32,
    /// Until all of it is there again, if nothing else comes.
    pub reset: Duration,
}

impl Standing {
    fn new(left: u32, reset_micros: i64) -> Self {
        Self { left, reset: micros(reset_micros) }
    }
}

impl Decision {
    fn admitted(standings: [Standing; MOST_LIMITS]) -> Self {
        Self { outcome: Outcome::Admitted, standings }
    }

    fn refused(wait_micros: i64, standings: [Standing; MOST_LIMITS]) -> Self {
        Self { outcome: Outcome::Refused { retry_after: micros(wait_micros) }, standings }
    }

    /// Whether the call may go on.
    pub fn is_admitted(&self) -> bool {
        self.outcome == Outcome::Admitted
    }
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// A decision, at once or after a round trip: a local one costs no allocation.
#[expect(clippy::large_enum_variant, reason = "a decision that is made here costs no allocation")]
pub enum Verdict<'a> {
    /// Decided here.
    Now(Decision),
    /// Decided elsewhere, within the configured time.
    Later(Pin<Box<dyn Future<Output = Decision> + Send + 'a>>),
}

impl Verdict<'_> {
    /// Waits for the decision.
    pub async fn decision(self) -> Decision {
        match self {
            Self::Now(decision) => decision,
            Self::Later(decision) => decision.await,
        }
    }
}

/// Counts what callers do.
pub trait RateLimiter: Send + Sync {
    /// Takes its cost from every bucket that `ask` names, if it is in all of them. A refusal takes nothing.
    fn decide<'a>(&'a self, ask: &'a Ask<'a>) -> Verdict<'a>;

    /// Opens a stream, if its caller has not too many open. A round trip where processes count together: a stream lives
    /// long.
    fn open_stream<'a>(&'a self, ask: StreamAsk<'a>) -> Opening<'a>;

    /// Whether all that are to count together do so now.
    fn is_shared(&self) -> bool;

    /// Gives back what is held of buckets that others share; for the end of the process.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// The limiter that the configuration asks for: shared where `redis` names a server, which need not be there yet. To
/// be called inside the runtime.
pub fn open(config: &Config, redis: &bus::Config, ambient: &Ambient) -> Result<Arc<dyn RateLimiter>, String> {
    open_by(bus::place::system(), config, redis, ambient)
}

/// The same, by another resolver than the system's.
pub fn open_by(
    look_up: bus::LookUp,
    config: &Config,
    redis: &bus::Config,
    ambient: &Ambient,
) -> Result<Arc<dyn RateLimiter>, String> {
    let server = redis.server()?.map(|server| bus::Server { look_up, ..server });
    Ok(match server {
        Some(server) => Arc::new(redis::Redis::start(server, config, ambient.clone())),
        None => Arc::new(Local::new(Arc::new(SteadyClock::start()))),
    })
}
