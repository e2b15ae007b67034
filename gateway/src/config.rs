//! The configuration of the gateway.

mod authorization;
mod compression;
mod forward_auth;
mod graphql;
mod network;
mod rate_limits;
mod route_rules;
mod tls;
mod token_issuers;

use std::{collections::BTreeMap, time::Duration};

use kit::{
    balance::{self, Addresses},
    config::Span,
    limiter::Quota,
    policy::Access,
};
use serde::{Deserialize, Serialize};
use transcode::{Limits, ParseOptions, PrintOptions};

pub use authorization::AuthorizationConfig;
pub use compression::Compression;
pub(crate) use forward_auth::FORWARD_AUTH;
pub use forward_auth::ForwardAuthConfig;
pub use graphql::Graphql;
pub(crate) use network::Networks;
pub use rate_limits::{Fields, Limit, Override, RateLimits};
pub use route_rules::{InFlightConfig, MaintenanceConfig};
pub use tls::{ClientCertificates, Tls};
pub(crate) use token_issuers::fetchable;
pub use token_issuers::{RequiredScopesConfig, TokenIssuerConfig};

/// The section `[gateway]`. A reload applies everything but `listen`, `tls.listen`, `threads`,
/// `upstream_connections`, `console` and `graphql.automatic_persisted_bytes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The addresses that accept callers; each `host:port`, on every address of the host. Secure cookies need a
    /// browser to connect over TLS or to `localhost`.
    pub listen: Vec<String>,
    /// Origins of pages on other hosts that may call, such as `https://app.example.org`. Browsers refuse others;
    /// the gateway's own page needs no entry.
    pub cors_origins: Vec<String>,
    /// Networks of your own proxies, such as `10.0.0.0/8`. The client's address is read from their
    /// `client_address_header`; the header of any other peer is a claim and is not read.
    pub trusted_proxies: Vec<String>,
    /// The header that your own proxies write: `x-forwarded-for` or `forwarded`. The other one is not read: a proxy
    /// that does not know it forwards what the client has written.
    pub client_address_header: ClientAddressHeader,
    /// Every connection from a trusted proxy begins with the header of the PROXY protocol, version 2. A connection
    /// without it may request only `/livez`, `/readyz` and `grpc.health.v1.Health/Check`: nodes and balancers probe
    /// from there.
    pub proxy_protocol: bool,
    /// Calls that one caller may make to a method whose contract states no quota, in each
    /// `default_rate_period`.
    pub default_rate_requests: u32,
    /// See `default_rate_requests`.
    pub default_rate_period: Span,
    /// Limits that differ from the contract.
    pub rate_limits: RateLimits,
    /// How many calls of some methods may be in progress, by a name that the operator chooses.
    pub in_flight: BTreeMap<String, InFlightConfig>,
    /// Methods that refuse calls for a while, by a name that the operator chooses. The most specific one applies.
    pub maintenance: BTreeMap<String, MaintenanceConfig>,
    /// Issuers of tokens outside the mesh, by a name that the operator chooses.
    pub token_issuers: BTreeMap<String, TokenIssuerConfig>,
    /// The scopes that callers of some methods need, by a name that the operator chooses. All that cover a method apply.
    pub required_scopes: BTreeMap<String, RequiredScopesConfig>,
    /// Threads that each serve the connections of some clients, with connections to upstreams of their own. `0`: the
    /// threads of the process share all connections.
    pub threads: usize,
    /// Connections to one upstream, at most; each carries `limits.streams_per_connection` calls.
    pub upstream_connections: usize,
    /// Header fields of one request, at most.
    pub header_count: usize,
    /// Connections from one IPv4 address, or one /64 of IPv6, so that no client alone takes all of
    /// `limits.connections`. Connections from `trusted_proxies` are not counted; the clients that they state by the
    /// PROXY protocol are.
    pub connections_per_address: usize,
    /// WebSockets from one client address, counted as `connections_per_address` are; also through `trusted_proxies`.
    pub sockets_per_address: usize,
    /// How long a caller's connection may carry no call before it is closed.
    pub idle_timeout: Span,
    /// At a shutdown: how long a connection over HTTP/1.1 must be without a call before it is closed, from the end of its
    /// last call. A request that arrives meanwhile gets a response with `connection: close`. Longer than the usual pause
    /// of clients between two requests: a request that arrives as the connection is closed is lost.
    pub drain_idle: Span,
    /// How long a caller may leave a response unread before its connection is closed.
    pub stall_timeout: Span,
    /// Bytes of responses that callers do not read, of all connections together. From half of it on, `stall_timeout`
    /// shortens as the bytes grow, down to a sixth; beyond it responses end at once, the oldest of the connection that
    /// holds the most first. The process may need twice as much memory for them.
    pub stalled_response_bytes: usize,
    /// Whether the page is served at `/`.
    pub console: bool,
    /// How often the descriptors of external upstreams are read again.
    pub descriptors_refresh: Span,
    /// JSON in requests and responses.
    pub json: Json,
    /// The compression of responses.
    pub compression: Compression,
    /// The GraphQL API.
    pub graphql: Graphql,
    /// The listener with TLS.
    pub tls: Tls,
    /// A service that decides about calls.
    pub authorization: AuthorizationConfig,
    /// A path at which proxies ask about the requests of their clients.
    pub forward_auth: ForwardAuthConfig,
    /// Methods (`acme.shop.v1.Cart/Export`), or prefixes that end at a dot or slash (`acme.shop`, `trellis.auth`), whose
    /// responses may state the status and some headers of HTTP: see `docs/protocols.md`.
    pub http_controls: Vec<String>,
    /// Services outside the mesh, by the prefix of their names: `acme.shop` holds `acme.shop.v1.Cart`; the longest
    /// prefix counts. They receive neither the caller's token nor cookie.
    pub external: BTreeMap<String, ExternalConfig>,
}

/// The section `[gateway.json]`: how messages are read from JSON and written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Json {
    /// Ignore unknown fields of a request instead of refusing them.
    pub ignore_unknown_fields: bool,
    /// Write fields that have their default value.
    pub write_default_values: bool,
    /// The largest message of a response, in bytes of JSON. Requests fall under `limits.message_bytes`.
    pub response_bytes: usize,
    /// The maximum number of nested messages.
    pub depth: usize,
    /// The maximum number of list elements, map entries and object members in one message.
    pub elements: usize,
    /// After how much silence a stream of server-sent events gets a comment, so that proxies do not take it for idle.
    pub heartbeat: Span,
    /// After how long a client of server-sent events reconnects. `0s`: the client decides.
    pub retry: Span,
    /// Serve the OpenAPI documents: at `/openapi.json`, and at `/openapi/PREFIX.json` for each external upstream. `/docs`
    /// shows them.
    pub openapi: bool,
}

impl Default for Json {
    fn default() -> Self {
        Self {
            ignore_unknown_fields: false,
            write_default_values: false,
            response_bytes: 32 * 1024 * 1024,
            depth: 100,
            elements: 1_048_576,
            heartbeat: Span(Duration::from_secs(15)),
            retry: Span(Duration::from_secs(3)),
            openapi: true,
        }
    }
}

impl Json {
    /// The options and limits of a conversion. The input of a request has a limit of its own.
    pub(crate) fn conversion(&self) -> (ParseOptions, PrintOptions, Limits) {
        let parse = ParseOptions { ignore_unknown_fields: self.ignore_unknown_fields };
        let always_print_fields_with_no_presence = self.write_default_values;
        let print = PrintOptions { always_print_fields_with_no_presence, ..PrintOptions::default() };
        let (output, depth, elements) = (self.response_bytes, self.depth, self.elements);
        (parse, print, Limits { input: usize::MAX, output, depth, elements })
    }
}

/// A service outside the mesh: `[gateway.external."acme.shop"]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a table, such as { to = \"http://host:port\", access = \"public\" }"
)]
pub struct ExternalConfig {
    /// Its addresses: `http://host:port` or, over TLS, `https://host:port`; one or several. A name stands for all
    /// addresses that DNS returns for it.
    pub to: Addresses,
    /// Which callers may call methods without a policy of their own: `deny`, `public` or `signed_in`.
    pub access: Open,
    /// The source of its descriptors: the path of an encoded `google.protobuf.FileDescriptorSet`, or `reflection`.
    /// Methods that they do not name are closed; policies in them apply. Empty: no descriptors, all methods are open.
    pub descriptors: String,
    /// The gateway sends a signed token of 60 seconds with this `aud` for signed-in callers. Empty: the upstream
    /// receives nothing about the caller.
    pub token_audience: String,
    /// The names of `gateway.token_issuers` whose users may call it as signed-in callers, besides users of Trellis.
    pub token_issuers: Vec<String>,
    /// The upstream receives the client's own token, if one of `token_issuers` has issued it.
    pub forward_issuer_token: bool,
    /// The gateway states the verified certificate of the client in `x-forwarded-client-cert`. Needs
    /// `gateway.tls.client_certificates`.
    pub forward_client_certificate: bool,
    /// Its methods are part of the GraphQL schema. Needs `descriptors`.
    pub graphql: bool,
    /// Over TLS: the authorities that may issue its certificate, a PEM file. Empty: the system's.
    pub ca: String,
    /// Over TLS: the client certificate of the gateway, a PEM file. Empty: none.
    pub certificate: String,
    /// The private key of `certificate`, a PEM file.
    pub key: String,
}

impl ExternalConfig {
    /// Whether at least one of its addresses is called over TLS.
    pub(crate) fn is_over_tls(&self) -> bool {
        let names_files = [&self.ca, &self.certificate, &self.key].iter().any(|path| !path.is_empty());
        names_files || balance::in_the_clear(&self.to).is_err()
    }
}

/// Which callers may call a method without a policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Open {
    /// No caller.
    #[default]
    Deny,
    /// Every caller.
    Public,
    /// Every user.
    SignedIn,
}

impl Open {
    /// The access of methods without a policy; `None`: they are closed.
    pub(crate) fn access(self) -> Option<Access> {
        match self {
            Self::Deny => None,
            Self::Public => Some(Access::Public),
            Self::SignedIn => Some(Access::SIGNED_IN),
        }
    }
}

/// The services that the gateway serves itself: health, then reflection.
pub(crate) const INTROSPECTION: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Whether a service's name begins with a prefix that was given to an upstream.
pub(crate) fn is_under(prefix: &str, service: &str) -> bool {
    service.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// The header in which proxies state a client's address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAddressHeader {
    /// `x-forwarded-for`, the usual one.
    #[default]
    XForwardedFor,
    /// `forwarded` (RFC 7239).
    Forwarded,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec!["localhost:8080".to_owned()],
            cors_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            client_address_header: ClientAddressHeader::XForwardedFor,
            proxy_protocol: false,
            default_rate_requests: 600,
            default_rate_period: Span(Duration::from_secs(60)),
            rate_limits: RateLimits::default(),
            in_flight: BTreeMap::new(),
            maintenance: BTreeMap::new(),
            token_issuers: BTreeMap::new(),
            required_scopes: BTreeMap::new(),
            threads: 0,
            upstream_connections: 64,
            header_count: 100,
            connections_per_address: 5_000,
            sockets_per_address: 500,
            idle_timeout: Span(Duration::from_secs(300)),
            drain_idle: Span(Duration::from_secs(5)),
            stall_timeout: Span(Duration::from_secs(60)),
            stalled_response_bytes: 256 * 1024 * 1024,
            console: true,
            descriptors_refresh: Span(Duration::from_secs(30)),
            json: Json::default(),
            compression: Compression::default(),
            graphql: Graphql::default(),
            tls: Tls::default(),
            authorization: AuthorizationConfig::default(),
            forward_auth: ForwardAuthConfig::default(),
            http_controls: Vec::new(),
            external: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The configuration after a reload: `wanted`, except for keys that take effect at the next start.
    pub(crate) fn taking_over(&self, wanted: &Self) -> Self {
        // Without a listener, `wanted` may name no certificate, and the open listener still needs its own.
        let tls = if wanted.tls.listen.is_empty() { self.tls.clone() } else { wanted.tls.clone() };
        Self {
            listen: self.listen.clone(),
            tls: Tls { listen: self.tls.listen.clone(), ..tls },
            threads: self.threads,
            upstream_connections: self.upstream_connections,
            console: self.console,
            graphql: Graphql {
                automatic_persisted_bytes: self.graphql.automatic_persisted_bytes,
                ..wanted.graphql.clone()
            },
            ..wanted.clone()
        }
    }

    /// The quota of a method whose contract states none.
    pub(crate) fn default_quota(&self) -> Quota {
        Quota::new(self.default_rate_requests, self.default_rate_period.0, self.default_rate_requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reload_keeps_the_size_of_the_document_cache() {
        let graphql = Graphql { automatic_persisted_bytes: 0, depth: 3, ..Graphql::default() };
        let taken = Config::default().taking_over(&Config { graphql, ..Config::default() }).graphql;
        let size = Graphql::default().automatic_persisted_bytes;
        assert_eq!((taken.automatic_persisted_bytes, taken.depth), (size, 3));
    }

    #[test]
    fn an_open_listener_keeps_its_certificate_through_a_reload() {
        let text = |text: &str| text.to_owned();
        let files = |certificate, key| Tls { certificate: text(certificate), key: text(key), ..Tls::default() };
        let tls = Tls { listen: vec![text("localhost:8443")], ..files("a.pem", "a.key") };
        let running = Config { tls, ..Config::default() };
        let without = Config { console: false, header_count: 7, ..Config::default() };
        let taken = running.taking_over(&without);
        assert_eq!((&taken.tls, taken.console, taken.header_count), (&running.tls, true, 7));
        let renewed = Tls { listen: vec![text("localhost:1")], ..files("b.pem", "b.key") };
        let taken = running.taking_over(&Config { tls: renewed.clone(), ..without });
        assert_eq!(taken.tls, Tls { listen: running.tls.listen, ..renewed });
    }
}
