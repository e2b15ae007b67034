//! The limiter of several processes: buckets in Redis, slices of the hot ones leased to this process.
//!
//! A call whose limits are all covered by leases does not wait. Otherwise one script decides about the rest. Calls that
//! need the same bucket share a request to Redis. A call waits for at most its budget. When Redis fails, [`LocalLimiter`]
//! decides, by its share.

mod counts;
mod link;
mod reserved;
mod script;
mod streams;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Ask, BucketKey, Decision, EventualDecision, FailureMode, Limit, LimitState, LimiterConfig, LocalLimiter,
    MOST_LIMITS, Opening, Outcome, Quota, RateLimiter, StreamAsk,
    lease::{BucketResponse, Lease, LeaseCheck, Unused},
    shards::{Locked, Shards},
};
use crate::{ClockAndRng, redis::RedisServer, time::SteadyClock};
use counts::{Counts, Origin};
use link::{Failed, LimiterLink};
use reserved::Reserved;
use script::{DECIDE, RETURN, ScriptCall};
use streams::SharedStreams;

/// How often expired slices are returned.
const CLEANUP_PAUSE: Duration = Duration::from_millis(100);
/// The maximum number of calls in one request to Redis. Other calls wait for the next request.
const MOST_CALLS: usize = 4_096;

/// The shared limiter.
pub(super) struct RedisLimiter {
    shared: Arc<LimiterState>,
    streams: Arc<SharedStreams>,
    /// Aborted when the limiter is dropped.
    _tasks: JoinSet<()>,
}

struct LimiterState {
    link: Arc<LimiterLink>,
    buckets: Shards<Entry>,
    /// The keys of buckets with a leased slice.
    held: Mutex<Vec<BucketKey>>,
    /// Cost to return at the next interval.
    unused: Mutex<Vec<(Home, Unused)>>,
    /// Decides without Redis.
    local: LocalLimiter,
    /// The origin of all instants here.
    started: Instant,
    budget: Duration,
    lease_from: u32,
    counts: Counts,
}

/// The state of one bucket in this process.
#[derive(Default)]
struct Entry {
    lease: Lease,
    /// Calls that wait for the request after the one in progress.
    queue: Vec<Waiting>,
    is_requesting: bool,
    /// The bucket to which the slice returns.
    home: Option<Home>,
}

struct Waiting {
    cost: u32,
    sender: oneshot::Sender<bool>,
}

#[derive(Clone)]
struct Home {
    name: Arc<str>,
    quota: Quota,
}

impl RedisLimiter {
    /// Must be called within a runtime.
    pub(super) fn start(server: RedisServer, config: &LimiterConfig, clock_rng: ClockAndRng) -> Self {
        let link = LimiterLink::new(server, config.budget.0);
        let shared = Arc::new(LimiterState {
            link: Arc::clone(&link),
            buckets: Shards::default(),
            held: Mutex::default(),
            unused: Mutex::default(),
            local: LocalLimiter::with_share(Arc::new(SteadyClock::start()), config.share),
            started: Instant::now(),
            budget: config.budget.0,
            lease_from: config.lease_from,
            counts: Counts::default(),
        });
        let streams = SharedStreams::new(Arc::clone(&link), clock_rng.new_id().to_string(), config.share);
        let mut tasks = JoinSet::new();
        tasks.spawn(link.keep(clock_rng));
        tasks.spawn(return_unused(Arc::clone(&shared)));
        tasks.spawn(Arc::clone(&streams).keep());
        Self { shared, streams, _tasks: tasks }
    }
}

impl RateLimiter for RedisLimiter {
    fn decide<'a>(&'a self, ask: &'a Ask<'a>) -> EventualDecision<'a> {
        match self.shared.look(ask) {
            LeaseDecision::Decided(decision) => EventualDecision::Now(decision),
            LeaseDecision::Unavailable => EventualDecision::Now(self.shared.decide_without_redis(ask)),
            LeaseDecision::Lacking(reserved) => EventualDecision::Later(Box::pin(reserved.decide())),
        }
    }

    fn open_stream<'a>(&'a self, ask: StreamAsk<'a>) -> Opening<'a> {
        Box::pin(async move { self.streams.open(&ask).await })
    }

    fn is_shared(&self) -> bool {
        self.shared.link.is_up()
    }

    fn close(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.shared.give_back(true).await;
            self.streams.close().await;
        })
    }
}

enum LeaseDecision<'a> {
    Decided(Decision),
    Unavailable,
    Lacking(Reserved<'a>),
}

impl LimiterState {
    fn now(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// The lifetime of a slice of this limit, in microseconds. 0: the limit is exact and not leased.
    fn lifetime(&self, quota: &Quota) -> i64 {
        if quota.requests() >= self.lease_from { Lease::lifetime(quota) } else { 0 }
    }

    fn lock(&self, limits: &[Limit]) -> Locked<'_, Entry> {
        self.buckets.lock(limits.iter().map(|limit| limit.key))
    }

    /// Decides what can be decided without Redis, holding the locks once.
    fn look<'a>(self: &'a Arc<Self>, ask: &'a Ask<'a>) -> LeaseDecision<'a> {
        let now = self.now();
        let mut buckets = self.lock(ask.limits);
        let mut held = [LeaseCheck::Lacking; MOST_LIMITS];
        for (held, limit) in held.iter_mut().zip(ask.limits) {
            *held = buckets.get(&limit.key).map_or(LeaseCheck::Lacking, |entry| entry.lease.look(now, limit.cost));
        }
        let held = &held[..ask.limits.len()];
        let empty =
            held.iter().filter_map(|held| if let LeaseCheck::Empty(wait) = held { Some(*wait) } else { None }).max();
        if let Some(wait) = empty {
            self.counts.add(Origin::Known);
            return LeaseDecision::Decided(Decision::refused(wait, limit_states(&buckets, ask, now)));
        }
        let lacking = held.contains(&LeaseCheck::Lacking);
        if lacking && !self.link.is_up() {
            return LeaseDecision::Unavailable;
        }
        let mut slices = [None; MOST_LIMITS];
        for ((slice, held), limit) in slices.iter_mut().zip(held).zip(ask.limits) {
            if *held == LeaseCheck::Enough {
                *slice = Some(buckets.entry(limit.key, Entry::is_in_use(now)).lease.spend(limit.cost));
            }
        }
        if lacking {
            return LeaseDecision::Lacking(Reserved { shared: self, ask, slices });
        }
        self.counts.add(Origin::Leased);
        LeaseDecision::Decided(Decision::admitted(limit_states(&buckets, ask, now)))
    }

    /// Decides without Redis.
    fn decide_without_redis(&self, ask: &Ask<'_>) -> Decision {
        self.counts.add(Origin::Unavailable);
        match ask.failure_mode {
            FailureMode::Local => self.local.take(ask),
            FailureMode::Refuse => Decision { outcome: Outcome::Unavailable, limit_states: <_>::default() },
        }
    }

    /// Requests cost for the calls that wait for one bucket, until none waits.
    async fn serve_waiting(self: Arc<Self>, key: BucketKey, home: Home, cost: u32) {
        while let Some((waiting, ahead)) = self.next(&key, &home, cost) {
            let due = waiting.iter().fold(0_u32, |due, one| due.saturating_add(one.cost));
            let requested_at = self.now();
            let call = ScriptCall::default().take(home.name.to_string(), &home.quota, [cost, due, ahead]);
            // Calls learn of a failure when their sender is dropped.
            if let Ok([response]) = self.ask(&call).await.as_deref() {
                self.distribute(&key, &home, requested_at, response, waiting);
            }
        }
    }

    /// Takes the waiting calls and the amount to request in advance.
    fn next(&self, key: &BucketKey, home: &Home, cost: u32) -> Option<(Vec<Waiting>, u32)> {
        let now = self.now();
        let mut buckets = self.buckets.lock(std::iter::once(*key));
        let entry = buckets.entry(*key, Entry::is_in_use(now));
        entry.queue.retain(|waiting| !waiting.sender.is_closed());
        if entry.queue.is_empty() {
            entry.is_requesting = false;
            return None;
        }
        let most = entry.queue.len().min(MOST_CALLS);
        let waiting = entry.queue.drain(..most).collect();
        Some((waiting, self.ahead(entry, now, &home.quota, cost)))
    }

    /// How much to request in advance. The rest of an expired slice is returned.
    fn ahead(&self, entry: &mut Entry, now: i64, quota: &Quota, cost: u32) -> u32 {
        if let Some((home, unused)) = entry.home.clone().zip(entry.lease.give_up(now, false)) {
            self.unused.lock().push((home, unused));
        }
        entry.lease.request(now, self.lifetime(quota), cost)
    }

    fn distribute(
        &self,
        key: &BucketKey,
        home: &Home,
        requested_at: i64,
        response: &BucketResponse,
        waiting: Vec<Waiting>,
    ) {
        let now = self.now();
        let mut left = response.taken;
        let mut buckets = self.buckets.lock(std::iter::once(*key));
        let entry = buckets.entry(*key, Entry::is_in_use(now));
        entry.lease.learn(requested_at, now, response);
        for waiting in waiting {
            let enough = left >= waiting.cost;
            // A cancelled call takes nothing.
            if waiting.sender.send(enough).is_ok() && enough {
                left -= waiting.cost;
            }
        }
        drop(buckets);
        self.keep(key, home, requested_at, left, response);
    }

    /// Holds the cost that no call took. An exact limit has a lifetime of 0, so its cost is returned.
    fn keep(&self, key: &BucketKey, home: &Home, requested_at: i64, cost: u32, response: &BucketResponse) {
        if cost == 0 {
            return;
        }
        let mut buckets = self.buckets.lock(std::iter::once(*key));
        let entry = buckets.entry(*key, Entry::is_in_use(requested_at));
        entry.lease.hold(requested_at, self.lifetime(&home.quota), &home.quota, cost, response);
        if entry.home.replace(home.clone()).is_none() {
            self.held.lock().push(*key);
        }
    }

    /// Returns expired slices, or all.
    async fn give_back(&self, all: bool) {
        let now = self.now();
        let keys = std::mem::take(&mut *self.held.lock());
        let mut still = Vec::new();
        let mut unused = std::mem::take(&mut *self.unused.lock());
        for key in keys {
            let mut buckets = self.buckets.lock(std::iter::once(key));
            let Some(entry) = buckets.get_mut(&key) else { continue };
            let given_up = entry.lease.give_up(now, all);
            if given_up.is_none() && entry.lease.is_held() {
                still.push(key);
            } else {
                unused.extend(entry.home.take().zip(given_up));
            }
        }
        self.held.lock().append(&mut still);
        let then = self.now() + i64::try_from(self.budget.as_micros()).unwrap_or(0);
        let call =
            |(home, unused): &(Home, Unused)| ScriptCall::give_back(home.name.to_string(), &home.quota, unused, then);
        let calls: Vec<_> = unused.iter().filter_map(call).collect();
        // Concurrently, so that the commands share a round trip.
        futures_util::future::join_all(calls.iter().map(|call| self.link.run(&RETURN, call))).await;
    }

    async fn ask(&self, call: &ScriptCall) -> Result<Vec<BucketResponse>, Failed> {
        let started = Instant::now();
        let value = self.link.run(&DECIDE, call).await?;
        metrics::histogram!("limiter_round_trip_seconds").record(started.elapsed().as_secs_f64());
        script::results(value).ok_or_else(|| Failed::Broken("the script returned an unexpected result".to_owned()))
    }
}

fn limit_states(buckets: &Locked<'_, Entry>, ask: &Ask<'_>, now: i64) -> [LimitState; MOST_LIMITS] {
    let mut limit_states = [LimitState::default(); MOST_LIMITS];
    for (limit_state, limit) in limit_states.iter_mut().zip(ask.limits) {
        let known = buckets.get(&limit.key).map(|entry| entry.lease.limit_state(now));
        let (left, full_in) = known.unwrap_or((limit.quota.burst(), 0));
        *limit_state = LimitState::new(left, full_in);
    }
    limit_states
}

impl Entry {
    fn is_in_use(now: i64) -> impl Fn(&Self) -> bool {
        move |entry| entry.is_requesting || !entry.lease.is_idle(now)
    }
}

/// Returns slices that were not used within their lifetime.
async fn return_unused(shared: Arc<LimiterState>) {
    loop {
        sleep(CLEANUP_PAUSE).await;
        shared.give_back(false).await;
    }
}
