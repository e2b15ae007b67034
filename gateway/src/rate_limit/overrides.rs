//! Reads and checks `[gateway.rate_limits.overrides]`, and finds the overrides of a method.

use std::fmt;

use http::HeaderName;
use kit::{
    config::quoted,
    limiter::{FailureMode, MOST_RULES, Quota},
    policy::{By, RateLimit, StreamLimit},
    principal::Principal,
};

use super::{
    Caller, Terms,
    reach::{self, DeclaredMethods, KnownMethods},
};
use crate::{
    config::{Fields, Networks, Override, RateLimits},
    http::client_address::Client,
};

/// The section of the configuration.
pub(super) const KEY: &str = "gateway.rate_limits.overrides";
/// The length of a SHA-256 in bytes.
const HASH: usize = 32;

/// All overrides, checked.
#[derive(Default)]
pub(crate) struct Overrides {
    all: Vec<MethodOverride>,
    fields: Fields,
}

struct MethodOverride {
    name: String,
    methods: Vec<String>,
    whom: Whom,
    limits: Vec<RateLimit>,
    streams: u32,
    failure_mode: Option<FailureMode>,
}

/// The callers of an override: they match all parts that are not empty.
#[derive(Clone, Default)]
pub(super) struct Whom {
    api_keys: Vec<[u8; HASH]>,
    roles: Vec<String>,
    networks: Networks,
    addresses: Vec<String>,
}

impl Overrides {
    /// Reads the section. A method that is not `known` is an error.
    pub(crate) fn new(config: &RateLimits, known: KnownMethods<'_>) -> Result<Self, String> {
        if HeaderName::try_from(&config.api_key_header).is_err() {
            let name = &config.api_key_header;
            return Err(format!(
                "gateway.rate_limits.api_key_header: {name:?} is not a header name, such as x-api-key"
            ));
        }
        let one = |(name, of): (&String, &Override)| {
            MethodOverride::new(name, of, known).map_err(|error| format!("{KEY}.{}.{error}", quoted(name)))
        };
        Ok(Self { all: config.overrides.iter().map(one).collect::<Result<_, _>>()?, fields: config.fields })
    }

    /// The methods that the descriptors of upstreams do not declare. Each message names the key.
    pub(crate) fn undeclared(&self, declared: &DeclaredMethods<'_>) -> Vec<String> {
        let of = |one: &MethodOverride| {
            reach::undeclared(&format!("{KEY}.{}.methods", quoted(&one.name)), &one.methods, declared)
        };
        self.all.iter().flat_map(of).collect()
    }

    /// The overrides of a method, in order of precedence.
    pub(super) fn of(&self, scope: &str, usual: &Terms) -> Vec<(Whom, Terms)> {
        let mut found: Vec<_> = self.all.iter().filter_map(|one| Some((one.rank(scope)?, one))).collect();
        // A stable sort: overrides of the same rank stay in the order of their names.
        found.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        found.into_iter().map(|(_, one)| (one.whom.clone(), one.terms(scope, usual, self.fields))).collect()
    }
}

impl MethodOverride {
    fn new(name: &str, of: &Override, known: KnownMethods<'_>) -> Result<Self, String> {
        if of.limits.is_empty() != of.unlimited {
            return Err("limits: state one or more, or unlimited = true, and not both".to_owned());
        }
        if of.limits.len() > MOST_RULES {
            return Err(format!("limits: {} are more than the maximum of {MOST_RULES}", of.limits.len()));
        }
        known.check(&of.methods, of.streams)?;
        let whom = Whom::new(of)?;
        let limits = of.limits.iter().map(limit).collect::<Result<Vec<_>, _>>()?;
        // An API key that the override lists cannot be made up.
        let is_proved = |limit: &RateLimit| limit.by.is_proved() || limit.by == By::ApiKey && !whom.api_keys.is_empty();
        if !limits.is_empty() && !limits.iter().any(is_proved) {
            let error = "limits: all count by headers, which callers can invent; add one by caller or address";
            return Err(error.to_owned());
        }
        let (methods, streams, failure_mode) = (of.methods.clone(), of.streams, of.failure_mode()?);
        Ok(Self { name: name.to_owned(), methods, whom, limits, streams, failure_mode })
    }

    /// How specific it is for a method: first by its callers, then by the length of the method. `None`: it does not
    /// match.
    fn rank(&self, scope: &str) -> Option<(u8, usize)> {
        let methods = self.methods.iter().filter(|method| covers(method, scope)).map(String::len).max();
        let methods = if self.methods.is_empty() { Some(0) } else { methods };
        Some((self.whom.rank(), methods?))
    }

    fn terms(&self, scope: &str, usual: &Terms, fields: Fields) -> Terms {
        let by_caller = |streams| StreamLimit { streams, by: By::Caller };
        let streams = (usual.streams.is_some() && self.streams > 0).then(|| by_caller(self.streams));
        let source = format!("{KEY}.{}", quoted(&self.name));
        let mut terms = Terms::new(
            scope,
            &self.limits,
            streams.as_ref(),
            self.failure_mode.unwrap_or(usual.failure_mode),
            source,
            fields,
        );
        if terms.streams.is_none() {
            terms.streams = usual.streams.as_ref().map(|(most, rule)| (*most, rule.clone()));
        }
        terms
    }
}

/// Whether `method` is the path `/package.Service/Method`, or a prefix of it that ends at the end of a name.
pub(crate) fn covers(method: &str, path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    let rest = path.strip_prefix(method.trim_end_matches(['.', '/']));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
}

fn limit(config: &crate::config::Limit) -> Result<RateLimit, String> {
    config.check().map_err(|error| format!("limits.{error}"))?;
    let by = match config.by.as_str() {
        "caller" => By::Caller,
        "address" => By::Address,
        "session" => By::Session,
        "api_key" => By::ApiKey,
        other => match other.strip_prefix("header:").map(HeaderName::try_from) {
            Some(Ok(name)) => By::Header(name.as_str().to_owned()),
            _ => {
                let expected = "expected caller, address, session, api_key, or header:NAME";
                return Err(format!("limits.by: {expected}, got {other:?}"));
            }
        },
    };
    let burst = if config.burst == 0 { config.requests } else { config.burst };
    let quota = match config.count {
        true => Quota::count(config.requests, config.period.0),
        false => Quota::new(config.requests, config.period.0, burst),
    };
    Ok(RateLimit { quota, cost: config.cost, by })
}

impl Whom {
    fn new(of: &Override) -> Result<Self, String> {
        let hash = |text: &String| {
            // The text is not repeated in the error: it may be the key itself.
            hash(text).ok_or("api_keys: expected the SHA-256 of each key, 64 hexadecimal digits".to_owned())
        };
        Ok(Self {
            api_keys: of.api_keys.iter().map(hash).collect::<Result<_, _>>()?,
            roles: of.roles.clone(),
            networks: Networks::new(&of.addresses).map_err(|error| format!("addresses: {error}"))?,
            addresses: of.addresses.clone(),
        })
    }

    /// Whether the override applies to all callers.
    pub(super) fn is_for_all(&self) -> bool {
        self.rank() == 0
    }

    /// The precedence: API keys before roles, roles before addresses.
    fn rank(&self) -> u8 {
        if !self.api_keys.is_empty() {
            3
        } else if !self.roles.is_empty() {
            2
        } else {
            u8::from(!self.addresses.is_empty())
        }
    }

    /// Whether the caller, with this hash of an API key, matches.
    pub(super) fn fits(&self, caller: &Caller<'_>, api_key: Option<&[u8; HASH]>) -> bool {
        let has_role = || {
            let roles = caller.principal.map_or(&[][..], Principal::roles);
            roles.iter().any(|role| self.roles.contains(role))
        };
        let has_key = || api_key.is_some_and(|hash| self.api_keys.contains(hash));
        // A client whose address is unknown is in no network.
        let is_within = || matches!(caller.client, Client::Known(address) if self.networks.contain(address));
        (self.api_keys.is_empty() || has_key())
            && (self.roles.is_empty() || has_role())
            && (self.addresses.is_empty() || is_within())
    }
}

/// The callers as `trellis policy` shows them.
impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.api_keys.is_empty() {
            parts.push(format!("{} API keys", self.api_keys.len()));
        }
        if !self.roles.is_empty() {
            parts.push(format!("role {}", self.roles.join(" or ")));
        }
        if !self.addresses.is_empty() {
            parts.push(format!("from {}", self.addresses.join(" or ")));
        }
        f.write_str(if parts.is_empty() { "all callers" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

fn hash(text: &str) -> Option<[u8; HASH]> {
    let mut bytes = [0; HASH];
    if text.len() != 2 * HASH || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}
