//! Readiness: what a service needs, asked once a second, with hysteresis: one good answer makes it ready,
//! three bad ones in a row make it not ready. Liveness is not here: it depends on nothing.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

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
const TIMEOUT: Duration = Duration::from_secs(2);
/// How many failures in a row mean "not ready".
const PATIENCE: u32 = 3;

type Check = Box<dyn Fn() -> Pin<Box<dyn Future<Output = bool> + Send>> + Send + Sync>;

/// What a process needs to be ready, and what it only shows.
#[derive(Default)]
pub struct Needs(Vec<Need>);

struct Need {
    /// What the admin listener calls it.
    name: &'static str,
    check: Check,
    /// Whether the process is not ready without it.
    is_required: bool,
}

impl Needs {
    /// Needs nothing yet.
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
    ready: watch::Receiver<bool>,
    needs: Arc<Mutex<BTreeMap<&'static str, bool>>>,
    shutdown: Shutdown,
}

impl Readiness {
    /// Starts watching. The task ends, not ready, when the shutdown begins.
    pub fn watch(needs: Needs, shutdown: Shutdown) -> Self {
        let (sender, ready) = watch::channel(false);
        let shown = Arc::new(Mutex::new(needs.0.iter().map(|need| (need.name, false)).collect()));
        tokio::spawn(watch_needs(needs, Arc::clone(&shown), sender, shutdown.clone()));
        Self { ready, needs: shown, shutdown }
    }

    /// Whether calls may come.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Ends when the service is ready.
    pub async fn ready(&self) {
        // An Err says that the watch has ended with the process.
        self.ready.clone().wait_for(|ready| *ready).await.ok();
    }

    /// What ends it.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Each need and whether it is met.
    pub fn needs(&self) -> BTreeMap<&'static str, bool> {
        self.needs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells `reporter` about `services` from now on. Calls that watch it end when the drain begins, or they
    /// would hold it up for as long as it may take.
    pub fn report(&self, mut reporter: HealthReporter, services: Vec<String>) {
        let (mut ready, shutdown) = (self.ready.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            loop {
                let status =
                    if *ready.borrow_and_update() { ServingStatus::Serving } else { ServingStatus::NotServing };
                for service in &services {
                    reporter.set_service_status(service, status).await;
                }
                tokio::select! {
                    changed = ready.changed() => if changed.is_err() { return },
                    () = shutdown.draining() => break,
                }
            }
            for service in &services {
                reporter.clear_service_status(service).await;
            }
        });
    }
}

async fn watch_needs(
    needs: Needs,
    shown: Arc<Mutex<BTreeMap<&'static str, bool>>>,
    sender: watch::Sender<bool>,
    shutdown: Shutdown,
) {
    let mut failures = vec![PATIENCE; needs.0.len()];
    let watching = async {
        loop {
            let mut ready = true;
            for (need, failed) in needs.0.iter().zip(&mut failures) {
                let met = tokio::time::timeout(TIMEOUT, (need.check)()).await.unwrap_or(false);
                *failed = if met { 0 } else { failed.saturating_add(1) };
                shown.lock().unwrap_or_else(PoisonError::into_inner).insert(need.name, *failed < PATIENCE);
                ready &= !need.is_required || *failed < PATIENCE;
            }
            sender.send_if_modified(|was| std::mem::replace(was, ready) != ready);
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = shutdown.stopping() => {}
    }
    sender.send_replace(false);
    // Kept alive until the end: a dropped sender would read as "ended" in the middle of the drain.
    shutdown.cut().await;
}

/// Whether a service of the mesh says that it is serving.
pub async fn peer_is_serving(peer: Peer) -> bool {
    let request = HealthCheckRequest { service: String::new() };
    let answer = HealthClient::new(peer).check(request).await;
    answer.is_ok_and(|a| a.get_ref().status() == health_check_response::ServingStatus::Serving)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_only_shown_keeps_nobody_from_being_ready() {
        let needs = Needs::new().and("database", async || true).and_shown("bus", async || false);
        let readiness = Readiness::watch(needs, Shutdown::new());
        readiness.ready().await;
        assert_eq!(readiness.needs(), BTreeMap::from([("bus", false), ("database", true)]));

        let readiness = Readiness::watch(Needs::new().and("database", async || false), Shutdown::new());
        assert!(tokio::time::timeout(PERIOD * 2, readiness.ready()).await.is_err());
    }
}
