//! Which of several endpoints gets a call. One core for the gateway's upstreams and for the services' calls of one
//! another.
//!
//! Of two endpoints chosen at random the one with less to do is taken (P2C with peak EWMA): it needs no view of the
//! whole, and no two callers agree on the same victim. Names are looked up again while the process runs, so that
//! endpoints come and go with their DNS records.

mod address;
mod chance;
mod load;
mod resolve;

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use crate::config::Span;
use address::Address;
pub use address::{Addresses, Location, in_the_clear};
pub use chance::Chance;
use load::PeakEwma;
use resolve::{LookUp, Resolver};

/// How long the first call waits for names to be looked up.
const FIRST_LOOK: Duration = Duration::from_secs(3);
/// How soon after a look another may be asked for.
const LEAST_BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// How long after a failed attempt to connect other endpoints come first.
const REST: Duration = Duration::from_secs(1);
/// What a call that failed counts as, at least: an endpoint that fails at once must not look fast.
const FAILED: Duration = Duration::from_millis(100);

/// The section `[balance]`: calls of the gateway and of services to what has several endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often names are looked up again.
    pub resolve_interval: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self { resolve_interval: Span(Duration::from_secs(5)) }
    }
}

/// Endpoints that answer the same calls.
pub struct Balancer<E> {
    shared: Arc<Shared<E>>,
    /// Ends with the balancer.
    _following: Option<AbortOnDropHandle<()>>,
}

type Make<E> = Box<dyn Fn(&Location) -> E + Send + Sync>;
type Members<E> = Arc<[Arc<Member<E>>]>;

struct Shared<E> {
    make: Make<E>,
    /// Swapped as a whole.
    members: RwLock<Members<E>>,
    /// Whether names have been looked up once.
    looked: watch::Sender<bool>,
    /// Asks for another look before its time.
    look: Notify,
    chance: Chance,
}

/// An endpoint and what is known of it.
struct Member<E> {
    endpoint: E,
    location: Location,
    pending: AtomicUsize,
    load: Mutex<PeakEwma>,
    /// Others come first until then.
    rests_until: Mutex<Option<Instant>>,
}

/// An endpoint that has been given a call; the call counts until this is dropped.
pub struct Pick<E> {
    member: Arc<Member<E>>,
    balancer: Arc<Shared<E>>,
    since: Instant,
}

impl<E: Send + Sync + 'static> Balancer<E> {
    /// The endpoints at `addresses`; `make` makes one when its place is found. Must be called within a runtime. The
    /// error is a sentence without its key.
    pub fn new(
        addresses: &[String],
        config: &Config,
        make: impl Fn(&Location) -> E + Send + Sync + 'static,
    ) -> Result<Self, String> {
        Self::by(resolve::system(), addresses, config, make)
    }

    fn by(
        look_up: LookUp,
        addresses: &[String],
        config: &Config,
        make: impl Fn(&Location) -> E + Send + Sync + 'static,
    ) -> Result<Self, String> {
        if addresses.is_empty() {
            return Err("names no address such as http://host:port".to_owned());
        }
        let addresses = addresses.iter().map(|text| Address::read(text)).collect::<Result<Vec<_>, _>>()?;
        let shared = Arc::new(Shared {
            make: Box::new(make),
            members: RwLock::new(Arc::new([])),
            looked: watch::Sender::new(false),
            look: Notify::new(),
            chance: Chance::new(),
        });
        let following = if let Some(places) = Resolver::literal(&addresses) {
            shared.replace(&places);
            None
        } else {
            let following = follow(Arc::clone(&shared), Resolver::new(addresses, look_up), config.resolve_interval.0);
            Some(AbortOnDropHandle::new(tokio::spawn(following)))
        };
        Ok(Self { shared, _following: following })
    }

    /// Gives a call to an endpoint: to one of `tried` only when there is no other. `None`: none is known.
    pub async fn pick(&self, tried: &[Location]) -> Option<Pick<E>> {
        let mut members = self.shared.members();
        if members.is_empty() {
            // The first calls come before the first answer of DNS does.
            timeout(FIRST_LOOK, self.shared.looked.subscribe().wait_for(|looked| *looked)).await.ok();
            members = self.shared.members();
        }
        let now = Instant::now();
        let fresh = |member: &Member<E>| !tried.contains(&member.location);
        let member = self
            .shared
            .choose(&members, now, |member| fresh(member) && !member.is_resting(now))
            .or_else(|| self.shared.choose(&members, now, fresh))
            .or_else(|| self.shared.choose(&members, now, |_| true))?;
        member.pending.fetch_add(1, Ordering::Relaxed);
        Some(Pick { member: Arc::clone(member), balancer: Arc::clone(&self.shared), since: now })
    }

    /// The places of all endpoints.
    pub fn locations(&self) -> Vec<Location> {
        self.shared.members().iter().map(|member| member.location.clone()).collect()
    }
}

impl<E> Shared<E> {
    fn members(&self) -> Members<E> {
        Arc::clone(&self.members.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over the places that there are now. Those that stay keep what is known of them; calls on those that are
    /// gone go on.
    fn replace(&self, places: &[Location]) {
        let old = self.members();
        let kept = |place: &Location| old.iter().find(|member| member.location == *place).map(Arc::clone);
        let now = Instant::now();
        let made = |place: &Location| Arc::new(Member::new((self.make)(place), place.clone(), now));
        let members = places.iter().map(|place| kept(place).unwrap_or_else(|| made(place))).collect();
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = members;
        self.looked.send_replace(true);
    }

    /// The less busy of two of those that may be taken.
    fn choose<'a>(
        &self,
        members: &'a [Arc<Member<E>>],
        now: Instant,
        may: impl Fn(&Member<E>) -> bool,
    ) -> Option<&'a Arc<Member<E>>> {
        let eligible = || members.iter().filter(|member| may(member));
        let count = eligible().count();
        if count <= 1 {
            return eligible().next();
        }
        let first = self.chance.below(count);
        let second = (first + 1 + self.chance.below(count - 1)) % count;
        let (one, other) = (eligible().nth(first)?, eligible().nth(second)?);
        Some(if one.score(now) <= other.score(now) { one } else { other })
    }
}

/// Follows names for as long as the balancer lives.
async fn follow<E>(shared: Arc<Shared<E>>, mut resolver: Resolver, interval: Duration) {
    loop {
        let places = resolver.look().await;
        if !places.is_empty() {
            shared.replace(&places);
        }
        let least = sleep(LEAST_BETWEEN_LOOKS);
        let asked = async {
            least.await;
            shared.look.notified().await;
        };
        timeout(interval, asked).await.ok();
    }
}

impl<E> Member<E> {
    fn new(endpoint: E, location: Location, now: Instant) -> Self {
        Self {
            endpoint,
            location,
            pending: AtomicUsize::new(0),
            load: Mutex::new(PeakEwma::new(now)),
            rests_until: Mutex::new(None),
        }
    }

    /// How long a call may have to wait here, in seconds.
    fn score(&self, now: Instant) -> f64 {
        let seconds = self.load.lock().unwrap_or_else(PoisonError::into_inner).seconds(now);
        let pending = u32::try_from(self.pending.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        // The microsecond lets the calls count where all answers are equally fast.
        (seconds + 1e-6) * (f64::from(pending) + 1.0)
    }

    fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| now < until)
    }
}

impl<E> Pick<E> {
    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.member.location
    }

    /// The answer has begun.
    pub fn answered(&self) {
        self.observe(Duration::ZERO);
    }

    /// The call failed; by the endpoint, as far as one can tell.
    pub fn failed(&self) {
        self.observe(FAILED);
    }

    /// Nobody listens there, or not in time: others come first for a while.
    pub fn unreachable(&self) {
        let until = Instant::now() + REST;
        *self.member.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        self.balancer.look.notify_one();
    }

    fn observe(&self, at_least: Duration) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.since).max(at_least);
        self.member.load.lock().unwrap_or_else(PoisonError::into_inner).observe(took, now);
    }
}

impl<E> Deref for Pick<E> {
    type Target = E;

    fn deref(&self) -> &E {
        &self.member.endpoint
    }
}

impl<E> Drop for Pick<E> {
    fn drop(&mut self) {
        self.member.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "balance/tests.rs"]
mod tests;
