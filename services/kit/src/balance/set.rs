//! All endpoints of one upstream, and the choice among them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use metrics::{counter, gauge};
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    BalanceConfig, Location,
    endpoint_health::{most_ejected, outliers},
    health::Prober,
    load::PeakEwma,
    member::Member,
    outage::OutageLog,
};
use crate::{rng::Rng, tls::Trust};

/// The states of endpoints in metrics.
const STATES: [&str; 4] = ["serving", "failing", "ejected", "unwell"];

type Make<E> = Box<dyn Fn(&Location) -> E + Send + Sync>;
pub(super) type Members<E> = Arc<[Arc<Member<E>>]>;

/// The endpoints of one upstream.
pub(super) struct Set<E> {
    name: Arc<str>,
    pub(super) config: BalanceConfig,
    make: Make<E>,
    /// Verifies the certificates of endpoints during health checks over TLS.
    trust: Option<Trust>,
    /// Replaced as a whole.
    members: RwLock<Members<E>>,
    /// Whether names have been resolved at least once.
    pub(super) resolved: watch::Sender<bool>,
    /// Requests another resolution before the interval ends.
    pub(super) resolve_now: Notify,
    /// Panic mode: so many endpoints are ejected that ejections are ignored. The rest could not carry the whole load.
    is_panicking: AtomicBool,
    outage: Mutex<OutageLog>,
    chance: Rng,
}

impl<E> Set<E> {
    pub(super) fn new(name: &str, config: BalanceConfig, chance: Rng, trust: Option<Trust>, make: Make<E>) -> Self {
        Self {
            name: name.into(),
            config,
            make,
            trust,
            members: RwLock::new(Arc::new([])),
            resolved: watch::Sender::new(false),
            resolve_now: Notify::new(),
            is_panicking: AtomicBool::new(false),
            outage: Mutex::new(OutageLog::new(name)),
            chance,
        }
    }

    pub(super) fn members(&self) -> Members<E> {
        Arc::clone(&self.members.read())
    }

    /// Replaces the endpoints. Existing endpoints keep their state, new ones start slowly, and calls on removed ones
    /// continue.
    pub(super) fn replace(&self, places: &[Location], now: Instant) {
        let old = self.members();
        let warms_since = (!old.is_empty()).then_some(now);
        let load = usual_load(&old, now);
        let kept = |place: &Location| old.iter().find(|member| member.location == *place).map(Arc::clone);
        let made = |place: &Location| {
            let prober = Prober::new(place, self.trust.as_ref());
            Arc::new(Member::new((self.make)(place), place.clone(), prober, load, warms_since))
        };
        let members = places.iter().map(|place| kept(place).unwrap_or_else(|| made(place))).collect();
        *self.members.write() = members;
        self.resolved.send_replace(true);
        self.count(now);
    }

    /// Chooses an endpoint for a call. Avoids, in decreasing order of importance, endpoints in `tried`, endpoints that are
    /// not serving, and ejected or resting ones. In panic mode ejected endpoints count as healthy.
    pub(super) fn choose(&self, members: &Members<E>, tried: &[Location], now: Instant) -> Option<Arc<Member<E>>> {
        if let [only] = &**members {
            return Some(Arc::clone(only));
        }
        let panicking = self.is_panicking.load(Ordering::Relaxed);
        let is_fresh = |member: &Member<E>| tried.is_empty() || !tried.contains(&member.location);
        let is_well = |member: &Member<E>| {
            let record = member.record();
            let endpoint_health = &record.endpoint_health;
            endpoint_health.is_serving()
                && !endpoint_health.is_resting(now)
                && (panicking || !endpoint_health.is_ejected(now))
        };
        let serves = |member: &Member<E>| member.record().endpoint_health.is_serving();
        self.less_busy(members, now, |member| is_fresh(member) && is_well(member))
            .or_else(|| self.less_busy(members, now, |member| is_fresh(member) && serves(member)))
            .or_else(|| self.less_busy(members, now, is_fresh))
            .or_else(|| self.less_busy(members, now, |_| true))
            .map(Arc::clone)
    }

    /// Chooses two eligible endpoints at random and returns the less loaded one.
    fn less_busy<'a>(
        &self,
        members: &'a Members<E>,
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
        // An endpoint may have become ineligible between the two iterations.
        let (Some(one), Some(other)) = (eligible().nth(first), eligible().nth(second)) else {
            return eligible().next();
        };
        match (self.passes(one, now), self.passes(other, now)) {
            (true, false) => Some(one),
            (false, true) => Some(other),
            _ if one.score(now) <= other.score(now) => Some(one),
            _ => Some(other),
        }
    }

    /// Whether an endpoint in slow start is eligible this time.
    fn passes(&self, member: &Member<E>, now: Instant) -> bool {
        let weight = member.record().endpoint_health.weight(now, self.config.slow_start.0);
        weight >= 1.0 || self.chance.share() < weight
    }

    /// Ejects an endpoint for its failures, unless too many are ejected already.
    pub(super) fn eject(&self, member: &Member<E>, reason: &'static str, now: Instant) {
        let members = self.members();
        let counts = |test: fn(&super::endpoint_health::EndpointHealth, Instant) -> bool| {
            members.iter().filter(|m| test(&m.record().endpoint_health, now)).count()
        };
        let serving = counts(|endpoint_health, _| endpoint_health.is_serving());
        let ejected = counts(|endpoint_health, now| endpoint_health.is_serving() && endpoint_health.is_ejected(now));
        let time = {
            let mut record = member.record();
            if record.endpoint_health.is_ejected(now)
                || ejected >= most_ejected(serving, self.config.most_ejected_share())
            {
                return;
            }
            record.endpoint_health.eject(now)
        };
        tracing::warn!(upstream = %self.name, endpoint = %member.location, reason, seconds = time.as_secs(), "an endpoint was ejected");
        counter!("balance_ejections_total", "upstream" => self.name.to_string(), "reason" => reason).increment(1);
        self.count(now);
    }

    /// Compares the endpoints' failure rates since the last time, and ejects outliers.
    pub(super) fn eject_outliers(&self, now: Instant) {
        let members = self.members();
        let tallies: Vec<_> = members.iter().map(|member| member.record().endpoint_health.end_interval(now)).collect();
        for index in outliers(&tallies) {
            if let Some(member) = members.get(index) {
                self.eject(member, "failure_rate", now);
            }
        }
    }

    /// Lifts ejections that have ended, updates the gauges, and logs when the last endpoint fails and when one is available
    /// again.
    pub(super) fn count(&self, now: Instant) {
        // Held until the change is logged, so that the log has the changes in order.
        let mut outage = self.outage.lock();
        let (mut well, mut failing, mut ejected, mut unwell) = (0, 0, 0, 0);
        let members = self.members();
        for member in &*members {
            if member.record().endpoint_health.readmit(now) {
                let load = usual_load(&members, now);
                member.record().load = load;
            }
            let record = member.record();
            let health = &record.endpoint_health;
            match (health.is_serving(), health.is_ejected(now), health.is_failing()) {
                (false, ..) => unwell += 1,
                (true, true, _) => ejected += 1,
                (true, false, true) => failing += 1,
                (true, false, false) => well += 1,
            }
        }
        let most = most_ejected(well + failing + ejected, self.config.most_ejected_share());
        self.is_panicking.store(ejected > most, Ordering::Relaxed);
        self.gauge([well, failing, ejected, unwell]);
        // Without an address there is nothing to judge: the resolver logs that.
        if !members.is_empty() {
            outage.observe(well > 0, members.len(), now);
        }
    }

    /// Sets the gauges to these numbers of endpoints.
    fn gauge(&self, counts: [usize; STATES.len()]) {
        for (state, count) in STATES.into_iter().zip(counts) {
            let gauge = gauge!("balance_endpoints", "upstream" => self.name.to_string(), "state" => state);
            gauge.set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
    }
}

impl<E> Drop for Set<E> {
    /// An upstream that is no longer configured has no endpoints. A new one of the same name counts again within a second.
    fn drop(&mut self) {
        self.gauge([0; STATES.len()]);
    }
}

/// The load assumed for an endpoint without history: the median of the others.
fn usual_load<E>(members: &Members<E>, now: Instant) -> PeakEwma {
    let mut known: Vec<f64> = members.iter().map(|member| member.record().load.seconds(now)).collect();
    known.sort_by(f64::total_cmp);
    PeakEwma::new(known.get(known.len() / 2).copied().unwrap_or_default(), now)
}
