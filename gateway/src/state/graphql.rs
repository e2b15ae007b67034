//! The GraphQL schema of the methods that clients may call.

use std::sync::Arc;

use graphql::{Api, Method, Options, Source};
use kit::policy::{Access, Policy, Table};
use transcode::Registry;

use crate::{config::Config, external::Contracts, protocol::registry};

/// The schema, built with the snapshot: no request waits for it.
pub(crate) struct GraphqlSchema {
    /// `None`: there is no method, or the names of the mesh are not unique.
    pub(crate) api: Option<Api>,
    pub(super) conflicts: Vec<Conflict>,
}

/// Why the methods of an upstream are not part of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) upstream: String,
    pub(super) error: String,
}

/// The methods of the mesh or of an external upstream.
pub(super) struct Services {
    /// The prefix of the upstream; `None`: the mesh.
    pub(super) prefix: Option<Arc<str>>,
    pub(super) registry: Registry,
    pub(super) methods: Vec<Method>,
}

impl Services {
    fn source(&self) -> Source<'_> {
        Source { prefix: self.prefix.as_deref(), registry: &self.registry, methods: self.methods.clone() }
    }
}

impl GraphqlSchema {
    /// Builds the schema of the mesh, then the external upstreams that take part. One whose names conflict with those
    /// before it is left out.
    pub(super) fn new(services: &[Services], options: Options) -> Self {
        let (mut sources, mut api, mut conflicts) = (Vec::<&Services>::new(), None, Vec::new());
        for services in services.iter().filter(|services| !services.methods.is_empty()) {
            sources.push(services);
            match Api::new(&sources.iter().map(|services| services.source()).collect::<Vec<_>>(), options) {
                Ok(built) => api = Some(built),
                Err(error) => {
                    sources.pop();
                    let upstream = services.prefix.as_deref().unwrap_or("mesh").to_owned();
                    conflicts.push(Conflict { upstream, error });
                }
            }
        }
        Self { api, conflicts }
    }

    /// The conflicts as errors of the configuration.
    pub(super) fn errors(&self) -> impl Iterator<Item = String> {
        self.conflicts
            .iter()
            .map(|Conflict { upstream, error }| format!("gateway.external.{upstream:?}.graphql: {error}"))
    }

    /// Logs the conflicts, except those of the schema `before`.
    pub(super) fn warn(&self, before: Option<&Self>) {
        let before = before.map_or(&[][..], |before| &before.conflicts);
        for Conflict { upstream, error } in self.conflicts.iter().filter(|one| !before.contains(one)) {
            tracing::warn!(upstream, error, "the services have no GraphQL form");
        }
    }
}

/// Checks that the names of the mesh and of the upstreams that take part are unique, before a gateway is started.
pub(super) fn check(config: &Config, policies: &Table, contracts: &Contracts) -> Result<(), String> {
    if !config.graphql.enabled {
        return Ok(());
    }
    let is_open = |policy: &Policy| !matches!(policy.access, Access::Internal { .. });
    let mesh = policies.descriptors().filter(|(path, _)| policies.get(path).is_some_and(is_open));
    let mesh = mesh.map(|(_, descriptor)| Method { descriptor, cost: 1 }).collect();
    let mut services = vec![Services { prefix: None, registry: registry(policies.pool()), methods: mesh }];
    for (prefix, of) in config.external.iter().filter(|(_, of)| of.graphql) {
        let Some(contract) = contracts.get(prefix.as_str()) else { continue };
        let is_default_open = of.access.access().is_some();
        let open = contract.methods.iter().filter(|method| method.policy.as_ref().map_or(is_default_open, is_open));
        let methods = open.map(|method| Method { descriptor: method.descriptor.clone(), cost: 1 }).collect();
        let registry = contract.registry().clone();
        services.push(Services { prefix: Some(prefix.as_str().into()), registry, methods });
    }
    let schema = GraphqlSchema::new(&services, config.graphql.options(&config.json, 0, on_panic));
    schema.errors().next().map_or(Ok(()), Err)
}

/// Counts a panic of an operation, whose client receives an error. The panic hook has logged where it happened.
pub(super) fn on_panic(message: &str) {
    tracing::error!(panic = message, "a GraphQL operation has panicked; its client received INTERNAL");
    metrics::counter!("gateway_graphql_panics_total").increment(1);
}

/// The cost of a call in the rate limits of the contract.
pub(super) fn cost(policy: Option<&Policy>) -> usize {
    let costs = policy.into_iter().flat_map(|policy| &policy.rate_limits).map(|limit| limit.cost as usize);
    costs.max().unwrap_or_default().max(1)
}
