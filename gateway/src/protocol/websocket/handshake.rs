//! The handshake of a WebSocket over HTTP/1.1 (RFC 6455, section 4.2).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{
        CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use kit::error::status;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use tonic::{Code, Status, metadata::MetadataMap};

/// The subprotocol of one call for each socket: the text frames of this module's parent.
pub(crate) const CALL_SUBPROTOCOL: &str = "trellis.json.v1";
const VERSION: HeaderValue = HeaderValue::from_static("13");
/// RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The length of a key.
const KEY_BYTES: usize = 16;

/// Whether the request asks for a WebSocket.
pub(crate) fn is_handshake<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    *request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && names(headers, &UPGRADE, "websocket")
        && names(headers, &CONNECTION, "upgrade")
}

/// Why a handshake is refused.
#[derive(Debug)]
pub(crate) struct HandshakeRefusal {
    /// Its metadata are headers of the response.
    pub(crate) status: Status,
    pub(crate) code: StatusCode,
}

impl HandshakeRefusal {
    /// The path is the HTTP form of the method with this path in gRPC.
    pub(crate) fn http_form(path: &str) -> Self {
        bad_request(format!("the WebSocket of this method is at {path}"))
    }
}

/// The response to a handshake that must name the subprotocol. `may_call`: the page may call the gateway.
pub(crate) fn handshake(
    headers: &HeaderMap,
    subprotocol: &'static str,
    may_call: bool,
) -> Result<Response<Bytes>, HandshakeRefusal> {
    let response = lenient_handshake(headers, subprotocol, may_call)?;
    if response.headers().contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Ok(response);
    }
    Err(bad_request(format!("sec-websocket-protocol must name {subprotocol}")))
}

/// The response to a handshake. It names the subprotocol if the client does.
pub(crate) fn lenient_handshake(
    headers: &HeaderMap,
    subprotocol: &'static str,
    may_call: bool,
) -> Result<Response<Bytes>, HandshakeRefusal> {
    if !may_call {
        let message = "a page of this origin may not call; add the origin to gateway.cors_origins";
        let status = status(Code::PermissionDenied, crate::reason::CROSS_ORIGIN, message);
        return Err(HandshakeRefusal { status, code: StatusCode::FORBIDDEN });
    }
    if headers.get(SEC_WEBSOCKET_VERSION) != Some(&VERSION) {
        let mut status = invalid("the version of the WebSocket protocol must be 13");
        let mut supported = status.metadata().clone().into_headers();
        supported.insert(SEC_WEBSOCKET_VERSION, VERSION);
        supported.insert(UPGRADE, HeaderValue::from_static("websocket"));
        *status.metadata_mut() = MetadataMap::from_headers(supported);
        return Err(HandshakeRefusal { status, code: StatusCode::UPGRADE_REQUIRED });
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next().filter(|key| is_key(key)), keys.next()) else {
        return Err(bad_request("sec-websocket-key must be 16 bytes in base64"));
    };
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    out.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if names_subprotocol(headers, subprotocol) {
        out.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    }
    out.insert(SEC_WEBSOCKET_ACCEPT, accept(key));
    Ok(response)
}

/// Whether the client speaks the subprotocol.
pub(crate) fn names_subprotocol(headers: &HeaderMap, subprotocol: &str) -> bool {
    names(headers, &SEC_WEBSOCKET_PROTOCOL, subprotocol)
}

fn is_key(key: &HeaderValue) -> bool {
    STANDARD.decode(key.as_bytes()).is_ok_and(|key| key.len() == KEY_BYTES)
}

/// Proves that the server has read the key.
pub(super) fn accept(key: &HeaderValue) -> HeaderValue {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(GUID);
    // base64 is a header value.
    HeaderValue::try_from(STANDARD.encode(hash.finish())).unwrap_or(HeaderValue::from_static(""))
}

/// Whether a list in a header has this token.
fn names(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

fn bad_request(message: impl Into<String>) -> HandshakeRefusal {
    HandshakeRefusal { status: invalid(message), code: StatusCode::BAD_REQUEST }
}

fn invalid(message: impl Into<String>) -> Status {
    status(Code::InvalidArgument, crate::reason::HANDSHAKE_INVALID, message)
}
