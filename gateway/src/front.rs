//! Serves one request of any kind: a call, a proxy's question, a preflight request, a probe, public keys, or a file of the
//! console.

mod check;
#[cfg(test)]
mod tests;
mod websocket;

use std::net::IpAddr;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    },
};
use http_body::Body as _;
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use kit::shutdown::Shutdown;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::{
    Gateway,
    graphql::{
        self, GraphqlCall,
        socket::{GraphqlSocket, SUBPROTOCOL},
    },
    http::{console, docs, explorer},
    io::{Inbound, socket},
    protocol::{
        ClientProtocol, HttpRefusal, HttpRequest, MissingPath,
        status::descriptors_unread,
        websocket::{CALL_SUBPROTOCOL, HandshakeRefusal, handshake, is_handshake, lenient_handshake},
    },
    routes::Found,
    rpc::{ForwardAuthRequest, Outgoing, RefusedRequest, RpcCall, SocketHandshake},
    server::{ConnectionSettings, Handler, Peer, Watched},
    state::Snapshot,
    tls::CertificateState,
};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use websocket::transcript;

impl Handler for Gateway {
    type Body = Outgoing;

    async fn respond(&self, peer: Peer, watched: Watched, mut request: Request<Inbound>) -> Response<Outgoing> {
        let snapshot = self.state.snapshot();
        let origin = request.headers().get(ORIGIN).cloned();
        if let Err(refusal) = check::check(&self.rpc.service.limits, &snapshot, &peer, &request) {
            let mut response = refusal.response().map(Outgoing::Full);
            snapshot.origins.mark(origin, response.headers_mut());
            protect(&snapshot, &peer, response.headers_mut());
            return response;
        }
        // Before any other kind of request: here only an allowed request may have a successful response.
        let path = request.uri().path();
        if let Some(forward_auth) = snapshot.routes.forward_auth.as_ref().filter(|it| it.is_at(path)) {
            let client = snapshot.proxies.client(peer.address, request.headers());
            let certificate = certificate_state(&snapshot, &peer);
            let asked =
                ForwardAuthRequest { context: &self.rpc, snapshot: &snapshot, client, certificate, forward_auth };
            let response = asked.respond(request.headers()).await;
            return if request.method() == Method::HEAD { without_body(response) } else { response };
        }
        if let (Some(_), Some(authority)) = (&origin, request.uri().authority()) {
            // HTTP/2 sends the host in the URI; the check of origins reads the header.
            if let Ok(host) = HeaderValue::try_from(authority.as_str()) {
                request.headers_mut().insert(HOST, host);
            }
        }
        if request.method() == Method::OPTIONS && origin.is_some() {
            return snapshot.origins.preflight(request.headers()).map(Outgoing::Full);
        }
        let mut is_browsers = true;
        let is_head = request.method() == Method::HEAD;
        let client = || snapshot.proxies.client(peer.address, request.headers());
        let mut response = match self.detect(&snapshot, &request) {
            Detected::Call { client_protocol, found } => {
                is_browsers = client_protocol.is_for_browsers();
                let (client, certificate) = (client(), certificate_state(&snapshot, &peer));
                let call =
                    RpcCall { context: &self.rpc, snapshot: &snapshot, client, certificate, client_protocol, found };
                let mut response = call.respond(watched, request).await;
                snapshot.origins.mark(origin, response.headers_mut());
                response
            }
            Detected::Graphql => {
                let (context, stalls, client) = (&self.rpc, self.state.stalls(), client());
                let (automatic, certificate) = (&self.automatic, certificate_state(&snapshot, &peer));
                let call = GraphqlCall { context, snapshot: &snapshot, automatic, stalls, client, certificate };
                let mut response = call.respond(watched, request).await;
                snapshot.origins.mark(origin, response.headers_mut());
                response
            }
            Detected::Refused(refusal) => {
                let client = client();
                let refused = RefusedRequest { context: &self.rpc, snapshot: &snapshot, client, refusal };
                let mut response = refused.respond(request.headers()).await;
                // A page must be able to read why it cannot call.
                snapshot.origins.mark(origin, response.headers_mut());
                response
            }
            Detected::Socket(opening) => {
                let handshake = SocketHandshake { context: &self.rpc, snapshot: &snapshot, client: client() };
                let mut response = handshake.respond(opening, request.headers()).await;
                snapshot.origins.mark(origin, response.headers_mut());
                response
            }
            Detected::Page(response) => response.map(Outgoing::Full),
        };
        if is_head {
            response = without_body(response);
        }
        if is_browsers {
            protect(&snapshot, &peer, response.headers_mut());
        }
        response
    }

    async fn serve_upgraded(
        &self,
        peer: Peer,
        watched: Watched,
        request: Request<()>,
        io: Upgraded,
        shutdown: &Shutdown,
    ) {
        let snapshot = self.state.snapshot();
        let (limits, client) =
            (&self.rpc.service.limits, snapshot.proxies.client(peer.address, request.headers()).address());
        let Some(_counted) = self.sockets.enter(client, snapshot.config.sockets_per_address, &limits.networks) else {
            metrics::counter!("gateway_connections_refused_total", "reason" => "sockets").increment(1);
            let reason = "too many open sockets of your address; close one and try again";
            return socket::refuse(io, CloseCode::Again, reason, limits.discard_time.0).await;
        };
        drop(snapshot);
        if request.uri().path() == graphql::PATH {
            let (context, state, automatic) = (&self.rpc, &*self.state, &self.automatic);
            return GraphqlSocket { context, state, automatic, peer }.serve(watched, request, io, shutdown).await;
        }
        websocket::serve(self, peer, watched, request, io, shutdown).await;
    }

    fn settings(&self) -> ConnectionSettings {
        let snapshot = self.state.snapshot();
        let config = &snapshot.config;
        ConnectionSettings {
            idle_timeout: config.idle_timeout.0,
            stall_timeout: config.stall_timeout.0,
            drain_idle: config.drain_idle.0,
            header_count: config.header_count,
            connections_per_address: config.connections_per_address,
            proxy_protocol: config.proxy_protocol,
        }
    }

    fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        self.state.snapshot().proxies.contain(address)
    }
}

impl Gateway {
    /// Finds the protocol of a request: by its content type if the path names a method, or else by the HTTP forms of
    /// methods.
    fn detect<'a>(&self, snapshot: &'a Snapshot, request: &Request<Inbound>) -> Detected<'a> {
        let (path, forms) = (request.uri().path(), &snapshot.routes.http);
        let may_call = || snapshot.origins.may_use_cookie(request.headers());
        let upgrade = |handshake: Result<Response<Bytes>, HandshakeRefusal>| match handshake {
            Ok(response) => Detected::Socket(response.map(Full::new)),
            Err(refusal) => Detected::Refused(HttpRefusal::handshake(forms, request, refusal)),
        };
        if path == graphql::PATH && snapshot.graphql.is_some() {
            // A socket of another subprotocol is closed with a code that clients know.
            return if is_handshake(request) {
                upgrade(lenient_handshake(request.headers(), SUBPROTOCOL, may_call()))
            } else {
                Detected::Graphql
            };
        }
        let found = snapshot.routes.find(path);
        let is_method = matches!(found, Found::Method(_));
        if is_method && is_handshake(request) {
            return upgrade(handshake(request.headers(), CALL_SUBPROTOCOL, may_call()));
        }
        let by_type = match ClientProtocol::detect(request) {
            Some(client_protocol) if is_method || !client_protocol.is_for_browsers() => {
                return Detected::Call { client_protocol, found };
            }
            other => other,
        };
        match forms.find(request) {
            HttpRequest::Call(call) if is_handshake(request) => {
                let refusal = HandshakeRefusal::http_form(call.path().path());
                return Detected::Refused(HttpRefusal::handshake(forms, request, refusal));
            }
            HttpRequest::Call(call) => {
                let found = snapshot.routes.find(call.path().path());
                return Detected::Call { client_protocol: ClientProtocol::Http(call), found };
            }
            HttpRequest::Refused(refusal) => return Detected::Refused(refusal),
            HttpRequest::Nothing => {}
        }
        // JSON for a path that is no procedure's is a request of another API, and a page may have any query.
        let is_call = |of: &ClientProtocol| of.is_certain(request.headers()) || found.is_procedure(path);
        match by_type.filter(is_call) {
            Some(client_protocol) => Detected::Call { client_protocol, found },
            None => self.browse(snapshot, request, found),
        }
    }

    /// Serves requests that are not calls: probes, keys, the page.
    fn browse<'a>(&self, snapshot: &'a Snapshot, request: &Request<Inbound>, found: Found<'a>) -> Detected<'a> {
        let (path, forms) = (request.uri().path(), &snapshot.routes.http);
        let unread = || Detected::Refused(HttpRefusal::of(forms, request.headers(), descriptors_unread()));
        Detected::Page(match path {
            "/livez" => console::plain(StatusCode::OK, "ok\n"),
            "/readyz" => self.readyz(request.uri().query() == Some("verbose")),
            _ if path.starts_with("/openapi")
                && let Some(response) = snapshot.openapi.respond(
                    request.method(),
                    path,
                    request.headers(),
                    &snapshot.config.compression,
                ) =>
            {
                response
            }
            _ if snapshot.is_document_unread(path) => return unread(),
            _ if !snapshot.openapi.is_empty()
                && let Some(response) =
                    docs::serve(request.method(), path, request.headers(), snapshot.config.compression.enabled) =>
            {
                response
            }
            _ if snapshot.has_explorer()
                && let Some(response) =
                    explorer::serve(request.method(), path, request.headers(), snapshot.config.compression.enabled) =>
            {
                response
            }
            "/.well-known/jwks.json" => key_set(&self.rpc.service.keys.jwks()),
            "/.well-known/trellis-gateway/jwks.json" => key_set(&[self.rpc.service.identity.jwk()]),
            // Whether the method exists, and which requests it takes, is not known.
            _ if matches!(found, Found::Unread) => return unread(),
            _ if !matches!(found, Found::Undeclared | Found::Nothing) => {
                let codec = if let Found::Method(method) = found { method.codec.as_ref() } else { None };
                return Detected::Refused(match *request.method() {
                    Method::POST => HttpRefusal::unknown_protocol(forms, request),
                    _ => HttpRefusal::not_a_call(forms, request, codec),
                });
            }
            "/" if self.state.is_external_only() => {
                let text = "This gateway has no page: it forwards calls to external upstreams only.\n";
                console::plain(StatusCode::NOT_FOUND, text)
            }
            _ => {
                let compresses = snapshot.config.compression.enabled;
                match console::serve(request.method(), path, request.headers(), compresses).filter(|_| self.console) {
                    Some(file) => file,
                    None => {
                        let cause = missing_path(snapshot, path);
                        return Detected::Refused(HttpRefusal::unknown_path(forms, request, cause));
                    }
                }
            }
        })
    }

    /// Whether this gateway can serve. The verbose form also lists upstream services: an unreachable service is no
    /// reason to send callers to another gateway.
    fn readyz(&self, verbose: bool) -> Response<Full<Bytes>> {
        let (status, verdict) = match self.rpc.readiness.is_ready() {
            true => (StatusCode::OK, "ready\n"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        };
        let needs = self.rpc.readiness.health_checks().into_iter().filter(|_| verbose);
        let lines =
            needs.map(|(name, met)| if met { format!("[+]{name} ok\n") } else { format!("[-]{name} failed\n") });
        console::plain(status, lines.chain([verdict.to_owned()]).collect::<String>())
    }
}

/// What a request is.
enum Detected<'a> {
    Call {
        client_protocol: ClientProtocol,
        found: Found<'a>,
    },
    /// An operation in GraphQL, which may make several calls.
    Graphql,
    /// No call.
    Refused(HttpRefusal),
    /// The response to the handshake of a WebSocket.
    Socket(Response<Full<Bytes>>),
    /// The response to a request of another kind.
    Page(Response<Full<Bytes>>),
}

/// Why nothing has this path.
fn missing_path(snapshot: &Snapshot, path: &str) -> MissingPath {
    match path {
        graphql::PATH if snapshot.graphql.is_none() => MissingPath::GraphqlOff,
        explorer::PATH if !snapshot.has_explorer() => MissingPath::ExplorerOff,
        _ if snapshot.routes.has_unread() => MissingPath::Undescribed,
        _ => MissingPath::Unknown,
    }
}

/// What the client's certificate proves for a call that begins now.
fn certificate_state(snapshot: &Snapshot, peer: &Peer) -> CertificateState {
    CertificateState::of(peer.certificate.as_ref(), peer.is_secure, snapshot.client_trust.as_ref())
}

/// The head of a response to HEAD (RFC 9110, section 9.3.2).
fn without_body(mut response: Response<Outgoing>) -> Response<Outgoing> {
    let has_content = ![StatusCode::NOT_MODIFIED, StatusCode::NO_CONTENT].contains(&response.status());
    if let Some(length) = response.body().size_hint().exact().filter(|_| has_content) {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response.map(|_| Outgoing::Full(Full::default()))
}

/// Public keys (RFC 7517).
fn key_set(keys: &impl serde::Serialize) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(serde_json::json!({ "keys": keys }).to_string()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    response
}

/// Restricts how a browser handles a response that a page can request: it shows it only as its content type, stores
/// it only if the response allows that, and returns over TLS only (RFC 6797). Pages cannot request native gRPC.
fn protect(snapshot: &Snapshot, peer: &Peer, headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Some(hsts) = snapshot.hsts.as_ref().filter(|_| peer.is_secure) {
        headers.insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
}
