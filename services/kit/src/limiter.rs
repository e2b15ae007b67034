//! Rate limiting: requests to a limiter, its decisions, and two limiters. One counts inside a process, the other counts
//! for several processes through Redis. `docs/rate-limiting.md` describes the guarantees of each.

mod config;
mod key;
mod lease;
mod local;
mod quota;
mod redis;
mod shards;
mod streams;

use std::{pin::Pin, sync::Arc, time::Duration};

pub use config::LimiterConfig;
pub use key::{BucketKey, MOST_NETWORKS, Multiples, Network, fingerprint, network, networks};
pub use local::LocalLimiter;
pub use quota::{Kind, Quota};
pub use streams::{Hold, Opening, StreamAsk, TooMany};

use crate::{
    ClockAndRng, dns,
    redis::{RedisConfig, RedisServer},
    time::SteadyClock,
};

/// The maximum number of rules of one call.
pub const MOST_RULES: usize = 4;
/// The maximum number of limits of one call: a rule by address makes one limit for each network of the address.
pub const MOST_LIMITS: usize = MOST_RULES * MOST_NETWORKS;

/// One limit of a call.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// The bucket: a principal or network, a rule and a scope. A key never occurs twice in one request.
    pub key: BucketKey,
    /// The rule. A key always comes with the same rule and cost, until the configuration changes.
    pub quota: Quota,
    /// The cost of the call; at most the quota's burst.
    pub cost: u32,
}

impl Limit {
    /// Fills unused places of an array of limits.
    pub const NONE: Self = Self { key: BucketKey::UNUSED, quota: Quota::ONE, cost: 1 };
}

/// A request to the limiter: all limits take their cost, or none does.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The owner of the buckets, such as a method. In a Redis Cluster all buckets of a scope live on one node.
    pub scope: &'a str,
    /// At most [`MOST_LIMITS`].
    pub limits: &'a [Limit],
    /// The decision while Redis is unreachable.
    pub failure_mode: FailureMode,
}

/// Failure mode: the decision about calls while the limiter cannot reach Redis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FailureMode {
    /// Each process counts for itself, up to its configured share of each limit.
    #[default]
    Local,
    /// Calls are refused.
    Refuse,
}

/// The decision about a call, and the remaining quota of each limit, in the order of the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the call is admitted.
    pub outcome: Outcome,
    /// The remaining quota of each limit.
    pub limit_states: [LimitState; MOST_LIMITS],
}

/// Whether a call is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The call is admitted.
    Admitted,
    /// The call is refused. A retry after this time is admitted if no other call uses the quota before.
    Refused {
        /// The time to wait.
        retry_after: Duration,
    },
    /// Redis is unreachable, and the failure mode refuses calls.
    Unavailable,
}

/// The remaining quota of one limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitState {
    /// The remaining cost. If part of the quota is leased, it is an estimate of this process.
    pub left: u32,
    /// The time until the whole quota is available again, if no other call uses it.
    pub reset: Duration,
}

impl LimitState {
    fn new(left: u32, reset_micros: i64) -> Self {
        Self { left, reset: micros(reset_micros) }
    }
}

impl Decision {
    fn admitted(limit_states: [LimitState; MOST_LIMITS]) -> Self {
        Self { outcome: Outcome::Admitted, limit_states }
    }

    fn refused(wait_micros: i64, limit_states: [LimitState; MOST_LIMITS]) -> Self {
        Self { outcome: Outcome::Refused { retry_after: micros(wait_micros) }, limit_states }
    }

    /// Whether the call is admitted.
    pub fn is_admitted(&self) -> bool {
        self.outcome == Outcome::Admitted
    }
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// A decision, immediate or after a round trip to Redis. An immediate decision needs no allocation.
#[expect(clippy::large_enum_variant, reason = "an immediate decision needs no allocation")]
pub enum EventualDecision<'a> {
    /// Decided in this process.
    Now(Decision),
    /// Decided in Redis, within the configured budget.
    Later(Pin<Box<dyn Future<Output = Decision> + Send + 'a>>),
}

impl EventualDecision<'_> {
    /// Waits for the decision.
    pub async fn decision(self) -> Decision {
        match self {
            Self::Now(decision) => decision,
            Self::Later(decision) => decision.await,
        }
    }
}

/// Limits the rate of calls and the number of open streams.
pub trait RateLimiter: Send + Sync {
    /// Takes the cost from all buckets of `ask`, or from none if one of them lacks it.
    fn decide<'a>(&'a self, ask: &'a Ask<'a>) -> EventualDecision<'a>;

    /// Opens a stream, unless its client has too many open. The shared limiter makes a round trip for each stream, which
    /// is cheap compared with a stream's lifetime.
    fn open_stream<'a>(&'a self, ask: StreamAsk<'a>) -> Opening<'a>;

    /// Whether the limiter currently shares its counts with all processes.
    fn is_shared(&self) -> bool;

    /// Returns leased cost to the shared buckets, and ends the count of this process's streams. For shutdown.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// The configured limiter: shared if `redis` names a server, which may still be unreachable. Must be called within a
/// runtime.
pub fn open(
    config: &LimiterConfig,
    redis: &RedisConfig,
    clock_rng: &ClockAndRng,
) -> Result<Arc<dyn RateLimiter>, String> {
    open_by(dns::system(), config, redis, clock_rng)
}

/// Like `open`, with another resolver than the system's.
pub fn open_by(
    look_up: dns::LookUp,
    config: &LimiterConfig,
    redis: &RedisConfig,
    clock_rng: &ClockAndRng,
) -> Result<Arc<dyn RateLimiter>, String> {
    let server = redis.server()?.map(|server| RedisServer { look_up, ..server });
    Ok(match server {
        Some(server) => Arc::new(redis::RedisLimiter::start(server, config, clock_rng.clone())),
        None => Arc::new(LocalLimiter::new(Arc::new(SteadyClock::start()))),
    })
}
