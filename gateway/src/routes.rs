//! Maps the path of a call to its target and policy.

mod forms;

use std::{collections::HashMap, sync::Arc, time::Duration};

use kit::{
    balance::Addresses,
    identity::CallerTokens,
    limits::Limits,
    policy::{Access, By, Policy, Priority, StreamLimit, Table},
    record::Meter,
    server::PROBE,
};
use prost_reflect::MethodDescriptor;
use tonic::service::Routes as Here;
use transcode::Registry;

use crate::{
    config::Config,
    external::{Contract, Contracts, DescriptorSource, ExternalUpstream},
    protocol::{HttpForms, MethodCodec},
    rate_limit::{MethodLimits, Overrides},
    upstream::{Cluster, Upstreams, Weight},
};
pub(crate) use forms::{FormTable, tables as form_tables};

/// The histogram of the gateway's calls, by method and status.
const SECONDS: &str = "gateway_call_duration_seconds";

/// A service of the mesh behind the gateway.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its full name, as the contract has it.
    pub service: String,
    /// The name of its process: the audience of service tokens.
    pub peer: String,
    /// The addresses of its endpoints.
    pub addresses: Addresses,
}

/// The server of a call.
#[derive(Clone)]
pub(crate) enum Target {
    /// A service of the mesh.
    Mesh {
        /// Its endpoints.
        cluster: Arc<Cluster>,
        /// The audience of its service tokens.
        callee: Arc<str>,
    },
    /// A service outside the mesh.
    ExternalUpstream {
        /// Its endpoints.
        cluster: Arc<Cluster>,
        /// Issues the tokens that identify the caller to it.
        tokens: Option<Arc<CallerTokens>>,
    },
    /// The gateway itself.
    Here(Here),
}

/// The configuration of one method.
pub(crate) struct Method {
    /// Its metrics, by its path or, if it is not declared, its upstream's prefix: a made-up name gets neither a time
    /// series nor a quota of its own.
    pub(crate) meter: Arc<Meter>,
    pub(crate) target: Target,
    /// Its messages, for protocols that convert them; `None`: no descriptor declares the method.
    pub(crate) codec: Option<Arc<MethodCodec>>,
    pub(crate) access: Access,
    /// The rate limits and the stream limit.
    pub(crate) method_limits: MethodLimits,
    /// Default and maximum; `None`: the stream runs until its token expires.
    pub(crate) deadline: Option<Duration>,
    /// An endless stream that may safely be opened again.
    pub(crate) resumable: bool,
    pub(crate) reads_session_cookie: bool,
    /// Safe to repeat.
    pub(crate) is_idempotent: bool,
    /// Its priority when its upstream is overloaded; `None`: a stream, or an undeclared method.
    pub(crate) weight: Option<Weight>,
}

/// The result of a look-up.
pub(crate) enum Found<'a> {
    Method(&'a Method),
    /// A method that the configuration closes.
    Closed,
    /// A method of an upstream whose descriptors were never read.
    Unread,
    /// A method that its upstream's descriptors do not declare.
    Undeclared,
    Nothing,
}

impl Found<'_> {
    /// Whether it belongs to an upstream outside the mesh.
    pub(crate) fn is_external(&self) -> bool {
        match self {
            Self::Method(method) => matches!(method.target, Target::ExternalUpstream { .. }),
            Self::Closed | Self::Unread | Self::Undeclared => true,
            Self::Nothing => false,
        }
    }
}

/// The methods under a prefix of service names that are not declared.
enum Rest {
    /// All of them share these settings.
    Open(Box<Method>),
    Closed,
    Unread,
    Nothing,
}

/// The routing table. An unknown path has no target.
pub(crate) struct Routes {
    /// By path: the methods that a contract declares.
    methods: HashMap<String, Method>,
    /// By the longest prefix of the service's name that ends at a dot.
    rest: HashMap<String, Rest>,
    /// The tables of `http`.
    pub(crate) tables: Vec<FormTable>,
    /// The HTTP forms of the methods.
    pub(crate) http: Arc<HttpForms>,
    /// The metrics of unknown paths: made-up names share one.
    pub(crate) unknown: Arc<Meter>,
}

/// The sources of routes besides the configuration.
pub(crate) struct RouteSources<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) policies: &'a Table,
    /// The messages of the mesh's contracts.
    pub(crate) registry: &'a Registry,
    pub(crate) mesh: &'a [Route],
    pub(crate) upstreams: &'a Upstreams,
    pub(crate) external: &'a [ExternalUpstream],
    pub(crate) contracts: &'a Contracts,
    pub(crate) overrides: &'a Overrides,
}

impl Routes {
    /// The routes to the mesh and to external upstreams.
    pub(crate) fn new(config: &Config, sources: &RouteSources<'_>) -> Result<Self, String> {
        let http = HttpForms::new(Vec::new(), sources.registry.clone(), &config.json);
        let unknown = Meter::new(SECONDS, "unknown");
        let mut routes = Self { methods: HashMap::new(), rest: HashMap::new(), tables: Vec::new(), http, unknown };
        for route in sources.mesh {
            routes.add_mesh(route, config, sources)?;
        }
        for external in sources.external {
            routes.rest.insert(external.prefix.to_string(), rest(external, config, sources));
        }
        for external in sources.external {
            if let Some(contract) = sources.contracts.get(&external.prefix) {
                routes.add_declared(external, contract, config, sources);
            }
        }
        routes.tables = routes.form_tables(sources)?;
        let tables = routes.tables.iter().map(|of| Arc::clone(&of.table)).collect();
        routes.http = HttpForms::new(tables, sources.registry.clone(), &config.json);
        Ok(routes)
    }

    /// Adds the `services` that the gateway serves itself.
    pub(crate) fn add_here(&mut self, here: &Here, services: &[&str], config: &Config, sources: &RouteSources<'_>) {
        for service in services {
            let method = undeclared(service, Target::Here(here.clone()), Access::Public, config, sources.overrides);
            // These streams have no end of their own.
            let streams = StreamLimit { streams: sources.limits.introspection_streams, by: By::Address };
            let limited = Method { method_limits: method.method_limits.with_streams(service, &streams), ..method };
            self.rest.insert((*service).to_owned(), Rest::Open(Box::new(limited)));
        }
        // Probes are frequent and are no streams.
        let probe = undeclared(PROBE, Target::Here(here.clone()), Access::Public, config, sources.overrides);
        self.methods.insert(PROBE.to_owned(), probe);
    }

    /// The tables of the HTTP forms.
    fn form_tables(&self, sources: &RouteSources<'_>) -> Result<Vec<FormTable>, String> {
        let mesh = sources.policies.descriptors().filter(|(path, _)| self.methods.contains_key(path));
        let mesh = mesh.map(|(_, method)| (sources.registry, method)).collect();
        let upstreams = sources.contracts.iter().map(|(prefix, contract)| {
            let open = contract.methods.iter().filter(|method| self.opens(&method.path, prefix));
            let open = open.map(|method| (contract.registry(), method.descriptor.clone())).collect();
            (Arc::clone(prefix), open)
        });
        forms::tables(mesh, upstreams.collect())
    }

    /// Whether a method that the upstream under `prefix` has declared is open.
    pub(crate) fn opens(&self, path: &str, prefix: &str) -> bool {
        self.methods.contains_key(path) && self.owner(path) == Some(prefix)
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
                self.methods.insert(path.to_owned(), method);
            }
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
                    let known = undeclared(&method.path, target, access.clone(), config, sources.overrides);
                    let deadline = (!method.streams()).then_some(sources.limits.deadline.0);
                    let weight = (!method.streams()).then(|| Weight::new(Priority::Normal));
                    Method { deadline, is_idempotent: method.is_idempotent(), weight, ..known }
                }
            };
            let codec = codec(method.descriptor.clone(), contract.registry(), config);
            let known = Method { codec, ..known };
            self.methods.insert(method.path.clone(), known);
        }
    }

    /// Finds the method of a path.
    pub(crate) fn find(&self, path: &str) -> Found<'_> {
        if let Some(method) = self.methods.get(path) {
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

/// The settings of the paths that no descriptor declares.
fn rest(external: &ExternalUpstream, config: &Config, sources: &RouteSources<'_>) -> Rest {
    match (&external.source, sources.contracts.contains_key(&external.prefix), &external.open) {
        (DescriptorSource::None, _, Some(access)) => Rest::Open(Box::new(undeclared(
            &external.prefix,
            external_target(external),
            access.clone(),
            config,
            sources.overrides,
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
    Target::ExternalUpstream { cluster: Arc::clone(&external.cluster), tokens: external.tokens.clone() }
}

/// A method without a policy of its own.
fn undeclared(label: &str, target: Target, access: Access, config: &Config, overrides: &Overrides) -> Method {
    let by = if access == Access::Public { By::Address } else { By::Caller };
    Method {
        meter: Meter::new(SECONDS, label.to_owned()),
        target,
        codec: None,
        method_limits: MethodLimits::new(label, None, by, config, overrides),
        access,
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
        method_limits: MethodLimits::new(path, Some(policy), By::Caller, config, sources.overrides),
        deadline: policy.deadline.or((!policy.streams).then_some(sources.limits.deadline.0)),
        resumable: policy.streams && policy.idempotent && policy.deadline.is_none(),
        reads_session_cookie: policy.reads_session_cookie,
        is_idempotent: policy.idempotent,
        weight: (!policy.streams).then(|| Weight::new(policy.priority)),
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
