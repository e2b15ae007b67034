//! Readiness: health checks once a second, with hysteresis. One success makes a check pass; three failures in a row
//! make it fail. Liveness depends on nothing and is not here.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::sync::watch;
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_check_response, health_client::HealthClient},
    server::HealthReporter,
};

use crate::{client::Peer, shutdown::Shutdown};

/// The time between two rounds of checks.
const PERIOD: Duration = Duration::from_secs(1);
/// The timeout of one check.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How many failures in a row make a check fail.
const PATIENCE: u32 = 3;
/// How often the clock of a peer is measured.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

type Check = Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// The health checks of a service: those that readiness requires, and those that are only shown.
#[derive(Default)]
pub struct HealthChecks(Vec<Need>);

struct Need {
    /// The name at the admin listener.
    name: &'static str,
    check: Check,
    /// Whether readiness requires it.
    is_required: bool,
}

impl HealthChecks {
    /// Creates an empty list of checks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a required check under the name that the admin listener shows.
    #[must_use]
    pub fn and<F>(self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.push(name, check, true)
    }

    /// Adds a check that the admin listener shows but that readiness does not require.
    #[must_use]
    pub fn and_shown<F>(self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.push(name, check, false)
    }

    fn push<F>(mut self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static, is_required: bool) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.0.push(Need { name, check: Box::new(move || Box::pin(check())), is_required });
        self
    }
}

/// The readiness of one service.
#[derive(Clone)]
pub struct Readiness {
    state: watch::Receiver<State>,
    shutdown: Shutdown,
    /// Measures the skew of each peer's clock.
    skews: Option<Measure>,
}

type Measure = Arc<dyn Fn() -> BTreeMap<String, i64> + Send + Sync>;

/// The result of the last round.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    is_ready: bool,
    /// Each check and whether it passes.
    needs: BTreeMap<&'static str, bool>,
}

impl State {
    /// Whether a gRPC service is ready that needs this check in addition to those of the process.
    fn serves(&self, need: Option<&str>) -> bool {
        self.is_ready && need.is_none_or(|need| self.needs.get(need).is_none_or(|met| *met))
    }
}

impl Readiness {
    /// Starts the checks. When the shutdown begins, they end with the result "not ready".
    pub fn watch(needs: HealthChecks, shutdown: Shutdown) -> Self {
        let unmet = needs.0.iter().map(|need| (need.name, false)).collect();
        let (sender, state) = watch::channel(State { is_ready: false, needs: unmet });
        tokio::spawn(watch_needs(needs, sender, shutdown.clone()));
        Self { state, shutdown, skews: None }
    }

    /// Adds the clock skew of each peer in milliseconds, which the admin listener shows.
    #[must_use]
    pub fn with_skews(self, measure: impl Fn() -> BTreeMap<String, i64> + Send + Sync + 'static) -> Self {
        Self { skews: Some(Arc::new(measure)), ..self }
    }

    /// The clock skew by peer: how many milliseconds its clock is ahead. `None`: the process does not measure it.
    pub fn skews(&self) -> Option<BTreeMap<String, i64>> {
        self.skews.as_ref().map(|measure| measure())
    }

    /// Whether the service is ready for calls.
    pub fn is_ready(&self) -> bool {
        self.state.borrow().is_ready
    }

    /// Completes when the service is ready.
    pub async fn ready(&self) {
        // An Err means that the watch has ended with the process.
        self.state.clone().wait_for(|state| state.is_ready).await.ok();
    }

    /// The shutdown that ends the checks.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Each check and whether it passes.
    pub fn health_checks(&self) -> BTreeMap<&'static str, bool> {
        self.state.borrow().needs.clone()
    }

    /// Reports the status of `services` to `reporter` from now on, each with the check that it needs in addition to
    /// those of the process. Watch calls end when the drain begins, so that they do not delay it.
    pub fn report(&self, mut reporter: HealthReporter, services: Vec<(String, Option<String>)>) {
        let (mut state, shutdown) = (self.state.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            let mut reported = vec![None; services.len()];
            loop {
                let now = state.borrow_and_update().clone();
                for ((service, need), last) in services.iter().zip(&mut reported) {
                    let serves = now.serves(need.as_deref());
                    if last.replace(serves) != Some(serves) {
                        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
                        reporter.set_service_status(service, status).await;
                    }
                }
                tokio::select! {
                    changed = state.changed() => if changed.is_err() { return },
                    () = shutdown.draining() => break,
                }
            }
            for (service, _) in &services {
                reporter.clear_service_status(service).await;
            }
        });
    }
}

async fn watch_needs(needs: HealthChecks, sender: watch::Sender<State>, shutdown: Shutdown) {
    let mut failures = vec![PATIENCE; needs.0.len()];
    let watching = async {
        loop {
            // Concurrently, so that a check without a response does not delay the others.
            let checks = needs.0.iter().map(|need| tokio::time::timeout(TIMEOUT, (need.check)()));
            let replies = join_all(checks).await;
            let mut now = State { is_ready: true, needs: BTreeMap::new() };
            for ((need, failed), met) in needs.0.iter().zip(&mut failures).zip(replies) {
                *failed = if met.unwrap_or(false) { 0 } else { failed.saturating_add(1) };
                now.needs.insert(need.name, *failed < PATIENCE);
                now.is_ready &= !need.is_required || *failed < PATIENCE;
            }
            sender.send_if_modified(|was| {
                let has_changed = *was != now;
                *was = now;
                has_changed
            });
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = shutdown.stopping() => {}
    }
    sender.send_modify(|state| state.is_ready = false);
    // Keeps the sender until the end: readers would see a dropped sender in the middle of the drain.
    shutdown.cut().await;
}

/// Whether a service of the mesh reports that it is serving.
pub async fn peer_is_serving(peer: Peer) -> bool {
    let request = HealthCheckRequest { service: String::new() };
    let response = HealthClient::new(peer).check(request).await;
    response.is_ok_and(|a| a.get_ref().status() == health_check_response::ServingStatus::Serving)
}

/// Measures the clock of `peer` until the shutdown drains. From then on services of the same process accept no connections,
/// which is no outage.
pub async fn measure_clock(peer: Peer, shutdown: Shutdown) {
    at_intervals(|| peer_is_serving(peer.clone()), &shutdown).await;
}

async fn at_intervals<F: Future<Output = bool>>(measure: impl Fn() -> F, shutdown: &Shutdown) {
    let measuring = async {
        loop {
            measure().await;
            tokio::time::sleep(CLOCK_INTERVAL).await;
        }
    };
    tokio::select! {
        () = measuring => {}
        () = shutdown.draining() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{config::Span, shutdown::ShutdownConfig};

    #[tokio::test]
    async fn readiness_does_not_require_shown_checks() {
        let needs = HealthChecks::new().and("database", async || true).and_shown("bus", async || false);
        let readiness = Readiness::watch(needs, Shutdown::new());
        readiness.ready().await;
        assert_eq!(readiness.health_checks(), BTreeMap::from([("bus", false), ("database", true)]));

        let readiness = Readiness::watch(HealthChecks::new().and("database", async || false), Shutdown::new());
        assert!(tokio::time::timeout(PERIOD * 2, readiness.ready()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn check_without_a_response_does_not_delay_others() {
        let silent = || std::future::pending::<bool>();
        let needs = HealthChecks::new().and_shown("users", silent).and_shown("auth", silent).and("keys", async || true);
        let started = tokio::time::Instant::now();
        Readiness::watch(needs, Shutdown::new()).ready().await;
        assert!(started.elapsed() <= TIMEOUT, "{:?}", started.elapsed());
    }

    /// The services of the process stop to accept connections then.
    #[tokio::test(start_paused = true)]
    async fn peers_are_not_called_after_the_drain_has_begun() {
        let (shutdown, calls) = (Shutdown::new(), AtomicUsize::new(0));
        let config = ShutdownConfig { settle: Span(CLOCK_INTERVAL * 3 / 2), ..ShutdownConfig::default() };
        let measure = || std::future::ready(calls.fetch_add(1, Ordering::Relaxed) > 0);
        tokio::join!(at_intervals(measure, &shutdown), shutdown.run(&config));
        assert_eq!(calls.load(Ordering::Relaxed), 2, "at the beginning, and while the process settles");
    }

    #[test]
    fn service_is_ready_when_its_own_check_passes() {
        let state = State { is_ready: true, needs: BTreeMap::from([("users", false), ("auth", true)]) };
        assert!(state.serves(None) && state.serves(Some("auth")));
        assert!(!state.serves(Some("users")));
        assert!(!State { is_ready: false, ..state }.serves(Some("auth")));
    }
}
