//! Maps the path of a call to its target and policy.

mod forms;
mod forward_auth;
mod methods;

use std::{sync::Arc, time::Duration};

use kit::{
    balance::Addresses,
    identity::CallerTokens,
    limits::Limits,
    policy::{Access, By, StreamLimit, Table},
    record::Meter,
    server::PROBE,
};
use tonic::service::Routes as Here;
use transcode::Registry;

use crate::{
    config::Config,
    external::{Contracts, ExternalUpstream},
    issuers::AcceptedIssuers,
    own_services::OwnServices,
    protocol::{HttpForms, MethodCodec},
    rate_limit::MethodLimits,
    route_rules::{MethodRules, RouteRules},
    upstream::{Cluster, Upstreams, Weight},
};
pub(crate) use forms::{FormTable, FormWarning, tables as form_tables};
pub(crate) use forward_auth::{ForwardAuth, check as check_forward_auth};
use methods::{Methods, Rest, undeclared};

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
        /// Whether it receives the verified certificate of the client.
        forwards_certificate: bool,
        /// Whose users may call it, besides those of Trellis.
        issuers: AcceptedIssuers,
        /// Whether it receives the tokens of `issuers`.
        forwards_issuer_token: bool,
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
    /// How old the proof of who the user is may be; `None`: as old as the session.
    pub(crate) step_up: Option<Duration>,
    /// The rate limits and the stream limit.
    pub(crate) method_limits: MethodLimits,
    /// The limits on calls in flight, and maintenance.
    pub(crate) rules: MethodRules,
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
#[derive(Clone, Copy)]
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

    /// Whether the path is that of a procedure: `/package.Service/Method`, or a service of an upstream.
    pub(crate) fn is_procedure(&self, path: &str) -> bool {
        methods::is_procedure(path) || !matches!(self, Self::Nothing)
    }
}

/// The routing table. An unknown path has no target.
pub(crate) struct Routes {
    methods: Methods,
    /// The tables of `http`.
    pub(crate) tables: Vec<FormTable>,
    /// The HTTP forms that no request can reach.
    pub(crate) warnings: Vec<FormWarning>,
    /// The HTTP forms of the methods.
    pub(crate) http: Arc<HttpForms>,
    /// The metrics and rate limits of requests that are no call: made-up names share them. Nothing is sent to its
    /// target.
    pub(crate) unknown: Method,
    /// The metrics and rate limits of the handshakes of WebSockets. Nothing is sent to its target.
    pub(crate) websocket: Method,
    /// The path of forward authentication; `None`: it is switched off.
    pub(crate) forward_auth: Option<ForwardAuth>,
    /// The metrics and rate limits of GraphQL requests, besides those of their calls. Nothing is sent to its target.
    pub(crate) graphql: Method,
}

/// The sources of routes besides the configuration.
pub(crate) struct RouteSources<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) policies: &'a Table,
    /// The messages of the mesh's contracts.
    pub(crate) registry: &'a Registry,
    pub(crate) mesh: &'a [Route],
    /// The services of this process.
    pub(crate) own: Option<&'a OwnServices>,
    pub(crate) upstreams: &'a Upstreams,
    pub(crate) external: &'a [ExternalUpstream],
    pub(crate) contracts: &'a Contracts,
    pub(crate) rules: &'a RouteRules,
}

impl Routes {
    /// The routes to the mesh and to external upstreams.
    pub(crate) fn new(config: &Config, sources: &RouteSources<'_>) -> Result<Self, String> {
        let methods = Methods::new(config, sources)?;
        let forward_auth = ForwardAuth::new(config, sources.rules, !sources.mesh.is_empty())?;
        let (tables, warnings) = methods.form_tables(config, sources)?;
        let http = tables.iter().map(|of| Arc::clone(&of.table)).collect();
        Ok(Self {
            methods,
            tables,
            warnings,
            http: HttpForms::new(http, sources.registry.clone(), &config.json),
            unknown: here(UNKNOWN, config, sources.rules),
            websocket: here(WEBSOCKET, config, sources.rules),
            forward_auth,
            graphql: graphql(config, sources.rules),
        })
    }

    /// Adds the `services` that the gateway serves itself.
    pub(crate) fn add_here(&mut self, here: &Here, services: &[&str], config: &Config, sources: &RouteSources<'_>) {
        for service in services {
            let method = undeclared(service, Target::Here(here.clone()), Access::Public, config, sources.rules);
            // These streams have no end of their own.
            let streams = StreamLimit { streams: sources.limits.introspection_streams, by: By::Address };
            let limited = Method { method_limits: method.method_limits.with_streams(service, &streams), ..method };
            self.methods.insert_rest(service, Rest::Open(Box::new(limited)));
        }
        // Probes are frequent and are no streams.
        let probe = undeclared(PROBE, Target::Here(here.clone()), Access::Public, config, sources.rules);
        self.methods.insert(PROBE, probe);
    }

    /// Finds the method of a path.
    pub(crate) fn find(&self, path: &str) -> Found<'_> {
        self.methods.find(path)
    }

    /// Whether the descriptors of the upstream under `prefix` were never read.
    pub(crate) fn is_unread(&self, prefix: &str) -> bool {
        self.methods.is_unread(prefix)
    }

    /// Whether the descriptors of any upstream were never read.
    pub(crate) fn has_unread(&self) -> bool {
        self.methods.has_unread()
    }

    /// Whether a method that the upstream under `prefix` has declared is open.
    pub(crate) fn opens(&self, path: &str, prefix: &str) -> bool {
        self.methods.opens(path, prefix)
    }

    /// Whether clients may call the declared method of a path.
    pub(crate) fn has(&self, path: &str) -> bool {
        matches!(self.find(path), Found::Method(_))
    }
}

/// The label of requests that are no call.
const UNKNOWN: &str = "unknown";
/// The label of handshakes.
const WEBSOCKET: &str = "websocket";

/// They count by address.
fn here(label: &str, config: &Config, rules: &RouteRules) -> Method {
    undeclared(label, Target::Here(Here::default()), Access::Public, config, rules)
}

/// The label of GraphQL requests.
const GRAPHQL: &str = "graphql";

/// They count by user if they have one.
fn graphql(config: &Config, rules: &RouteRules) -> Method {
    let method = here(GRAPHQL, config, rules);
    let method_limits = MethodLimits::new(GRAPHQL, None, By::Caller, config, &rules.overrides);
    Method { method_limits, ..method }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
