//! Checks that the methods of a rule exist. A rule without methods would have no effect, unnoticed.

use std::collections::{BTreeMap, HashMap};

use kit::policy::{Access, Table};

use super::overrides::covers;
use crate::config::{ExternalConfig, FORWARD_AUTH, INTROSPECTION, is_under};

/// The paths of the methods that the descriptors of upstreams declare, by prefix.
pub(crate) type DeclaredMethods<'a> = HashMap<&'a str, Vec<&'a str>>;

/// The methods that a rule may name.
#[derive(Clone, Copy)]
pub(crate) struct KnownMethods<'a> {
    /// The mesh's own methods.
    pub(crate) policies: &'a Table,
    /// The upstreams, by prefix.
    pub(crate) external: &'a BTreeMap<String, ExternalConfig>,
}

impl KnownMethods<'_> {
    /// Checks the methods of an override that also states a limit of `streams`.
    pub(super) fn check(&self, methods: &[String], streams: u32) -> Result<(), String> {
        // Not a method, but limited as one.
        let is_method = |method: &&String| *method != FORWARD_AUTH;
        methods
            .iter()
            .filter(is_method)
            .try_for_each(|method| self.check_one(method).map_err(|error| format!("methods: {error}")))?;
        let has_limit = |method: &String| {
            let mut covered = self.policies.iter().filter(|(path, _)| covers(method, path)).peekable();
            // The contracts of external upstreams are not known yet.
            covered.peek().is_none() || covered.any(|(_, policy)| policy.stream_limit.is_some())
        };
        if streams > 0 && !methods.is_empty() && !methods.iter().filter(is_method).any(has_limit) {
            return Err("streams: the contract limits the streams of none of these methods; remove it".to_owned());
        }
        Ok(())
    }

    /// Checks that clients may call the methods.
    pub(crate) fn check_names(&self, methods: &[String]) -> Result<(), String> {
        methods.iter().try_for_each(|method| self.check_one(method))
    }

    fn check_one(&self, method: &str) -> Result<(), String> {
        let is_callable = |path: &str| {
            let policy = self.policies.get(path);
            policy.is_some_and(|policy| !matches!(policy.access, Access::Internal { .. }))
        };
        if INTROSPECTION.iter().any(|service| covers(method, service))
            || self.policies.iter().any(|(path, _)| covers(method, path) && is_callable(path))
            || self.external.keys().any(|prefix| covers(method, prefix))
        {
            return Ok(());
        }
        match upstream_of(method, self.external.keys().map(String::as_str)) {
            Some(prefix) if self.external[prefix].descriptors.is_empty() => Err(format!(
                "{method:?} belongs to gateway.external.{prefix:?}, which has no descriptors, so that its calls \
                 are limited together: name {prefix:?}, or set its descriptors"
            )),
            Some(_) => Ok(()),
            None => Err(format!(
                "{method:?} is not a method or service that clients may call, neither of the mesh nor under a \
                 prefix of gateway.external"
            )),
        }
    }
}

/// The methods of the list under `key` that the descriptors of their upstream do not declare, as messages.
pub(crate) fn undeclared(key: &str, methods: &[String], declared: &DeclaredMethods<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for method in methods {
        let Some(prefix) = upstream_of(method, declared.keys().copied()) else { continue };
        let Some(paths) = declared.get(prefix) else { continue };
        if !covers(method, prefix) && !paths.iter().any(|path| covers(method, path)) {
            found.push(format!("{key}: the descriptors of gateway.external.{prefix:?} declare no {method:?}"));
        }
    }
    found
}

/// The longest of `prefixes` that contains `method`.
fn upstream_of<'a>(method: &str, prefixes: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let service = method.split('/').next().unwrap_or_default().trim_end_matches('.');
    prefixes.filter(|prefix| is_under(prefix, service)).max_by_key(|prefix| prefix.len())
}
