//! Which of several endpoints gets a call. One core for the gateway's upstreams and for the services' calls of one
//! another.
//!
//! Of two endpoints chosen at random the one with less to do is taken (P2C with peak EWMA): it needs no view of the
//! whole, and no two callers agree on the same victim. Names are looked up again while the process runs, so that
//! endpoints come and go with their DNS records. An endpoint that says that it does not serve, or does not answer when
//! it is asked, gets no new calls; one whose calls fail is taken out for a while.

mod address;
mod chance;
mod config;
mod health;
mod load;
mod member;
mod resolve;
mod set;
mod standing;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use address::Address;
pub use address::{Addresses, Location, in_the_clear};
pub use chance::Chance;
pub use config::Config;
pub use member::Pick;
use resolve::{LookUp, Resolver};
use set::Set;
pub use standing::Outcome;

use crate::{retry::Retries, tls::Trust};

/// How long the first call waits for names to be looked up.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// How soon after a look another may be asked for.
const LEAST_BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// How long an endpoint may take to tell its health: a healthy one takes a millisecond.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// Checks without an answer after which calls under way are given up too, if they have none either.
const LOST: u32 = 3;
/// How often those are let back whose time is over.
const TICK: Duration = Duration::from_secs(1);

/// What a balancer asks of its endpoints.
pub trait Endpoint: Send + Sync + 'static {
    /// Nobody answers there any more, though connections stand: they, and the calls on them, are to be given up.
    fn give_up(&self) {}
}

impl<E: Endpoint> Endpoint for Arc<E> {
    fn give_up(&self) {
        (**self).give_up();
    }
}

/// Endpoints that answer the same calls.
pub struct Balancer<E> {
    set: Arc<Set<E>>,
    /// Of its calls together.
    retries: Retries,
    /// They end with the balancer.
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl<E: Endpoint> Balancer<E> {
    /// The endpoints at `addresses`; `make` makes one when its place is found. `name` is what metrics call them. Must be
    /// called within a runtime. The error is a sentence without its key.
    pub fn new(
        name: &str,
        addresses: &[String],
        config: &Config,
        make: impl Fn(&Location) -> E + Send + Sync + 'static,
    ) -> Result<Self, String> {
        Self::by(resolve::system(), None, name, addresses, config, make)
    }

    /// The same, of endpoints that may be called over TLS and whose health may be asked there.
    pub fn trusting(
        trust: Option<&Trust>,
        name: &str,
        addresses: &[String],
        config: &Config,
        make: impl Fn(&Location) -> E + Send + Sync + 'static,
    ) -> Result<Self, String> {
        Self::by(resolve::system(), trust, name, addresses, config, make)
    }

    fn by(
        look_up: LookUp,
        trust: Option<&Trust>,
        name: &str,
        addresses: &[String],
        config: &Config,
        make: impl Fn(&Location) -> E + Send + Sync + 'static,
    ) -> Result<Self, String> {
        if addresses.is_empty() {
            return Err("names no address such as http://host:port".to_owned());
        }
        let addresses = addresses.iter().map(|text| Address::read(text)).collect::<Result<Vec<_>, _>>()?;
        let set = Arc::new(Set::new(name, config.clone(), Chance::new(), trust.cloned(), Box::new(make)));
        let mut tasks = vec![tokio::spawn(tend(Arc::clone(&set)))];
        if let Some(places) = Resolver::literal(&addresses) {
            set.replace(&places, Instant::now());
        } else {
            tasks.push(tokio::spawn(follow(Arc::clone(&set), Resolver::new(addresses, look_up))));
        }
        if !config.health_interval.0.is_zero() {
            tasks.push(tokio::spawn(check(Arc::clone(&set))));
        }
        let retries = Retries::new(name, &config.retry);
        Ok(Self { set, retries, _tasks: tasks.into_iter().map(AbortOnDropHandle::new).collect() })
    }

    /// Gives a call to an endpoint: to one of `tried` only when there is no other. `None`: none is known.
    pub async fn pick(&self, tried: &[Location]) -> Option<Pick<E>> {
        let mut members = self.set.members();
        if members.is_empty() {
            // The first calls come before the first answer of DNS does.
            timeout(FIRST_LOOK, self.set.looked.subscribe().wait_for(|looked| *looked)).await.ok();
            members = self.set.members();
        }
        let now = Instant::now();
        let member = self.set.choose(&members, tried, now)?;
        Some(Pick::new(member, Arc::clone(&self.set), now))
    }

    /// What decides which calls are sent again.
    pub fn retries(&self) -> &Retries {
        &self.retries
    }

    /// The places of all endpoints.
    pub fn locations(&self) -> Vec<Location> {
        self.set.members().iter().map(|member| member.location.clone()).collect()
    }
}

/// Follows names.
async fn follow<E>(set: Arc<Set<E>>, mut resolver: Resolver) {
    loop {
        let places = resolver.look().await;
        if !places.is_empty() {
            set.replace(&places, Instant::now());
        }
        let asked = async {
            sleep(LEAST_BETWEEN_LOOKS).await;
            set.look.notified().await;
        };
        timeout(set.config.resolve_interval.0, asked).await.ok();
    }
}

/// Judges the endpoints by their calls.
async fn tend<E>(set: Arc<Set<E>>) {
    let mut compared = Instant::now();
    loop {
        sleep(TICK.min(set.config.outlier_interval.0)).await;
        let now = Instant::now();
        if now.duration_since(compared) >= set.config.outlier_interval.0 {
            compared = now;
            set.compare(now);
        }
        set.count(now);
    }
}

/// Asks the endpoints for their health. Where there is only one the answer would change nothing.
async fn check<E: Endpoint>(set: Arc<Set<E>>) {
    let mut ticks = interval(set.config.health_interval.0);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let members = set.members();
        if members.len() < 2 {
            continue;
        }
        let asked = join_all(members.iter().map(|member| member.prober.ask(CHECK_TIMEOUT))).await;
        let now = Instant::now();
        for (member, health) in members.iter().zip(asked) {
            let Some(health) = health else { continue };
            let (changed, is_lost) = {
                let mut record = member.record();
                let changed = record.standing.checked(health, now);
                let is_silent = now.saturating_duration_since(record.load.last()) >= CHECK_TIMEOUT * 2;
                (changed, record.standing.silent_checks() >= LOST && is_silent)
            };
            if changed {
                tracing::info!(endpoint = %member.location, ?health, "an endpoint's health has changed");
                set.count(now);
            }
            if is_lost {
                member.endpoint.give_up();
            }
        }
    }
}

#[cfg(test)]
#[path = "balance/tests.rs"]
mod tests;
