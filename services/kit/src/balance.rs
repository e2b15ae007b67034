//! Load balancing: chooses the endpoint of a call. The gateway uses it for its upstreams, the services for calls to
//! each other.
//!
//! The balancer takes two endpoints at random and chooses the less loaded one (P2C with peak EWMA). This needs no view
//! of the whole cluster, and independent clients do not all choose the same endpoint. Names are resolved again while
//! the process runs, so endpoints follow their DNS records. An endpoint gets no new calls while its health check
//! reports NOT_SERVING or times out. Outlier detection ejects an endpoint for a time when its calls fail.

mod address;
mod channel;
mod config;
mod endpoint_health;
mod health;
mod load;
mod member;
mod outage;
mod resolve;
mod set;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

pub use address::{Addresses, Location, check, in_the_clear};
pub(crate) use channel::channel;
pub use config::BalanceConfig;
pub use endpoint_health::EndpointOutcome;
use endpoint_health::Health;
pub use member::Pick;
use resolve::Resolver;
use set::Set;

use crate::{
    dns::{self, LookUp},
    retry::Retries,
    rng::Rng,
    tls::Trust,
};

/// How long the first call waits for name resolution.
const FIRST_RESOLUTION: Duration = Duration::from_secs(3);
/// The minimum time between two resolutions.
const LEAST_BETWEEN_RESOLUTIONS: Duration = Duration::from_secs(1);
/// The timeout of a health check. A healthy endpoint responds within a millisecond.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of silent checks in a row after which calls in progress are given up, if they get no response either.
const LOST: u32 = 3;
/// How often ejections that have ended are lifted.
const TICK: Duration = Duration::from_secs(1);

/// The operations of an endpoint that the balancer needs.
pub trait Endpoint: Send + Sync + 'static {
    /// Closes the connections to the endpoint and ends the calls on them: the endpoint no longer responds.
    fn give_up(&self) {}
}

impl<E: Endpoint> Endpoint for Arc<E> {
    fn give_up(&self) {
        (**self).give_up();
    }
}

/// Distributes calls over endpoints that serve the same methods.
pub struct Balancer<E> {
    set: Arc<Set<E>>,
    /// The retry policy and budget of all calls of this balancer.
    retries: Retries,
    /// Background tasks, aborted when the balancer is dropped.
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl<E: Endpoint> Balancer<E> {
    /// Balances over the endpoints at `addresses`. `make` creates the endpoint of a resolved location. `name` is the
    /// label of the metrics. Must be called within a runtime. The error is a sentence without the configuration key.
    pub fn new(
        name: &str,
        addresses: &[String],
        config: &BalanceConfig,
        make: impl Fn(&Location) -> E + Send + Sync + 'static,
    ) -> Result<Self, String> {
        Self::with_resolver(dns::system(), None, name, addresses, config, make)
    }

    /// Like `new`, for endpoints that may be called over TLS. Their health checks use TLS too.
    pub fn trusting(
        trust: Option<&Trust>,
        name: &str,
        addresses: &[String],
        config: &BalanceConfig,
        make: impl Fn(&Location) -> E + Send + Sync + 'static,
    ) -> Result<Self, String> {
        Self::with_resolver(dns::system(), trust, name, addresses, config, make)
    }

    fn with_resolver(
        look_up: LookUp,
        trust: Option<&Trust>,
        name: &str,
        addresses: &[String],
        config: &BalanceConfig,
        make: impl Fn(&Location) -> E + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let addresses = address::read_all(addresses)?;
        let set = Arc::new(Set::new(name, config.clone(), Rng::new(), trust.cloned(), Box::new(make)));
        let mut tasks = vec![tokio::spawn(detect_outliers(Arc::clone(&set)))];
        if let Some(places) = Resolver::literal(&addresses) {
            set.replace(&places, Instant::now());
        } else {
            tasks.push(tokio::spawn(follow_names(Arc::clone(&set), Resolver::new(addresses, look_up))));
        }
        if !config.health_interval.0.is_zero() {
            tasks.push(tokio::spawn(check_health(Arc::clone(&set))));
        }
        let retries = Retries::new(name, &config.retry);
        Ok(Self { set, retries, _tasks: tasks.into_iter().map(AbortOnDropHandle::new).collect() })
    }

    /// Chooses an endpoint for a call. An endpoint in `tried` is chosen only if there is no other. `None`: no endpoint
    /// is known.
    pub async fn pick(&self, tried: &[Location]) -> Option<Pick<E>> {
        let mut members = self.set.members();
        if members.is_empty() {
            // The first calls can arrive before the first DNS response.
            timeout(FIRST_RESOLUTION, self.set.resolved.subscribe().wait_for(|resolved| *resolved)).await.ok();
            members = self.set.members();
        }
        let now = Instant::now();
        let member = self.set.choose(&members, tried, now)?;
        Some(Pick::new(member, Arc::clone(&self.set), now))
    }

    /// Decides which calls are retried.
    pub fn retries(&self) -> &Retries {
        &self.retries
    }

    /// The locations of all endpoints.
    pub fn locations(&self) -> Vec<Location> {
        self.set.members().iter().map(|member| member.location.clone()).collect()
    }
}

/// Resolves names again at the interval, or earlier on request.
async fn follow_names<E>(set: Arc<Set<E>>, mut resolver: Resolver) {
    loop {
        let places = resolver.resolve().await;
        if !places.is_empty() {
            set.replace(&places, Instant::now());
        }
        let requested = async {
            sleep(LEAST_BETWEEN_RESOLUTIONS).await;
            set.resolve_now.notified().await;
        };
        timeout(set.config.resolve_interval.0, requested).await.ok();
    }
}

/// Compares the endpoints' failure rates (outlier detection) and lifts ejections that have ended.
async fn detect_outliers<E>(set: Arc<Set<E>>) {
    let mut compared = Instant::now();
    loop {
        sleep(TICK.min(set.config.outlier_interval.0)).await;
        let now = Instant::now();
        if now.duration_since(compared) >= set.config.outlier_interval.0 {
            compared = now;
            set.eject_outliers(now);
        }
        set.count(now);
    }
}

/// Checks the endpoints' health. With a single endpoint the result would change no choice: it is checked only while no
/// connection can be made, to notice without calls that it is back.
async fn check_health<E: Endpoint>(set: Arc<Set<E>>) {
    let mut ticks = interval(set.config.health_interval.0);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let members = set.members();
        if let [only] = &*members {
            let is_unreachable = only.record().endpoint_health.is_unreachable();
            if is_unreachable && only.prober.check(CHECK_TIMEOUT).await.is_some_and(responds) {
                only.record().endpoint_health.reached();
                set.count(Instant::now());
            }
            continue;
        }
        let results = join_all(members.iter().map(|member| member.prober.check(CHECK_TIMEOUT))).await;
        let now = Instant::now();
        for (member, health) in members.iter().zip(results) {
            let Some(health) = health else { continue };
            let (changed, is_lost) = {
                let mut record = member.record();
                let changed = record.endpoint_health.checked(health, now);
                let is_silent = now.saturating_duration_since(record.load.last()) >= CHECK_TIMEOUT * 2;
                (changed, record.endpoint_health.silent_checks() >= LOST && is_silent)
            };
            if changed {
                tracing::info!(endpoint = %member.location, ?health, "the health of an endpoint changed");
                set.count(now);
            }
            if is_lost {
                member.endpoint.give_up();
            }
        }
    }
}

/// Whether the endpoint accepts calls.
fn responds(health: Health) -> bool {
    matches!(health, Health::Serving | Health::Unknown)
}

#[cfg(test)]
#[path = "balance/tests.rs"]
mod tests;
