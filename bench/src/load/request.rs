//! A request that is encoded once, so that clients only send it.

use std::{fmt::Write as _, rc::Rc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Document, Expected, Received};

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
    /// Connect, unary, with protobuf.
    Connect,
    /// JSON over HTTP.
    Json,
    /// JSON over HTTP, with a response of server-sent events.
    Events,
}

impl Dialect {
    /// The content type of a response, or its begin.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Web => "application/grpc-web",
            Self::WebText => "application/grpc-web-text",
            Self::Grpc => "application/grpc",
            Self::Connect => "application/proto",
            Self::Json => "application/json",
            Self::Events => "text/event-stream",
        }
    }

    /// Whether messages have gRPC's framing.
    fn is_framed(self) -> bool {
        matches!(self, Self::Web | Self::WebText | Self::Grpc)
    }
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
    /// The message: framed, in base64 for gRPC-Web-text, or as it is.
    pub(super) body: Bytes,
    pub(super) dialect: Dialect,
    pub(super) expected: Expected,
    /// The expected content of a body, or of an event. For dialects without framing.
    pub(super) document: Option<Rc<Document>>,
}

impl Request {
    pub(crate) fn new(route: &Route, http: Http, message: &Bytes, expected: Expected) -> Result<Self, String> {
        let dialect = route.dialect;
        let body = match dialect {
            Dialect::WebText => Bytes::from(STANDARD.encode(frame(message))),
            Dialect::Web | Dialect::Grpc => frame(message),
            Dialect::Connect | Dialect::Json | Dialect::Events => message.clone(),
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
        let text = whole.freeze();
        Ok(Self { port: route.port, http, text, head, body, dialect, expected, document: None })
    }

    /// The request, with the expected content of a body without framing.
    pub(crate) fn with_document(self, document: Document) -> Self {
        Self { document: Some(Rc::new(document)), ..self }
    }

    /// Whether the response is the expected one.
    pub(super) fn accepts(&self, response: &Received) -> bool {
        if self.dialect.is_framed() || !matches!(self.expected, Expected::Echo(_)) {
            return response.is(self.expected);
        }
        let matches = self.document.as_ref().is_some_and(|document| document.matches(&response.text));
        response.http_status == 200 && response.is_typed && matches
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
        Dialect::Connect => vec![("content-type", "application/proto"), ("connect-protocol-version", "1")],
        Dialect::Json => vec![("content-type", "application/json"), ("accept", "application/json")],
        Dialect::Events => vec![("content-type", "application/json"), ("accept", "text/event-stream")],
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
