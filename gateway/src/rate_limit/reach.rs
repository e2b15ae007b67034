//! Checks that the methods of a rule exist. A rule without methods would have no effect, unnoticed.

use std::collections::{BTreeMap, HashMap};

use kit::policy::{Access, Table};

use super::overrides::covers;
use crate::{
    config::{ExternalConfig, FORWARD_AUTH, INTROSPECTION, is_under},
    own_services::OwnServices,
};

/// The paths of the methods that the descriptors of upstreams declare, by prefix.
pub(crate) type DeclaredMethods<'a> = HashMap<&'a str, Vec<&'a str>>;

/// The methods that a rule may name.
#[derive(Clone, Copy)]
pub(crate) struct KnownMethods<'a> {
    /// The mesh's own methods.
    pub(crate) policies: &'a Table,
    /// The upstreams, by prefix.
    pub(crate) external: &'a BTreeMap<String, ExternalConfig>,
    /// The services of this process.
    pub(crate) own: Option<&'a OwnServices>,
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

    /// Whether this process serves such a method and opens it without a policy.
    fn is_own(&self, method: &str) -> bool {
        let is_open = |own: &OwnServices, path: &str| own.serve(path) && self.policies.get(path).is_none();
        self.own.filter(|own| own.are_public).is_some_and(|own| {
            self.policies.descriptors().any(|(path, _)| covers(method, &path) && is_open(own, &path))
        })
    }

    fn check_one(&self, method: &str) -> Result<(), String> {
        let is_callable = |path: &str| {
            let policy = self.policies.get(path);
            policy.is_some_and(|policy| !matches!(policy.access, Access::Internal { .. }))
        };
        if INTROSPECTION.iter().any(|service| covers(method, service))
            || self.policies.iter().any(|(path, _)| covers(method, path) && is_callable(path))
            || self.external.keys().any(|prefix| covers(method, prefix))
            || self.is_own(method)
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

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::{
        DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
    };

    use super::*;

    #[test]
    fn rule_may_name_public_services_of_this_process() {
        let some = |text: &str| Some(text.to_owned());
        let (input, output) = (some(".own.Note"), some(".own.Note"));
        let say =
            MethodDescriptorProto { name: some("Say"), input_type: input, output_type: output, ..Default::default() };
        let service =
            |name| ServiceDescriptorProto { name: some(name), method: vec![say.clone()], ..Default::default() };
        let file = FileDescriptorProto {
            name: some("own.proto"),
            package: some("own"),
            syntax: some("proto3"),
            message_type: vec![DescriptorProto { name: some("Note"), ..Default::default() }],
            service: vec![service("Here"), service("Elsewhere")],
            ..Default::default()
        };
        let descriptors: &'static [u8] = FileDescriptorSet { file: vec![file] }.encode_to_vec().leak();
        let policies = &Table::from_descriptors(descriptors).unwrap();
        let mut own = OwnServices::new(descriptors);
        own.names.insert("own.Here");
        let is_known = |own: &OwnServices, method: &str| {
            KnownMethods { policies, external: &BTreeMap::new(), own: Some(own) }.check_one(method).is_ok()
        };
        assert!(!is_known(&own, "own.Here"), "no client may call it");
        let own = own.public();
        for (method, expected) in
            [("own.Here/Say", true), ("own", true), ("own.Here/Shout", false), ("own.Elsewhere", false)]
        {
            assert_eq!(is_known(&own, method), expected, "{method}");
        }
    }
}
