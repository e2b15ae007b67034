//! The state that a reload replaces as a whole: routes, origins, proxies, descriptors. A call keeps the snapshot that it
//! began with.

use std::{io, sync::Arc, time::Duration};

use graphql::Method;
use http::{HeaderName, HeaderValue};
use kit::{
    config::Span,
    descriptors,
    policy::Policy,
    server::{self, ServiceContext},
};
use prost_types::FileDescriptorSet;
use tonic::service::Routes as Here;
use transcode::Registry;

use super::{
    graphql::{GraphqlSchema, Services, cost, on_panic},
    last_good::LastGood,
    openapi::OpenApi,
    persisted::PersistedQueries,
};
use crate::{
    authorization::Authorizer,
    config::{Config, INTROSPECTION},
    external::{self, Contract, Contracts, DescriptorSource, ExternalUpstream},
    http::{client_address::Proxies, cors::Origins},
    issuers::{AcceptedIssuers, Issuer, IssuerRegistry, all_claim_headers},
    own_services::OwnServices,
    rate_limit::KnownMethods,
    route_rules::{InFlightCounts, RouteRules},
    routes::{FormWarning, Found, Route, RouteSources, Routes},
    tls::ClientTrust,
    upstream::Upstreams,
};

/// See the module.
pub(crate) struct Snapshot {
    pub(crate) config: Config,
    pub(crate) routes: Routes,
    pub(crate) origins: Origins,
    pub(crate) proxies: Proxies,
    pub(crate) openapi: OpenApi,
    /// `None`: GraphQL is switched off.
    pub(crate) graphql: Option<GraphqlSchema>,
    /// The persisted GraphQL operations, if the configuration names a file.
    pub(crate) persisted: Option<Arc<PersistedQueries>>,
    /// The authorization service.
    pub(crate) authorizer: Option<Authorizer>,
    pub(crate) external: Vec<ExternalUpstream>,
    /// What verifies the certificates of clients; `None`: they present none.
    pub(crate) client_trust: Option<Arc<ClientTrust>>,
    /// The issuers of tokens outside the mesh.
    pub(crate) issuers: Vec<Arc<Issuer>>,
    /// The headers that only verified claims set.
    pub(crate) claim_headers: Vec<HeaderName>,
    /// How often descriptors and files are read again.
    pub(crate) refresh: Duration,
    /// `strict-transport-security`, if it is sent.
    pub(crate) hsts: Option<HeaderValue>,
    /// Rules for methods that no descriptors declare.
    pub(super) undeclared: Vec<String>,
    /// The prefixes of external upstreams whose methods are all closed.
    pub(crate) closed: Vec<Arc<str>>,
    /// The prefixes of external upstreams with methods for users, of whom this gateway knows none.
    without_users: Vec<Arc<str>>,
}

/// What every snapshot of a gateway is built with.
pub(super) struct Fixed<'a> {
    pub(super) context: &'a ServiceContext,
    pub(super) mesh: &'a [Route],
    pub(super) own: Option<&'a OwnServices>,
    pub(super) registry: &'a Registry,
    pub(super) health: &'a Here,
    pub(super) upstreams: &'a Upstreams,
    pub(super) in_flight: &'a InFlightCounts,
    pub(super) issuers: &'a IssuerRegistry,
}

impl Snapshot {
    /// Builds the state of a configuration, its files and its upstreams' descriptors. The error names the invalid key.
    pub(super) fn new(config: &Config, fixed: &Fixed<'_>, known: &LastGood) -> Result<Self, String> {
        let Fixed { context, mesh, own, registry, health, upstreams, in_flight, issuers } = *fixed;
        let limits = &context.limits;
        let without_users = mesh.is_empty();
        config.external.iter().try_for_each(|(prefix, of)| external::check_callers(prefix, of, without_users))?;
        let issuers = issuers.of(config)?;
        let external = config.external.iter().map(|(prefix, of)| {
            let (trust, accepted) =
                (known.trusts.get(prefix.as_str()), AcceptedIssuers::named(&of.token_issuers, &issuers));
            ExternalUpstream::new(prefix, of, trust, upstreams, &context.identity, accepted)
        });
        let external = external.collect::<Result<Vec<_>, _>>()?;
        let contracts = &known.contracts;
        let policies = &context.policies;
        let rules = &RouteRules::new(config, KnownMethods { policies, external: &config.external, own }, in_flight)?;
        let undeclared = rules.undeclared(&external::declared_methods(contracts));
        let sources =
            RouteSources { limits, policies, registry, mesh, own, upstreams, external: &external, contracts, rules };
        let mut routes = Routes::new(config, &sources)?;
        let graphql = config.graphql.enabled.then(|| graphql(config, &routes, &sources));
        let shown = shown(context, (mesh, own), contracts, &routes).map_err(|e| e.to_string())?;
        let mut here = health.clone().into_axum_router();
        let mut services = &INTROSPECTION[..1];
        if limits.reflection {
            let reflection = server::reflection(&shown).map_err(|e| e.to_string())?;
            here = here.merge(reflection.into_axum_router().reset_fallback());
            services = &INTROSPECTION;
        }
        routes.add_here(&Here::from(here), services, config, &sources);
        Ok(Self {
            openapi: if config.json.openapi {
                let title = if own.is_some() { "API" } else { "Trellis" };
                OpenApi::new(&routes, title, limits.message_bytes, config)
            } else {
                OpenApi::default()
            },
            graphql,
            persisted: known.persisted.clone(),
            closed: closed(&external, contracts, &routes),
            without_users: if without_users { for_users(config, contracts) } else { Vec::new() },
            routes,
            authorizer: Authorizer::new(&config.authorization, known.authorization.as_ref(), upstreams)?,
            origins: Origins::new(&config.cors_origins)?,
            proxies: Proxies::new(&config.trusted_proxies, config.client_address_header)?,
            refresh: config.descriptors_refresh.0,
            config: config.clone(),
            external,
            client_trust: known.clients.clone(),
            issuers: issuers.into_values().collect(),
            claim_headers: all_claim_headers(config),
            hsts: hsts(config.tls.hsts),
            undeclared,
        })
    }
}

impl Snapshot {
    /// Whether a path is that of an OpenAPI document whose upstream has descriptors that were never read.
    pub(crate) fn is_document_unread(&self, path: &str) -> bool {
        let prefix = path.strip_prefix("/openapi/").and_then(|name| name.strip_suffix(".json"));
        self.config.json.openapi && prefix.is_some_and(|prefix| self.routes.is_unread(prefix))
    }

    /// Whether the GraphQL explorer is served.
    pub(crate) fn has_explorer(&self) -> bool {
        self.config.graphql.has_explorer()
    }

    /// The errors of a configuration whose parts do not fit the descriptors.
    pub(super) fn errors(&self) -> impl Iterator<Item = String> {
        let of_graphql = self.graphql.iter().flat_map(GraphqlSchema::errors);
        self.undeclared.iter().cloned().chain(of_graphql)
    }

    /// Logs the faults in the HTTP and GraphQL forms of upstreams, except those that the snapshot `before` has too.
    pub(super) fn warn(&self, before: Option<&Self>) {
        if let Some(graphql) = &self.graphql {
            graphql.warn(before.and_then(|before| before.graphql.as_ref()));
        }
        let is_new = before.is_none_or(|before| before.config.graphql.enabled);
        if self.graphql.is_none() && is_new {
            for (prefix, _) in self.config.external.iter().filter(|(_, of)| of.graphql) {
                tracing::warn!("gateway.external.{prefix:?}.graphql has no effect: set gateway.graphql.enabled = true");
            }
        }
        let warnings = before.map_or(&[][..], |before| &before.routes.warnings);
        for FormWarning { upstream, problem } in new_warnings(&self.routes.warnings, warnings) {
            tracing::warn!(%upstream, problem, "a fault in the HTTP forms of an upstream");
        }
        for prefix in new_warnings(&self.closed, before.map_or(&[], |before| &before.closed)) {
            tracing::warn!("no method of {prefix} is callable: set gateway.external.{prefix:?}.access");
        }
        for prefix in new_warnings(&self.without_users, before.map_or(&[], |before| &before.without_users)) {
            tracing::warn!(
                "methods of {prefix} that are for users admit no caller, because this gateway has no auth service: set \
                 gateway.external.{prefix:?}.token_issuers"
            );
        }
    }
}

fn new_warnings<'a, W: PartialEq>(now: &'a [W], before: &[W]) -> Vec<&'a W> {
    now.iter().filter(|one| !before.contains(one)).collect()
}

/// The prefixes under which no method is callable. Descriptors that have not been read yet may still open one.
fn closed(external: &[ExternalUpstream], contracts: &Contracts, routes: &Routes) -> Vec<Arc<str>> {
    let is_closed = |of: &&ExternalUpstream| match contracts.get(&of.prefix) {
        Some(contract) => !contract.methods.iter().any(|method| routes.opens(&method.path, &of.prefix)),
        None => of.source == DescriptorSource::None && of.open.is_none(),
    };
    external.iter().filter(is_closed).map(|of| Arc::clone(&of.prefix)).collect()
}

/// The prefixes of upstreams without token issuers whose contracts have methods for users.
fn for_users(config: &Config, contracts: &Contracts) -> Vec<Arc<str>> {
    let is_for_users = |policy: &Option<Policy>| policy.as_ref().is_some_and(|policy| policy.access.is_for_users());
    let is_one = |(prefix, contract): &(&Arc<str>, &Arc<Contract>)| {
        let has_issuers = config.external.get(&***prefix).is_some_and(|of| !of.token_issuers.is_empty());
        !has_issuers && contract.methods.iter().any(|method| is_for_users(&method.policy))
    };
    contracts.iter().filter(is_one).map(|(prefix, _)| Arc::clone(prefix)).collect()
}

/// The schema of the methods that clients may call. The external upstreams that take part follow the mesh, sorted by
/// prefix.
fn graphql(config: &Config, routes: &Routes, sources: &RouteSources<'_>) -> GraphqlSchema {
    let policies = sources.policies;
    // The descriptors may declare services that this process does not serve.
    let is_here = |path: &str| sources.own.is_none_or(|own| own.serve(path));
    let open = |path: &str| is_here(path) && matches!(routes.find(path), Found::Method(_));
    let mesh = policies.descriptors().filter(|(path, _)| open(path));
    let mesh = mesh.map(|(path, descriptor)| Method { descriptor, cost: cost(policies.get(&path)) });
    let mut services = vec![Services { prefix: None, registry: sources.registry.clone(), methods: mesh.collect() }];
    for (prefix, _) in config.external.iter().filter(|(_, of)| of.graphql) {
        let Some(contract) = sources.contracts.get(prefix.as_str()) else { continue };
        let declared = contract.methods.iter().filter(|method| routes.opens(&method.path, prefix));
        let methods =
            declared.map(|method| Method { descriptor: method.descriptor.clone(), cost: cost(method.policy.as_ref()) });
        services.push(Services {
            prefix: Some(prefix.as_str().into()),
            registry: contract.registry().clone(),
            methods: methods.collect(),
        });
    }
    GraphqlSchema::new(&services, config.graphql.options(&config.json, sources.limits.message_bytes, on_panic))
}

fn hsts(time: Span) -> Option<HeaderValue> {
    let seconds = time.0.as_secs();
    (seconds > 0).then(|| HeaderValue::try_from(format!("max-age={seconds}")).ok()).flatten()
}

/// The descriptors that reflection shows: those of all methods that clients may call.
fn shown(
    context: &ServiceContext,
    (mesh, own): (&[Route], Option<&OwnServices>),
    contracts: &Contracts,
    routes: &Routes,
) -> io::Result<FileDescriptorSet> {
    let services: Vec<_> = mesh.iter().map(|route| route.service.as_str()).collect();
    let ours = match own {
        None => descriptors::public(context.descriptors, &context.policies, &services)?,
        Some(own) => descriptors::shown(context.descriptors, |path| own.serve(path) && routes.has(path))?,
    };
    let mut prefixes: Vec<_> = contracts.iter().collect();
    // Sorted, so that files keep their names.
    prefixes.sort_by_key(|(prefix, _)| Arc::clone(prefix));
    let upstreams =
        prefixes.into_iter().map(|(prefix, contract)| (&**prefix, contract.shown(|path| routes.opens(path, prefix))));
    Ok(external::together(upstreams, ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warning_is_logged_once_per_change() {
        let both = ["one", "other"].map(|problem| FormWarning { upstream: "a".into(), problem: problem.into() });
        let (one, other) = (&both[..1], &both[1..]);
        assert_eq!(new_warnings(one, &[]), [&both[0]], "at the start");
        assert!(new_warnings(one, one).is_empty(), "nothing has changed");
        assert_eq!(new_warnings(&both, one), [&both[1]]);
        assert_eq!(new_warnings(one, other), [&both[0]], "it comes back");
    }
}
