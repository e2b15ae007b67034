//! Requests that are refused before they are routed.

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header::CONNECTION};
use http_body_util::Full;
use kit::limits::Limits;

use crate::{
    http::{console, headers},
    io::Inbound,
    server::Peer,
    state::Snapshot,
};

/// The paths that are served on a connection from a trusted proxy without the PROXY protocol
/// (`gateway.proxy_protocol`): they report whether the gateway is alive.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/grpc.health.v1.Health/Check"];

/// Why a request is refused before it is routed.
pub(super) struct Refusal {
    status: StatusCode,
    text: &'static str,
    /// The end of the request, and so the start of the next one, is uncertain (HTTP/1.1).
    ends_connection: bool,
}

impl Refusal {
    fn new(status: StatusCode, text: &'static str) -> Self {
        Self { status, text, ends_connection: false }
    }

    pub(super) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = console::plain(self.status, self.text);
        if self.ends_connection {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Refuses malformed HTTP requests and requests whose headers exceed the limits. HTTP/2 has checked their size already,
/// and hyper and h2 nearly all of the rest.
pub(super) fn check(
    limits: &Limits,
    snapshot: &Snapshot,
    peer: &Peer,
    request: &Request<Inbound>,
) -> Result<(), Refusal> {
    let headers = request.headers();
    let size = || headers::bytes(headers) + request.uri().path().len();
    let is_http2 = request.version() == Version::HTTP_2;
    if headers.len() > snapshot.config.header_count || !is_http2 && size() > limits.header_bytes as usize {
        let text = "too many header fields, or they are too large\n";
        return Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text));
    }
    if peer.is_probe && !PROBES.contains(&request.uri().path()) {
        let text = "only probes may omit the PROXY protocol header from this network (gateway.proxy_protocol)\n";
        return Err(Refusal::new(StatusCode::FORBIDDEN, text));
    }
    if is_http2 {
        return Ok(());
    }
    if !headers::name_one_host(headers, request.version()) {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "a request must name exactly one host\n"));
    }
    headers::check_framing(headers).map_err(|(status, text)| Refusal { ends_connection: true, status, text })
}
