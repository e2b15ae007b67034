//! The rate limits of methods: the contract's, or the overrides of the configuration for some callers.

mod fields;
mod overrides;
mod reach;

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use kit::{
    limiter::{
        BucketKey, Decision, FailureMode, Kind, Limit, LimitState, MOST_LIMITS, MOST_RULES, Multiples, Network, Quota,
        fingerprint, network, networks,
    },
    policy::{By, Policy, RateLimit, StreamLimit},
    principal::Principal,
};

pub(crate) use fields::RateLimitHeaders;
pub(crate) use overrides::{Overrides, covers};
pub(crate) use reach::{DeclaredMethods, KnownMethods, undeclared};

use crate::{
    config::{Config, Fields},
    http::client_address::Client,
};

/// The limits of one method.
pub(crate) struct MethodLimits {
    /// In order of precedence.
    overrides: Vec<(overrides::Whom, Terms)>,
    usual: Terms,
    api_key_header: Option<HeaderName>,
}

/// The limits of one method that apply to some callers.
pub(crate) struct Terms {
    /// The scope of the buckets: the method, or its upstream's prefix.
    pub(crate) scope: String,
    pub(crate) rules: Vec<Rule>,
    pub(crate) streams: Option<(u32, Rule)>,
    pub(crate) failure_mode: FailureMode,
    /// The key of the configuration that sets the limits; empty: the contract sets them.
    source: String,
    /// `ratelimit-policy`, where there are limits.
    policy: Option<HeaderValue>,
    fields: Fields,
}

/// What a rule counts.
enum Subject {
    /// One bucket.
    One(BucketKey),
    /// The buckets of an address's networks.
    Address(IpAddr),
}

/// The buckets that a call draws from, each with the index of its rule.
pub(crate) struct Buckets {
    limits: [Limit; MOST_LIMITS],
    rules: [usize; MOST_LIMITS],
    count: usize,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { limits: [Limit::NONE; MOST_LIMITS], rules: [0; MOST_LIMITS], count: 0 }
    }
}

impl Buckets {
    /// The array has room: terms have at most [`MOST_RULES`] rules, and an address a fixed number of networks.
    fn push(&mut self, rule: usize, limit: Limit) {
        self.limits[self.count] = limit;
        self.rules[self.count] = rule;
        self.count += 1;
    }

    pub(crate) fn limits(&self) -> &[Limit] {
        &self.limits[..self.count]
    }

    /// The state of a rule: that of its bucket with the least left.
    fn limit_state(&self, rule: usize, decision: &Decision) -> Option<LimitState> {
        let of_rule = self.rules[..self.count].iter().zip(decision.limit_states).filter(|(of, _)| **of == rule);
        of_rule.map(|(_, limit_state)| limit_state).min_by_key(|limit_state| limit_state.left)
    }
}

/// One limit.
#[derive(Clone)]
pub(crate) struct Rule {
    /// The prefix of its buckets' keys. It is derived from the whole rule: a changed rule gets new buckets.
    id: BucketKey,
    /// Its name in `ratelimit`.
    name: String,
    by: Counted,
    quota: Quota,
    cost: u32,
}

/// [`By`], with parsed header names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Counted {
    Caller,
    Address,
    Session,
    ApiKey,
    Header(HeaderName),
}

/// The caller of a method.
pub(crate) struct Caller<'a> {
    /// `None`: an anonymous client.
    pub(crate) principal: Option<&'a Principal>,
    pub(crate) client: Client,
    pub(crate) headers: &'a HeaderMap,
}

impl MethodLimits {
    /// The limits of a method whose calls are counted as `scope`; `policy` is the contract's, if there is one.
    pub(crate) fn new(scope: &str, policy: Option<&Policy>, usual: By, config: &Config, overrides: &Overrides) -> Self {
        let of_contract = Terms::of_contract(scope, policy, usual, config);
        let overrides = overrides.of(scope, &of_contract);
        let api_key_header = HeaderName::try_from(&config.rate_limits.api_key_header).ok();
        Self { overrides, usual: of_contract, api_key_header }
    }

    /// The same limits with a stream limit, if the contract states none.
    pub(crate) fn with_streams(mut self, scope: &str, limit: &StreamLimit) -> Self {
        let streams = (limit.streams, Rule::new(scope, &limit.by, Limit::NONE.quota, 1));
        for terms in self.overrides.iter_mut().map(|(_, terms)| terms).chain([&mut self.usual]) {
            terms.streams.get_or_insert_with(|| streams.clone());
        }
        self
    }

    /// The terms that apply to this caller.
    pub(crate) fn terms(&self, caller: &Caller<'_>) -> &Terms {
        if self.overrides.is_empty() {
            return &self.usual;
        }
        let api_key = self.api_key(caller).map(fingerprint);
        let fits = |whom: &overrides::Whom| whom.fits(caller, api_key.as_ref());
        self.overrides.iter().find(|(whom, _)| fits(whom)).map_or(&self.usual, |(_, terms)| terms)
    }

    /// The buckets that a call draws from.
    pub(crate) fn limits(&self, terms: &Terms, caller: &Caller<'_>, multiples: &Multiples) -> Buckets {
        let mut buckets = Buckets::default();
        for (at, rule) in terms.rules.iter().enumerate() {
            match self.subject(rule, caller) {
                Subject::One(key) => buckets.push(at, Limit { key, quota: rule.quota, cost: rule.cost }),
                Subject::Address(address) => {
                    for network in networks(address, multiples) {
                        let quota = rule.quota.times(network.multiple);
                        buckets.push(at, Limit { key: rule.key_of(network), quota, cost: rule.cost });
                    }
                }
            }
        }
        buckets
    }

    /// The caller's bucket of a rule with one bucket: by address, that of the narrowest network.
    pub(crate) fn key(&self, rule: &Rule, caller: &Caller<'_>) -> BucketKey {
        match self.subject(rule, caller) {
            Subject::One(key) => key,
            Subject::Address(address) => {
                let narrowest = networks(address, &Multiples::default()).next();
                narrowest.map_or(rule.id, |network| rule.key_of(network))
            }
        }
    }

    fn subject(&self, rule: &Rule, caller: &Caller<'_>) -> Subject {
        let of = |kind: &[u8], subject: &[u8]| Subject::One(BucketKey::new(&[rule.id.as_bytes(), kind, subject]));
        let by_address = || match caller.client {
            Client::Known(address) => Subject::Address(address),
            // All clients behind the proxy whose addresses are unknown share one bucket.
            Client::Unknown { proxy } => of(b"unknown", &network(proxy).octets()),
        };
        let value = |name: &HeaderName| caller.headers.get(name).map(HeaderValue::as_bytes);
        match &rule.by {
            Counted::Caller => match caller.principal {
                Some(Principal::User(session)) => of(b"user", session.user.as_bytes()),
                Some(Principal::Service(service)) => of(b"service", service.name().as_bytes()),
                Some(Principal::External(user)) => of(b"external", user.limit_key.as_bytes()),
                None => by_address(),
            },
            Counted::Address => by_address(),
            Counted::Session => match caller.principal {
                Some(Principal::User(session)) => of(b"session", session.id.as_bytes()),
                // It has no session: its tokens together count as one.
                Some(Principal::External(user)) => of(b"external", user.limit_key.as_bytes()),
                Some(Principal::Service(_)) | None => by_address(),
            },
            Counted::ApiKey => self.api_key(caller).map_or_else(by_address, |key| of(b"api-key", key)),
            Counted::Header(name) => value(name).map_or_else(by_address, |value| of(b"header", value)),
        }
    }

    fn api_key<'a>(&self, caller: &Caller<'a>) -> Option<&'a [u8]> {
        caller.headers.get(self.api_key_header.as_ref()?).map(HeaderValue::as_bytes)
    }

    /// The rows of `trellis policy`, the highest precedence last: the kind of limit, the limit with its callers, and
    /// the source. An override for all callers replaces the contract's limits and the overrides after it.
    pub(crate) fn rows(&self) -> Vec<[String; 3]> {
        let of = |(whom, terms): (String, &Terms)| {
            let source = terms.source().to_owned();
            let row = move |(what, value): (&str, String)| [what.to_owned(), format!("{value}{whom}"), source.clone()];
            terms.text().into_iter().map(row).collect::<Vec<_>>()
        };
        let for_all = self.overrides.iter().position(|(whom, _)| whom.is_for_all());
        let some = self.overrides[..for_all.unwrap_or(self.overrides.len())].iter().rev();
        let all = match for_all.map(|at| &self.overrides[at].1) {
            Some(terms) => (format!(" (override {})", terms.override_name()), terms),
            None => (String::new(), &self.usual),
        };
        let some = some.map(|(whom, terms)| (format!(" ({whom}, override {})", terms.override_name()), terms));
        std::iter::once(all).chain(some).flat_map(of).collect()
    }
}

impl Terms {
    fn of_contract(scope: &str, policy: Option<&Policy>, usual: By, config: &Config) -> Self {
        let stated = policy.map_or(&[][..], |policy| &policy.rate_limits);
        let default = [RateLimit { quota: config.default_quota(), cost: 1, by: usual }];
        let (limits, source) =
            if stated.is_empty() { (&default[..], "gateway.default_rate_requests") } else { (stated, "") };
        let streams = policy.and_then(|policy| policy.stream_limit.as_ref());
        let failure_mode = policy.map_or(FailureMode::default(), |policy| policy.failure_mode);
        Self::new(scope, limits, streams, failure_mode, source.to_owned(), config.rate_limits.fields)
    }

    fn new(
        scope: &str,
        limits: &[RateLimit],
        streams: Option<&StreamLimit>,
        failure_mode: FailureMode,
        source: String,
        fields: Fields,
    ) -> Self {
        let mut rules: Vec<Rule> = Vec::new();
        // The contract of an external upstream may state more rules than one decision can hold.
        for limit in limits.iter().take(MOST_RULES) {
            let mut rule = Rule::new(scope, &limit.by, limit.quota, limit.cost);
            if rules.iter().any(|other| other.name == rule.name) {
                rule.name += &format!("-{}", rules.len() + 1);
            }
            rules.push(rule);
        }
        let streams = streams.map(|of| (of.streams, Rule::new(scope, &of.by, Limit::NONE.quota, 1)));
        let policy = fields::policy(&rules);
        Self { scope: scope.to_owned(), rules, streams, failure_mode, source, policy, fields }
    }

    /// The rows of `trellis policy`: the rate limits, the stream limit, and the failure mode.
    pub(crate) fn text(&self) -> Vec<(&'static str, String)> {
        let rule = |rule: &Rule| {
            let cost = if rule.cost == 1 { String::new() } else { format!(", a call costs {}", rule.cost) };
            ("rate limit", format!("{}{cost}", quota(&rule.quota, &rule.by.each())))
        };
        let mut rows: Vec<_> = self.rules.iter().map(rule).collect();
        if rows.is_empty() {
            rows.push(("rate limit", "none".to_owned()));
        }
        rows.extend(self.streams.iter().map(|(most, rule)| ("streams", format!("{most} {}", rule.by.each()))));
        if self.failure_mode == FailureMode::Refuse {
            rows.push(("without Redis", "refused".to_owned()));
        }
        rows
    }

    /// The name of the override that these terms come from.
    fn override_name(&self) -> &str {
        self.source.strip_prefix(overrides::KEY).map_or("", |rest| rest.trim_start_matches('.'))
    }

    /// The source of the limits.
    pub(crate) fn source(&self) -> &str {
        if self.source.is_empty() { "contract" } else { &self.source }
    }
}

/// The text of a quota in `trellis policy`: `20 per 1h per address, burst 10`.
fn quota(quota: &Quota, each: &str) -> String {
    let (requests, period) = (quota.requests(), kit::config::Span(quota.period()));
    match quota.kind() {
        Kind::Count => format!("{requests} {each} in each {period} from the first call on"),
        Kind::Rate if quota.burst() == requests => format!("{requests} per {period} {each}"),
        Kind::Rate => format!("{requests} per {period} {each}, burst {}", quota.burst()),
    }
}

impl Rule {
    fn new(scope: &str, by: &By, quota: Quota, cost: u32) -> Self {
        let rule = format!("{by} {quota} {cost}");
        let period = kit::config::Span(quota.period());
        let by_header = |name: &str| HeaderName::try_from(name).map_or(Counted::Address, Counted::Header);
        Self {
            id: BucketKey::new(&[scope.as_bytes(), rule.as_bytes()]),
            name: format!("{by}-{period}"),
            by: match by {
                By::Caller => Counted::Caller,
                By::Address => Counted::Address,
                By::Session => Counted::Session,
                By::ApiKey => Counted::ApiKey,
                By::Header(name) => by_header(name),
            },
            quota,
            cost,
        }
    }
}

impl Rule {
    fn key_of(&self, network: Network) -> BucketKey {
        BucketKey::new(&[self.id.as_bytes(), b"address", &network.to_bytes()])
    }
}

impl Counted {
    fn each(&self) -> String {
        match self {
            Self::Caller => "per caller".to_owned(),
            Self::Address => "per address".to_owned(),
            Self::Session => "per session".to_owned(),
            Self::ApiKey => "per API key".to_owned(),
            Self::Header(name) => format!("per value of {name}"),
        }
    }
}

#[cfg(test)]
mod tests;
