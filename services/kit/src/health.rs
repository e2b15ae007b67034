//! Readiness: what a service needs, asked once a second, with hysteresis: one good response makes it ready,
//! three bad ones in a row make it not ready. Liveness is not here: it depends on nothing.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::sync::watch;
use tonic_health::{
    ServingStatus,
    pb::{HealthCheckRequest, health_check_response, health_client::HealthClient},
    server::HealthReporter,
};

use crate::{client::Peer, shutdown::Shutdown};

/// The time between two rounds.
const PERIOD: Duration = Duration::from_secs(1);
/// How long one check may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How many failures in a row mean "not ready".
const PATIENCE: u32 = 3;

type Check = Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// What a process needs to be ready, and what it only shows.
#[derive(Default)]
pub struct HealthChecks(Vec<Need>);

struct Need {
    /// What the admin listener calls it.
    name: &'static str,
    check: Check,
    /// Whether the process is not ready without it.
    is_required: bool,
}

impl HealthChecks {
    /// HealthChecks nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a need under a name that the admin listener shows.
    #[must_use]
    pub fn and<F>(self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = bool> + Send + 'static,
    {
        self.push(name, check, true)
    }

    /// Adds what the admin listener shows too, but what the process can do without.
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

/// The readiness of one service, to read and to wait for.
#[derive(Clone)]
pub struct Readiness {
    state: watch::Receiver<State>,
    shutdown: Shutdown,
    /// Measures the skew of each peer's clock.
    skews: Option<Measure>,
}

type Measure = Arc<dyn Fn() -> BTreeMap<String, i64> + Send + Sync>;

/// What the last round has found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    is_ready: bool,
    /// Each need and whether it is met.
    needs: BTreeMap<&'static str, bool>,
}

impl State {
    /// Whether a gRPC service is served that has this need besides those of the whole process.
    fn serves(&self, need: Option<&str>) -> bool {
        self.is_ready && need.is_none_or(|need| self.needs.get(need).is_none_or(|met| *met))
    }
}

impl Readiness {
    /// Starts watching. The task ends, not ready, when the shutdown begins.
    pub fn watch(needs: HealthChecks, shutdown: Shutdown) -> Self {
        let unmet = needs.0.iter().map(|need| (need.name, false)).collect();
        let (sender, state) = watch::channel(State { is_ready: false, needs: unmet });
        tokio::spawn(watch_needs(needs, sender, shutdown.clone()));
        Self { state, shutdown, skews: None }
    }

    /// Adds how many milliseconds the clock of each peer is ahead, for the admin listener to show.
    #[must_use]
    pub fn with_skews(self, measure: impl Fn() -> BTreeMap<String, i64> + Send + Sync + 'static) -> Self {
        Self { skews: Some(Arc::new(measure)), ..self }
    }

    /// Peer → how many milliseconds its clock is ahead. `None`: the process measures none.
    pub fn skews(&self) -> Option<BTreeMap<String, i64>> {
        self.skews.as_ref().map(|measure| measure())
    }

    /// Whether calls may come.
    pub fn is_ready(&self) -> bool {
        self.state.borrow().is_ready
    }

    /// Ends when the service is ready.
    pub async fn ready(&self) {
        // An Err says that the watch has ended with the process.
        self.state.clone().wait_for(|state| state.is_ready).await.ok();
    }

    /// What ends it.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Each need and whether it is met.
    pub fn health_checks(&self) -> BTreeMap<&'static str, bool> {
        self.state.borrow().needs.clone()
    }

    /// Tells `reporter` about `services` from now on: each with the need that it has besides those of the process. Calls
    /// that watch it end when the drain begins, or they would hold it up for as long as it may take.
    pub fn report(&self, mut reporter: HealthReporter, services: Vec<(String, Option<String>)>) {
        let (mut state, shutdown) = (self.state.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            let mut told = vec![None; services.len()];
            loop {
                let now = state.borrow_and_update().clone();
                for ((service, need), told) in services.iter().zip(&mut told) {
                    let serves = now.serves(need.as_deref());
                    if told.replace(serves) != Some(serves) {
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
            // Side by side: one that does not reply holds up no other.
            let asked = needs.0.iter().map(|need| tokio::time::timeout(TIMEOUT, (need.check)()));
            let replies = join_all(asked).await;
            let mut now = State { is_ready: true, needs: BTreeMap::new() };
            for ((need, failed), met) in needs.0.iter().zip(&mut failures).zip(replies) {
                *failed = if met.unwrap_or(false) { 0 } else { failed.saturating_add(1) };
                now.needs.insert(need.name, *failed < PATIENCE);
                now.is_ready &= !need.is_required || *failed < PATIENCE;
            }
            sender.send_if_modified(|was| {
                let is_news = *was != now;
                *was = now;
                is_news
            });
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = shutdown.stopping() => {}
    }
    sender.send_modify(|state| state.is_ready = false);
    // Kept alive until the end: a dropped sender would read as "ended" in the middle of the drain.
    shutdown.cut().await;
}

/// Whether a service of the mesh says that it is serving.
pub async fn peer_is_serving(peer: Peer) -> bool {
    let request = HealthCheckRequest { service: String::new() };
    let response = HealthClient::new(peer).check(request).await;
    response.is_ok_and(|a| a.get_ref().status() == health_check_response::ServingStatus::Serving)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_only_shown_keeps_nobody_from_being_ready() {
        let needs = HealthChecks::new().and("database", async || true).and_shown("bus", async || false);
        let readiness = Readiness::watch(needs, Shutdown::new());
        readiness.ready().await;
        assert_eq!(readiness.health_checks(), BTreeMap::from([("bus", false), ("database", true)]));

        let readiness = Readiness::watch(HealthChecks::new().and("database", async || false), Shutdown::new());
        assert!(tokio::time::timeout(PERIOD * 2, readiness.ready()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn silent_need_holds_up_no_other() {
        let silent = || std::future::pending::<bool>();
        let needs = HealthChecks::new().and_shown("users", silent).and_shown("auth", silent).and("keys", async || true);
        let started = tokio::time::Instant::now();
        Readiness::watch(needs, Shutdown::new()).ready().await;
        assert!(started.elapsed() <= TIMEOUT, "{:?}", started.elapsed());
    }

    #[test]
    fn service_is_served_when_its_own_need_is_met() {
        let state = State { is_ready: true, needs: BTreeMap::from([("users", false), ("auth", true)]) };
        assert!(state.serves(None) && state.serves(Some("auth")));
        assert!(!state.serves(Some("users")));
        assert!(!State { is_ready: false, ..state }.serves(Some("auth")));
    }
}
