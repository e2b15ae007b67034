//! Checks that the methods of an override exist. An override without methods would limit nothing, unnoticed.

use std::collections::{BTreeMap, HashMap};

use kit::policy::{Access, Table};

use super::overrides::covers;
use crate::config::{ExternalConfig, INTROSPECTION, is_under};

/// The paths of the methods that the descriptors of upstreams declare, by prefix.
pub(crate) type DeclaredMethods<'a> = HashMap<&'a str, Vec<&'a str>>;

/// The methods that an override may name.
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
        methods.iter().try_for_each(|method| self.check_one(method))?;
        let has_limit = |method: &String| {
            let mut covered = self.policies.iter().filter(|(path, _)| covers(method, path)).peekable();
            // The contracts of external upstreams are not known yet.
            covered.peek().is_none() || covered.any(|(_, policy)| policy.stream_limit.is_some())
        };
        if streams > 0 && !methods.is_empty() && !methods.iter().any(has_limit) {
            return Err("streams: the contract limits the streams of none of these methods; remove it".to_owned());
        }
        Ok(())
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
                "methods: {method:?} belongs to gateway.external.{prefix:?}, which has no descriptors, so that its calls \
                 are limited together: name {prefix:?}, or set its descriptors"
            )),
            Some(_) => Ok(()),
            None => Err(format!(
                "methods: {method:?} is not a method or service that clients may call, neither of the mesh nor under a \
                 prefix of gateway.external"
            )),
        }
    }
}

/// The methods of an override that the descriptors of their upstream do not declare, with that upstream.
pub(super) fn undeclared<'a>(methods: &'a [String], declared: &DeclaredMethods<'a>) -> Vec<(&'a str, &'a str)> {
    let mut found = Vec::new();
    for method in methods {
        let Some(prefix) = upstream_of(method, declared.keys().copied()) else { continue };
        let Some(paths) = declared.get(prefix) else { continue };
        if !covers(method, prefix) && !paths.iter().any(|path| covers(method, path)) {
            found.push((method.as_str(), prefix));
        }
    }
    found
}

/// The longest of `prefixes` that contains `method`.
fn upstream_of<'a>(method: &str, prefixes: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let service = method.split('/').next().unwrap_or_default().trim_end_matches('.');
    prefixes.filter(|prefix| is_under(prefix, service)).max_by_key(|prefix| prefix.len())
}
