//! The gateway: the one way in for callers outside. It speaks gRPC and gRPC-Web with them and gRPC with the
//! services, checks the caller and the contract's limits, and forwards messages without looking into them.
//!
//! It is not trusted with identities: the user's own token travels on, and every service verifies it again.

mod body;
pub mod config;
mod connection;
mod headers;
mod origin;
mod page;
mod protocol;
mod routes;
mod rpc;
mod upstream;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN},
};
use hyper::body::Incoming;
use kit::{
    health::Readiness,
    limiter::RateLimiter,
    server::{self, Surroundings},
    shutdown::Shutdown,
};
use tokio::net::TcpListener;

use body::Outgoing;
pub use config::Config;
use protocol::Spoken;

/// The services that the gateway answers itself.
const INTROSPECTION: [&str; 3] =
    ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// A service of the mesh behind the gateway.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its full name, as the contract has it.
    pub service: String,
    /// The name that its process answers to: service tokens are made out to it.
    pub peer: String,
    /// Where it is: `http://host:port`.
    pub address: String,
}

/// A gateway, before it is served.
pub struct Gateway {
    surroundings: Surroundings,
    limiter: Arc<dyn RateLimiter>,
    routes: routes::Routes,
    origins: origin::Origins,
    readiness: Readiness,
    proxies: usize,
    console: bool,
}

impl Gateway {
    /// A gateway to `mesh`. Errors name the key of the configuration that is wrong.
    pub fn new(
        config: &Config,
        surroundings: Surroundings,
        mesh: &[Route],
        limiter: Arc<dyn RateLimiter>,
        readiness: Readiness,
    ) -> Result<Self, String> {
        let names: Vec<&str> = mesh.iter().map(|route| route.service.as_str()).collect();
        let here = server::introspection(&surroundings, &names, &readiness).map_err(|e| e.to_string())?;
        let routes = routes::Routes::new(config, &surroundings.limits, &surroundings.policies, mesh, &here)?;
        Ok(Self {
            limiter,
            routes,
            origins: origin::Origins::new(&config.cors_origins)?,
            readiness,
            proxies: config.proxies,
            console: config.console,
            surroundings,
        })
    }

    /// Serves on `listeners` until the shutdown's drain is over.
    pub async fn serve(self, listeners: Vec<TcpListener>, shutdown: Shutdown) -> io::Result<()> {
        connection::serve(Arc::new(self), listeners, shutdown).await
    }

    /// Answers one request of any kind.
    async fn answer(&self, peer: SocketAddr, mut request: Request<Incoming>) -> Response<Outgoing> {
        let origin = request.headers().get(ORIGIN).cloned();
        if let (Some(_), Some(authority)) = (&origin, request.uri().authority()) {
            // HTTP/2 tells the host in the URI; what compares origins looks into the header.
            if let Ok(host) = HeaderValue::try_from(authority.as_str()) {
                request.headers_mut().insert(HOST, host);
            }
        }
        if request.method() == Method::OPTIONS && origin.is_some() {
            return self.origins.preflight(request.headers());
        }
        let mut response = match Spoken::of(request.headers()) {
            Some(spoken) if request.method() == Method::POST => {
                let client = self.client(peer, &request);
                rpc::answer(self, client, spoken, request).await
            }
            _ => return self.browse(&request),
        };
        self.origins.mark(origin, &mut response);
        response
    }

    /// Answers what is no call: probes, keys, the page.
    fn browse(&self, request: &Request<Incoming>) -> Response<Outgoing> {
        let path = request.uri().path();
        match path {
            "/livez" => page::plain(StatusCode::OK, "ok\n"),
            "/readyz" if self.readiness.is_ready() => page::plain(StatusCode::OK, "ready\n"),
            "/readyz" => page::plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            "/.well-known/jwks.json" => self.jwks(),
            _ if request.method() == Method::POST && self.routes.find(path).is_some() => {
                let text = "call methods with content-type application/grpc or application/grpc-web+proto\n";
                page::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
            }
            _ if self.console => page::serve(request.method(), path, request.headers()),
            _ => page::plain(StatusCode::NOT_FOUND, "there is nothing here\n"),
        }
    }

    fn jwks(&self) -> Response<Outgoing> {
        let keys = serde_json::json!({ "keys": self.surroundings.keys.jwks() });
        let mut response = Response::new(Outgoing::full(keys.to_string()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        response
    }

    /// The caller's address: of the connection, or as the operator's own proxies tell it. Entries further left
    /// are the caller's own claims.
    fn client(&self, peer: SocketAddr, request: &Request<Incoming>) -> IpAddr {
        let told = || {
            let entries: Vec<&str> = request
                .headers()
                .get_all("x-forwarded-for")
                .iter()
                .filter_map(|value| value.to_str().ok())
                .flat_map(|value| value.split(','))
                .map(str::trim)
                .collect();
            entries.len().checked_sub(self.proxies).and_then(|at| entries.get(at)?.parse().ok())
        };
        let address = if self.proxies == 0 { None } else { told() };
        address.unwrap_or(peer.ip()).to_canonical()
    }
}
