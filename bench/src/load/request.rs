//! A request that is encoded once, so that clients only send it.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut as _, Bytes, BytesMut};

use super::Expected;

/// The version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Http {
    One,
    Two,
}

/// The protocol of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// gRPC-Web with binary bodies.
    Web,
    /// gRPC-Web with bodies in base64.
    WebText,
    /// Plain gRPC, which needs HTTP/2.
    Grpc,
}

/// The target of a request, its protocol and its token.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) port: u16,
    pub(crate) path: String,
    pub(crate) dialect: Dialect,
    pub(crate) token: Option<String>,
}

/// A request, encoded for both versions of HTTP.
pub(crate) struct Request {
    pub(super) port: u16,
    pub(super) http: Http,
    /// Head and body for HTTP/1.1.
    pub(super) text: Bytes,
    /// The head for HTTP/2.
    pub(super) head: http::Request<()>,
    /// The framed message, in base64 for gRPC-Web-text.
    pub(super) body: Bytes,
    pub(super) dialect: Dialect,
    pub(super) expected: Expected,
}

impl Request {
    pub(crate) fn new(route: &Route, http: Http, message: &[u8], expected: Expected) -> Result<Self, String> {
        let body = match route.dialect {
            Dialect::WebText => Bytes::from(STANDARD.encode(frame(message))),
            Dialect::Web | Dialect::Grpc => frame(message),
        };
        let headers = headers(route);
        let mut text = format!("POST {} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n", route.path, route.port);
        let mut head = http::Request::post(format!("http://127.0.0.1:{}{}", route.port, route.path));
        for (name, value) in &headers {
            // Writing to a String cannot fail.
            write!(text, "{name}: {value}\r\n").ok();
            head = head.header(*name, value);
        }
        write!(text, "content-length: {}\r\n\r\n", body.len()).ok();
        let mut whole = BytesMut::with_capacity(text.len() + body.len());
        whole.put(text.as_bytes());
        whole.put(body.clone());
        let head = head.body(()).map_err(|e| e.to_string())?;
        Ok(Self { port: route.port, http, text: whole.freeze(), head, body, dialect: route.dialect, expected })
    }
}

/// Headers like those of a client in a browser.
fn headers(route: &Route) -> Vec<(&'static str, String)> {
    let web = |content_type| {
        vec![
            ("content-type", content_type),
            ("accept", content_type),
            ("x-grpc-web", "1"),
            ("x-user-agent", "grpc-web-javascript/0.1"),
        ]
    };
    let mut headers = match route.dialect {
        Dialect::Web => web("application/grpc-web+proto"),
        Dialect::WebText => web("application/grpc-web-text+proto"),
        Dialect::Grpc => vec![("content-type", "application/grpc+proto"), ("te", "trailers")],
    };
    headers.push(("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"));
    let mut headers: Vec<_> = headers.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    headers.extend(route.token.as_ref().map(|token| ("authorization", format!("Bearer {token}"))));
    headers
}

fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put(message);
    framed.freeze()
}
