//! The shared limiter on real Redis servers that are killed, frozen, emptied, slowed and made read-only. Each limiter
//! here stands for one process: only the server is shared.

mod cluster;
mod exact;
mod failures;
mod leases;
mod proxy;
mod streams;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use kit::{
    ClockAndRng,
    config::{Secret, Span},
    limiter::{self, Ask, BucketKey, Decision, FailureMode, Limit, LimiterConfig, Outcome, Quota, RateLimiter},
    redis::RedisConfig,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{SOON, redis::Redis};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// The total number of concurrent callers.
const CALLERS: usize = 64;

/// A limiter with a budget that a busy machine meets. Other tests cover short budgets.
fn patient(url: &str) -> Arc<dyn RateLimiter> {
    with(url, &LimiterConfig { budget: Span(Duration::from_secs(1)), ..LimiterConfig::default() })
}

fn with(url: &str, config: &LimiterConfig) -> Arc<dyn RateLimiter> {
    open(url, false, config)
}

fn open(url: &str, cluster: bool, config: &LimiterConfig) -> Arc<dyn RateLimiter> {
    let redis = RedisConfig { url: Secret::from(url.to_owned()), cluster, ..RedisConfig::default() };
    limiter::open(config, &redis, &ClockAndRng::system()).unwrap()
}

async fn until_shared(limiter: &dyn RateLimiter, wanted: bool) {
    let waiting = async {
        while limiter.is_shared() != wanted {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("never shared = {wanted}"));
}

fn limit(key: &str, quota: Quota) -> Limit {
    Limit { key: BucketKey::new(&[key.as_bytes()]), quota, cost: 1 }
}

async fn decide(limiter: &dyn RateLimiter, limits: &[Limit]) -> Decision {
    limiter.decide(&Ask { scope: "test", limits, failure_mode: FailureMode::Local }).decision().await
}

fn wait(decision: &Decision) -> Option<Duration> {
    if let Outcome::Refused { retry_after } = decision.outcome { Some(retry_after) } else { None }
}

/// The result of many callers in some time.
#[derive(Debug, Clone, Copy)]
struct Crowd {
    admitted: u32,
    refused: u32,
    took: Duration,
    /// The longest decision, minus the scheduling delay of the machine meanwhile.
    longest: Duration,
}

/// Measures the worst scheduling delay of the machine. A busy machine delays decisions as well.
struct Lag {
    worst: Arc<AtomicU64>,
    watches: JoinSet<()>,
}

impl Lag {
    /// Uses as many tasks as most tests have callers: a single task rarely observes the delay.
    fn watch() -> Self {
        const TICK: Duration = Duration::from_millis(2);
        let (worst, mut watches) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
        for _ in 0..16 {
            let worst = Arc::clone(&worst);
            watches.spawn(async move {
                loop {
                    let due = Instant::now() + TICK;
                    sleep(TICK).await;
                    let late = u64::try_from(due.elapsed().as_micros()).unwrap_or(u64::MAX);
                    worst.fetch_max(late, Ordering::Relaxed);
                }
            });
        }
        Self { worst, watches }
    }

    fn worst(mut self) -> Duration {
        self.watches.abort_all();
        Duration::from_micros(self.worst.load(Ordering::Relaxed))
    }
}

/// Runs concurrent callers at all `limiters`, each with `calls` calls.
async fn crowd(limiters: &[Arc<dyn RateLimiter>], limits: &[Limit], callers: usize, calls: usize) -> Crowd {
    let (started, lag) = (Instant::now(), Lag::watch());
    let (admitted, refused) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let running: Vec<_> = (0..callers)
        .map(|caller| {
            let limiter = Arc::clone(&limiters[caller % limiters.len()]);
            let (limits, admitted, refused) = (limits.to_vec(), Arc::clone(&admitted), Arc::clone(&refused));
            tokio::spawn(async move {
                let mut longest = Duration::ZERO;
                for _ in 0..calls {
                    let started_call = Instant::now();
                    let decision = decide(&*limiter, &limits).await;
                    longest = longest.max(started_call.elapsed());
                    let count = if decision.is_admitted() { &admitted } else { &refused };
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
                longest
            })
        })
        .collect();
    let mut longest = Duration::ZERO;
    for one in running {
        longest = longest.max(one.await.unwrap());
    }
    let of = |count: &AtomicU32| count.load(Ordering::Relaxed);
    let longest = longest.saturating_sub(lag.worst());
    Crowd { admitted: of(&admitted), refused: of(&refused), took: started.elapsed(), longest }
}
