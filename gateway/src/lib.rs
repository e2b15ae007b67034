//! The gateway: the only entry for outside callers. It speaks gRPC and gRPC-Web with them and gRPC with the
//! services, authenticates the caller, applies the contract's limits, and forwards messages without decoding them.
//!
//! Services do not trust it with identities: it forwards the user's own token, and every service verifies it again.

mod body;
mod check;
mod client;
mod coalescing;
pub mod config;
mod connection;
#[cfg(test)]
#[path = "../../services/kit/tests/support/dice.rs"]
mod dice;
mod event_set;
mod external;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod headers;
mod keepalive;
mod last_good;
mod monitored_io;
mod network;
mod origin;
mod page;
mod protocol;
mod proxy_protocol;
mod rate_limit;
mod receive_buffer;
mod routes;
mod rpc;
mod tls;
mod upstream;
mod watchdog;

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS},
};
use kit::{
    balance::Addresses,
    config::Span,
    descriptors,
    health::Readiness,
    limiter::RateLimiter,
    rng::Rng,
    server::{self, ServiceContext},
    shutdown::Shutdown,
};
use prost_types::FileDescriptorSet;
use tokio::sync::Notify;
use tonic::service::Routes as Here;

use body::{Inbound, Outgoing};
pub use config::Config;
pub use connection::Listener;
use external::{Contract, ExternalUpstream};
use last_good::{Before, LastGood};
use protocol::{ClientProtocol, Protocol};
use rate_limit::Overrides;
pub use rate_limit::{ExternalMethod, Shown as ShownLimits};
use routes::{Contracts, Found, Routes, Sources};
use upstream::Upstreams;
use watchdog::{Stalls, Watched};

/// The services that the gateway serves itself: health, then reflection.
const INTROSPECTION: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

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

/// A gateway.
pub struct Gateway {
    context: ServiceContext,
    limiter: Arc<dyn RateLimiter>,
    readiness: Readiness,
    rng: Rng,
    stalls: Arc<Stalls>,
    console: bool,
    mesh: Vec<Route>,
    health: Here,
    upstreams: Upstreams,
    /// The values that `current` was built with. Locked while another is built, so that no update is lost.
    known: Mutex<LastGood>,
    current: RwLock<Arc<Current>>,
    certificate: Arc<tls::Certificate>,
    /// Notified after a reload.
    reloaded: Notify,
}

/// The peer of a caller's connection.
#[derive(Debug, Clone, Copy)]
struct Peer {
    /// The address of the caller or of a proxy.
    address: IpAddr,
    /// Whether it uses TLS.
    is_secure: bool,
    /// It is in a trusted network, but sent no header of the PROXY protocol.
    is_probe: bool,
}

/// The state that a reload replaces as a whole; a call keeps the one that it began with.
struct Current {
    config: Config,
    routes: Routes,
    origins: origin::Origins,
    proxies: client::Proxies,
    external: Vec<ExternalUpstream>,
    refresh: Duration,
    /// `strict-transport-security`, if it is sent.
    hsts: Option<HeaderValue>,
    /// Overrides of methods that no descriptors declare.
    undeclared: Vec<String>,
}

impl Gateway {
    /// A gateway to `mesh`. Errors name the key of the configuration that is wrong.
    pub fn new(
        config: &Config,
        context: ServiceContext,
        mesh: Vec<Route>,
        limiter: Arc<dyn RateLimiter>,
        readiness: Readiness,
    ) -> Result<Self, String> {
        let served: Vec<_> = mesh.iter().map(|route| (route.service.as_str(), Some(route.peer.as_str()))).collect();
        let health = server::health(&served, &readiness);
        let upstreams = Upstreams::new(config.upstream_connections, &context);
        let (known, _) = LastGood::read(config, None)?;
        let current = Current::new(config, &context, &mesh, &health, &upstreams, &known)?;
        if let Some(error) = current.undeclared.first() {
            return Err(error.clone());
        }
        let certificate = tls::Certificate::none();
        certificate.replace(known.certified.clone());
        Ok(Self {
            limiter,
            certificate,
            readiness,
            rng: Rng::new(),
            stalls: Stalls::new(config.stalled_response_bytes),
            // Sign-in on the page needs the mesh.
            console: config.console && !mesh.is_empty(),
            context,
            mesh,
            health,
            upstreams,
            known: Mutex::new(known),
            current: RwLock::new(Arc::new(current)),
            reloaded: Notify::new(),
        })
    }

    /// Serves on `listeners` until the shutdown's drain is over.
    pub async fn serve(self: Arc<Self>, listeners: Vec<Listener>, shutdown: Shutdown) -> io::Result<()> {
        let watching = tokio::spawn(external::watch(Arc::clone(&self), shutdown.clone()));
        let served = connection::serve(self, listeners, shutdown).await;
        watching.abort();
        served
    }

    /// Applies another configuration to calls that begin from now on. An error names the invalid key, and changes
    /// nothing.
    pub fn reload(&self, config: &Config) -> Result<(), String> {
        let mut known = self.lock_known();
        let current = self.current();
        let config = current.config.taking_over(config);
        let (wanted, problems) = LastGood::read(&config, Some(Before { config: &current.config, known: &known }))?;
        let next = self.build(&config, &wanted)?;
        if let Some(error) = self.new_errors(&next).first() {
            return Err(error.clone());
        }
        self.take(next, &mut known, wanted);
        for problem in problems {
            tracing::warn!(problem, "the last good content stays in force");
        }
        self.reloaded.notify_one();
        Ok(())
    }

    /// Applies an upstream's descriptors.
    fn learn(&self, prefix: &Arc<str>, contract: Contract) {
        let mut known = self.lock_known();
        if known.contracts.get(prefix).is_some_and(|known| known.is_same(&contract)) {
            return;
        }
        let current = self.current();
        if !current.external.iter().any(|external| external.prefix == *prefix && contract.counts_for(external)) {
            // After a reload, the descriptors are those of another server.
            return;
        }
        let mut wanted = known.clone();
        wanted.contracts.insert(Arc::clone(prefix), Arc::new(contract));
        match self.rebuild(&current.config, &mut known, wanted) {
            Ok(()) => tracing::info!(upstream = %prefix, "descriptors read"),
            Err(error) => {
                tracing::warn!(upstream = %prefix, error, "the previous routes stay in force")
            }
        }
    }

    /// Applies changed files. A file that cannot be read is returned as a problem, and its last good content remains.
    fn look_at_files(&self) -> Vec<String> {
        let current = self.current();
        let before = self.lock_known().clone();
        let read = LastGood::read(&current.config, Some(Before { config: &current.config, known: &before }));
        let (wanted, mut problems) = match read {
            Ok(read) => read,
            Err(problem) => return vec![problem],
        };
        if wanted.differs(&before) {
            let mut known = self.lock_known();
            if !Arc::ptr_eq(&current, &self.current()) {
                // A reload came first. The next check starts from it.
                return problems;
            }
            match self.rebuild(&current.config, &mut known, wanted) {
                Ok(()) => tracing::info!("changed files applied"),
                Err(problem) => problems.push(problem),
            }
        }
        problems
    }

    fn rebuild(&self, config: &Config, known: &mut LastGood, wanted: LastGood) -> Result<(), String> {
        let next = self.build(config, &wanted)?;
        // An upstream may change its descriptors while the configuration stays: that must not stop the update.
        for error in self.new_errors(&next) {
            tracing::warn!(mistake = error, "an override limits nothing");
        }
        self.take(next, known, wanted);
        Ok(())
    }

    fn build(&self, config: &Config, known: &LastGood) -> Result<Current, String> {
        Current::new(config, &self.context, &self.mesh, &self.health, &self.upstreams, known)
    }

    fn take(&self, next: Current, known: &mut LastGood, wanted: LastGood) {
        self.certificate.replace(wanted.certified.clone());
        self.stalls.set_bound(next.config.stalled_response_bytes);
        *known = wanted;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    /// Overrides of methods that no descriptors declare, except those reported before.
    fn new_errors(&self, next: &Current) -> Vec<String> {
        let current = self.current();
        next.undeclared.iter().filter(|error| !current.undeclared.contains(error)).cloned().collect()
    }

    fn lock_known(&self) -> MutexGuard<'_, LastGood> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Serves one request of any kind.
    async fn respond(&self, peer: Peer, watched: Watched, mut request: Request<Inbound>) -> Response<Outgoing> {
        let current = self.current();
        let origin = request.headers().get(ORIGIN).cloned();
        if let Err(refusal) = self.check(&current, peer, &request) {
            let mut response = refusal.response();
            current.origins.mark(origin, &mut response);
            current.protect(peer, response.headers_mut());
            return response;
        }
        if let (Some(_), Some(authority)) = (&origin, request.uri().authority()) {
            // HTTP/2 sends the host in the URI; the check of origins reads the header.
            if let Ok(host) = HeaderValue::try_from(authority.as_str()) {
                request.headers_mut().insert(HOST, host);
            }
        }
        if request.method() == Method::OPTIONS && origin.is_some() {
            return current.origins.preflight(request.headers());
        }
        let mut is_browsers = true;
        let mut response = match ClientProtocol::of(request.headers()) {
            Some(client_protocol) if request.method() == Method::POST => {
                is_browsers = client_protocol.protocol != Protocol::Grpc;
                let client = current.proxies.client(peer.address, request.headers());
                let call = rpc::RpcCall { gateway: self, current: &current, client, client_protocol };
                let mut response = call.respond(watched, request).await;
                current.origins.mark(origin, &mut response);
                response
            }
            _ => {
                let mut response = self.browse(&current, &request);
                if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
                    // A page must be able to read why it cannot call.
                    current.origins.mark(origin, &mut response);
                }
                if request.method() == Method::HEAD {
                    page::only_head(&mut response);
                }
                response
            }
        };
        if is_browsers {
            current.protect(peer, response.headers_mut());
        }
        response
    }

    /// Whether this gateway can serve. The verbose form also lists upstream services: an unreachable service is no
    /// reason to send callers to another gateway.
    fn readyz(&self, verbose: bool) -> Response<Outgoing> {
        let (status, verdict) = match self.readiness.is_ready() {
            true => (StatusCode::OK, "ready\n"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        };
        let needs = self.readiness.health_checks().into_iter().filter(|_| verbose);
        let lines =
            needs.map(|(name, met)| if met { format!("[+]{name} ok\n") } else { format!("[-]{name} failed\n") });
        page::plain(status, lines.chain([verdict.to_owned()]).collect::<String>())
    }

    /// Serves requests that are not calls: probes, keys, the page.
    fn browse(&self, current: &Current, request: &Request<Inbound>) -> Response<Outgoing> {
        let path = request.uri().path();
        match path {
            "/livez" => page::plain(StatusCode::OK, "ok\n"),
            "/readyz" => self.readyz(request.uri().query() == Some("verbose")),
            "/.well-known/jwks.json" => key_set(&self.context.keys.jwks()),
            "/.well-known/trellis-gateway/jwks.json" => key_set(&[self.context.identity.jwk()]),
            _ if !matches!(current.routes.find(path), Found::Undeclared | Found::Nothing) => {
                if request.method() == Method::POST {
                    let text = "call methods with content-type application/grpc or application/grpc-web+proto\n";
                    return page::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
                }
                page::not_allowed("use POST to call a method\n", "POST")
            }
            "/" if self.mesh.is_empty() => {
                let text = "This gateway has no page: it forwards calls to external upstreams only.\n";
                page::plain(StatusCode::NOT_FOUND, text)
            }
            _ if self.console => page::serve(request.method(), path, request.headers()),
            _ => page::plain(StatusCode::NOT_FOUND, "no page or method at this path\n"),
        }
    }
}

/// Public keys (RFC 7517).
fn key_set(keys: &impl serde::Serialize) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::full(serde_json::json!({ "keys": keys }).to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

impl Current {
    /// Builds the state of a configuration, its files and its upstreams' descriptors. The error names the invalid key.
    fn new(
        config: &Config,
        context: &ServiceContext,
        mesh: &[Route],
        health: &Here,
        upstreams: &Upstreams,
        known: &LastGood,
    ) -> Result<Self, String> {
        let limits = &context.limits;
        let external = config.external.iter().map(|(prefix, of)| {
            ExternalUpstream::new(prefix, of, known.trusts.get(prefix.as_str()), upstreams, &context.identity)
        });
        let external = external.collect::<Result<Vec<_>, _>>()?;
        let contracts = &known.contracts;
        let policies = &context.policies;
        let there = rate_limit::KnownMethods { policies, external: &config.external };
        let overrides = Overrides::new(&config.rate_limits, there)?;
        let undeclared = overrides.undeclared(contracts);
        let overrides = &overrides;
        let sources = Sources { limits, policies, mesh, upstreams, external: &external, contracts, overrides };
        let mut routes = Routes::new(config, &sources)?;
        let shown = shown(context, mesh, contracts, &routes).map_err(|e| e.to_string())?;
        let mut here = health.clone().into_axum_router();
        let mut services = &INTROSPECTION[..1];
        if limits.reflection {
            let reflection = server::reflection(&shown).map_err(|e| e.to_string())?;
            here = here.merge(reflection.into_axum_router().reset_fallback());
            services = &INTROSPECTION;
        }
        routes.add_here(&Here::from(here), services, config, &sources);
        Ok(Self {
            routes,
            origins: origin::Origins::new(&config.cors_origins)?,
            proxies: client::Proxies::new(&config.trusted_proxies, config.client_address_header)?,
            refresh: config.descriptors_refresh.0,
            config: config.clone(),
            external,
            hsts: hsts(config.tls.hsts),
            undeclared,
        })
    }

    /// Restricts how a browser handles a response that a page can request: it shows it only as its content type, stores
    /// it only if the response allows that, and returns over TLS only (RFC 6797). Pages cannot request native gRPC.
    fn protect(&self, peer: Peer, headers: &mut HeaderMap) {
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if let Some(hsts) = self.hsts.as_ref().filter(|_| peer.is_secure) {
            headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
    }
}

fn hsts(time: Span) -> Option<HeaderValue> {
    let seconds = time.0.as_secs();
    (seconds > 0).then(|| HeaderValue::try_from(format!("max-age={seconds}")).ok()).flatten()
}

/// The descriptors that reflection shows: those of all methods that callers may call.
fn shown(
    context: &ServiceContext,
    mesh: &[Route],
    contracts: &Contracts,
    routes: &Routes,
) -> io::Result<FileDescriptorSet> {
    let ours = descriptors::public(context.descriptors, &context.policies, &names(mesh))?;
    let mut prefixes: Vec<_> = contracts.iter().collect();
    // Sorted, so that files keep their names.
    prefixes.sort_by_key(|(prefix, _)| Arc::clone(prefix));
    let upstreams =
        prefixes.into_iter().map(|(prefix, contract)| (&**prefix, contract.shown(|path| routes.opens(path, prefix))));
    Ok(external::together(upstreams, ours))
}

fn names(mesh: &[Route]) -> Vec<&str> {
    mesh.iter().map(|route| route.service.as_str()).collect()
}
