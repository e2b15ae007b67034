//! The methods that clients may call, by the path of gRPC.

use std::{collections::HashMap, sync::Arc};

use kit::policy::{Access, By, Policy, Priority, is_idempotent};
use kit::record::Meter;
use prost_reflect::MethodDescriptor;
use transcode::Registry;

use super::{FormTable, FormWarning, Found, Method, Route, RouteSources, SECONDS, Target, forms};
use crate::{
    config::Config,
    external::{Contract, DescriptorSource, ExternalUpstream},
    own_services::OwnServices,
    protocol::MethodCodec,
    rate_limit::MethodLimits,
    route_rules::RouteRules,
    upstream::Weight,
};

/// See the module.
#[derive(Default)]
pub(super) struct Methods {
    /// By path: the methods that a contract declares.
    declared: HashMap<String, Method>,
    /// By the longest prefix of the service's name that ends at a dot.
    rest: HashMap<String, Rest>,
}

/// The methods under a prefix of service names that are not declared.
pub(super) enum Rest {
    /// All of them share these settings.
    Open(Box<Method>),
    Closed,
    Unread,
    Nothing,
}

impl Methods {
    /// The methods of the mesh and of external upstreams.
    pub(super) fn new(config: &Config, sources: &RouteSources<'_>) -> Result<Self, String> {
        let mut methods = Self::default();
        for route in sources.mesh {
            methods.add_mesh(route, config, sources)?;
        }
        if let Some(own) = sources.own {
            methods.add_own(own, config, sources)?;
        }
        for external in sources.external {
            methods.insert_rest(&external.prefix, rest(external, config, sources));
        }
        for external in sources.external {
            if let Some(contract) = sources.contracts.get(&external.prefix) {
                methods.add_declared(external, contract, config, sources);
            }
        }
        Ok(methods)
    }

    pub(super) fn insert(&mut self, path: &str, method: Method) {
        self.declared.insert(path.to_owned(), method);
    }

    pub(super) fn insert_rest(&mut self, prefix: &str, rest: Rest) {
        self.rest.insert(prefix.to_owned(), rest);
    }

    /// The tables of the HTTP forms.
    pub(super) fn form_tables(
        &self,
        config: &Config,
        sources: &RouteSources<'_>,
    ) -> Result<(Vec<FormTable>, Vec<FormWarning>), String> {
        let mesh = sources.policies.descriptors().filter(|(path, _)| self.declared.contains_key(path));
        let mesh = mesh.map(|(_, method)| (sources.registry, method)).collect();
        let upstreams = sources.contracts.iter().map(|(prefix, contract)| {
            let open = contract.methods.iter().filter(|method| self.opens(&method.path, prefix));
            let open = open.map(|method| (contract.registry(), method.descriptor.clone())).collect();
            (Arc::clone(prefix), open)
        });
        forms::tables(mesh, upstreams.collect(), &config.forward_auth.path)
    }

    /// Whether a method that the upstream under `prefix` has declared is open.
    pub(super) fn opens(&self, path: &str, prefix: &str) -> bool {
        self.declared.contains_key(path) && self.owner(path) == Some(prefix)
    }

    fn add_mesh(&mut self, route: &Route, config: &Config, sources: &RouteSources<'_>) -> Result<(), String> {
        let Route { service, peer, addresses } = route;
        let cluster = sources.upstreams.mesh_cluster(peer, addresses);
        let cluster = cluster.map_err(|e| format!("peers.{peer}: {e}"))?;
        let callee: Arc<str> = peer.as_str().into();
        let prefix = format!("/{service}/");
        for (path, policy) in sources.policies.iter().filter(|(path, _)| path.starts_with(&prefix)) {
            // Internal methods are closed to outside callers.
            if !matches!(policy.access, Access::Internal { .. }) {
                let target = Target::Mesh { cluster: Arc::clone(&cluster), callee: Arc::clone(&callee) };
                let codec = sources.policies.descriptor(path).and_then(|it| codec(it, sources.registry, config));
                let method = Method { codec, ..declared(path, policy, target, config, sources) };
                self.declared.insert(path.to_owned(), method);
            }
        }
        Ok(())
    }

    /// Adds the methods of the services of this process. An error names the key of an upstream with the same name.
    fn add_own(&mut self, own: &OwnServices, config: &Config, sources: &RouteSources<'_>) -> Result<(), String> {
        for name in &own.names {
            if config.external.contains_key(*name) {
                return Err(format!("gateway.external.{name:?}: this process serves {name} itself"));
            }
            self.insert_rest(name, if own.are_public { Rest::Nothing } else { Rest::Closed });
        }
        let target = || Target::Here(own.routes.clone());
        for (path, descriptor) in sources.policies.descriptors().filter(|(path, _)| own.serve(path)) {
            let method = match sources.policies.get(&path) {
                Some(Policy { access: Access::Internal { .. }, .. }) => continue,
                Some(policy) => {
                    let method = declared(&path, policy, target(), config, sources);
                    Method { weight: None, reads_session_cookie: false, ..method }
                }
                None if own.are_public => {
                    let is_stream = descriptor.is_client_streaming() || descriptor.is_server_streaming();
                    let deadline = (!is_stream).then_some(sources.limits.deadline.0);
                    let method = undeclared(&path, target(), Access::Public, config, sources.rules);
                    Method { deadline, is_idempotent: is_idempotent(&descriptor), ..method }
                }
                None => continue,
            };
            let codec = codec(descriptor, sources.registry, config);
            self.declared.insert(path, Method { codec, ..method });
        }
        Ok(())
    }

    /// Adds the methods that an upstream's descriptors declare, with their policy or the configured default.
    fn add_declared(
        &mut self,
        external: &ExternalUpstream,
        contract: &Contract,
        config: &Config,
        sources: &RouteSources<'_>,
    ) {
        for method in &contract.methods {
            // The service may belong to another upstream with a longer prefix.
            if self.owner(&method.path) != Some(&*external.prefix) {
                continue;
            }
            let target = external_target(external);
            let known = match (&method.policy, &external.open) {
                (Some(Policy { access: Access::Internal { .. }, .. }), _) | (None, None) => continue,
                (Some(policy), _) => {
                    let known = declared(&method.path, policy, target, config, sources);
                    // Only the auth service reads the session cookie.
                    Method { reads_session_cookie: false, ..known }
                }
                (None, Some(access)) => {
                    let known = undeclared(&method.path, target, access.clone(), config, sources.rules);
                    let deadline = (!method.streams()).then_some(sources.limits.deadline.0);
                    let weight = (!method.streams()).then(|| Weight::new(Priority::Normal));
                    Method { deadline, is_idempotent: method.is_idempotent(), weight, ..known }
                }
            };
            let codec = codec(method.descriptor.clone(), contract.registry(), config);
            let known = Method { codec, ..known };
            self.declared.insert(method.path.clone(), known);
        }
    }

    /// Finds the method of a path.
    pub(super) fn find(&self, path: &str) -> Found<'_> {
        if let Some(method) = self.declared.get(path) {
            return Found::Method(method);
        }
        match self.owner(path).and_then(|prefix| self.rest.get(prefix)) {
            Some(Rest::Open(method)) => Found::Method(method),
            Some(Rest::Closed) => Found::Closed,
            Some(Rest::Unread) => Found::Unread,
            Some(Rest::Nothing) => Found::Undeclared,
            None => Found::Nothing,
        }
    }

    /// Whether the descriptors of the upstream under `prefix` were never read.
    pub(super) fn is_unread(&self, prefix: &str) -> bool {
        matches!(self.rest.get(prefix), Some(Rest::Unread))
    }

    /// Whether the descriptors of any upstream were never read.
    pub(super) fn has_unread(&self) -> bool {
        self.rest.values().any(|rest| matches!(rest, Rest::Unread))
    }

    /// The prefix to which a well-formed path belongs.
    fn owner<'a>(&self, path: &'a str) -> Option<&'a str> {
        service_of(path).and_then(|service| self.longest(service))
    }

    /// The longest known prefix of a service's name.
    fn longest<'a>(&self, service: &'a str) -> Option<&'a str> {
        let mut prefix = service;
        loop {
            if self.rest.contains_key(prefix) {
                return Some(prefix);
            }
            prefix = prefix.rsplit_once('.')?.0;
        }
    }
}

/// The service of a well-formed path: `/package.Service/Method`.
fn service_of(path: &str) -> Option<&str> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    (!method.is_empty() && !method.contains('/')).then_some(service)
}

/// Whether a path has the form of a procedure in a package: `/package.Service/Method`.
pub(super) fn is_procedure(path: &str) -> bool {
    let is_identifier = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    service_of(path).is_some_and(|service| {
        let method = &path[service.len() + 2..];
        service.contains('.') && service.split('.').chain([method]).all(is_identifier)
    })
}

/// The settings of the paths that no descriptor declares.
fn rest(external: &ExternalUpstream, config: &Config, sources: &RouteSources<'_>) -> Rest {
    match (&external.source, sources.contracts.contains_key(&external.prefix), &external.open) {
        (DescriptorSource::None, _, Some(access)) => Rest::Open(Box::new(undeclared(
            &external.prefix,
            external_target(external),
            access.clone(),
            config,
            sources.rules,
        ))),
        (DescriptorSource::None, _, None) => Rest::Closed,
        (_, false, _) => Rest::Unread,
        (_, true, Some(_)) => Rest::Nothing,
        (_, true, None) => Rest::Closed,
    }
}

fn codec(descriptor: MethodDescriptor, registry: &Registry, config: &Config) -> Option<Arc<MethodCodec>> {
    MethodCodec::new(descriptor, registry, &config.json).map(Arc::new)
}

fn external_target(external: &ExternalUpstream) -> Target {
    Target::ExternalUpstream {
        cluster: Arc::clone(&external.cluster),
        tokens: external.tokens.clone(),
        forwards_certificate: external.forwards_certificate,
        issuers: external.issuers.clone(),
        forwards_issuer_token: external.forwards_issuer_token,
    }
}

/// A method without a policy of its own.
pub(super) fn undeclared(label: &str, target: Target, access: Access, config: &Config, rules: &RouteRules) -> Method {
    let by = if access == Access::Public { By::Address } else { By::Caller };
    Method {
        meter: Meter::new(SECONDS, label.to_owned()),
        target,
        codec: None,
        method_limits: MethodLimits::new(label, None, by, config, &rules.overrides),
        rules: rules.of(label),
        access,
        step_up: None,
        deadline: None,
        resumable: false,
        reads_session_cookie: false,
        is_idempotent: false,
        weight: None,
    }
}

fn declared(path: &str, policy: &Policy, target: Target, config: &Config, sources: &RouteSources<'_>) -> Method {
    Method {
        meter: Meter::new(SECONDS, path.to_owned()),
        target,
        codec: None,
        access: policy.access.clone(),
        step_up: policy.step_up,
        method_limits: MethodLimits::new(path, Some(policy), By::Caller, config, &sources.rules.overrides),
        rules: sources.rules.of(path),
        deadline: policy.deadline.or((!policy.streams).then_some(sources.limits.deadline.0)),
        resumable: policy.streams && policy.idempotent && policy.deadline.is_none(),
        reads_session_cookie: policy.reads_session_cookie,
        is_idempotent: policy.idempotent,
        weight: (!policy.streams).then(|| Weight::new(policy.priority)),
    }
}
