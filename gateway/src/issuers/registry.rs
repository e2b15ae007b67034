//! The issuers of a configuration. An issuer whose section stays the same keeps its keys through a reload.

use std::{collections::HashMap, sync::Arc};

use http::{
    HeaderName,
    header::{AUTHORIZATION, COOKIE},
};
use kit::config::quoted;
use parking_lot::Mutex;

use super::{AcceptedIssuers, Issuer};
use crate::{
    config::{Config, TokenIssuerConfig},
    http::{headers, reserved::is_like},
};

/// The section of the configuration.
const KEY: &str = "gateway.token_issuers";

/// The key of an issuer.
pub(super) fn key(name: &str) -> String {
    format!("{KEY}.{}", quoted(name))
}

/// See the module.
#[derive(Default)]
pub(crate) struct IssuerRegistry(Mutex<HashMap<String, Arc<Issuer>>>);

impl IssuerRegistry {
    /// The issuers of a configuration. Errors name the key. [`Self::keep`] stores them once the configuration applies.
    pub(crate) fn of(&self, config: &Config) -> Result<HashMap<String, Arc<Issuer>>, String> {
        check(config)?;
        let known = self.0.lock();
        let mut next = HashMap::new();
        for (name, of) in &config.token_issuers {
            let issuer = match known.get(name).filter(|issuer| issuer.config == *of) {
                Some(issuer) => Arc::clone(issuer),
                None => Arc::new(Issuer::new(name, of, claim_headers(name, of)?)),
            };
            next.insert(name.clone(), issuer);
        }
        Ok(next)
    }

    /// Keeps the issuers of the configuration in force for the next one.
    pub(crate) fn keep(&self, issuers: &[Arc<Issuer>]) {
        *self.0.lock() = issuers.iter().map(|issuer| (issuer.name.to_string(), Arc::clone(issuer))).collect();
    }
}

impl AcceptedIssuers {
    /// Those with these names, which [`check`] has found.
    pub(crate) fn named(names: &[String], issuers: &HashMap<String, Arc<Issuer>>) -> Self {
        Self::new(names.iter().filter_map(|name| issuers.get(name).cloned()).collect())
    }
}

/// Checks the section, and the names in `token_issuers` of upstreams. Errors name the key.
pub(crate) fn check(config: &Config) -> Result<(), String> {
    // First: a misspelled name would otherwise be reported as an issuer without effect.
    for (prefix, upstream) in &config.external {
        if let Some(missing) = upstream.token_issuers.iter().find(|name| !config.token_issuers.contains_key(*name)) {
            return Err(format!("gateway.external.{prefix:?}.token_issuers: {} does not exist", key(missing)));
        }
    }
    let mut stated: HashMap<&str, &str> = HashMap::new();
    for (name, of) in &config.token_issuers {
        of.check().map_err(|error| format!("{}.{error}", key(name)))?;
        let claimed = claim_headers(name, of)?;
        let (names, sets) = (names(&claimed), &config.authorization.sets);
        if let Some((one, other)) = headers::alike(&names) {
            return Err(format!(
                "{}.claim_headers: {one} and {other} are one name for servers that do not distinguish `_` and `-`; \
                 keep one",
                key(name)
            ));
        }
        let is_set = |header: &&HeaderName| sets.iter().any(|set| is_like(header.as_str(), &set.to_ascii_lowercase()));
        if let Some(header) = names.iter().find(is_set) {
            return Err(format!("{}.claim_headers: {header} is in gateway.authorization.sets too", key(name)));
        }
        if let Some(other) = stated.insert(&of.issuer, name) {
            return Err(format!("{}.issuer: is that of {} too", key(name), key(other)));
        }
        if !config.external.values().any(|upstream| upstream.token_issuers.contains(name)) {
            return Err(format!("{} has no effect: no upstream names it in token_issuers", key(name)));
        }
    }
    for (prefix, upstream) in &config.external {
        if upstream.forward_issuer_token && upstream.token_issuers.is_empty() {
            return Err(format!(
                "gateway.external.{prefix:?}.forward_issuer_token has no effect without token_issuers"
            ));
        }
    }
    Ok(())
}

/// The headers that only verified claims set, of all issuers.
pub(crate) fn all_claim_headers(config: &Config) -> Vec<HeaderName> {
    let names = config.token_issuers.values().flat_map(|of| of.claim_headers.keys());
    names.filter_map(|name| HeaderName::try_from(name).ok()).collect()
}

fn names(headers: &[(HeaderName, String)]) -> Vec<HeaderName> {
    headers.iter().map(|(name, _)| name.clone()).collect()
}

fn claim_headers(name: &str, config: &TokenIssuerConfig) -> Result<Vec<(HeaderName, String)>, String> {
    let read = |(header, claim): (&String, &String)| {
        let bad = |why: &str| format!("{}.claim_headers: {header:?} {why}", key(name));
        let name = HeaderName::try_from(header).map_err(|_| bad("is not a header name, such as x-customer"))?;
        let is_own = headers::is_client_address(&name) || [AUTHORIZATION, COOKIE].contains(&name);
        if is_own || !headers::is_of_client(&name) {
            return Err(bad("is set by clients or by the gateway itself"));
        }
        if name.as_str().ends_with("-bin") {
            return Err(bad("ends with -bin: gRPC would read the value as base64"));
        }
        Ok((name, claim.clone()))
    };
    config.claim_headers.iter().map(read).collect()
}
