//! Requests over HTTP that are no call: their path is unknown, or has no method for them.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header::ALLOW};
use http_body_util::Full;
use kit::error;
use tonic::{Code, Status};

use super::{HttpForms, accepts, errors};
use crate::{
    http::console,
    protocol::{
        MethodCodec,
        connect::get,
        status::{add_http_headers, http_status, unsupported_type},
        websocket::HandshakeRefusal,
    },
};

/// The refusal of a request that is no call, or the response to `OPTIONS`.
#[derive(Debug)]
pub(crate) struct HttpRefusal {
    forms: Arc<HttpForms>,
    form: ErrorForm,
    /// OK: the response to `OPTIONS`.
    status: Status,
    code: StatusCode,
    allow: Option<HeaderValue>,
}

/// How a client reads an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorForm {
    /// `google.rpc.Status` as JSON.
    Status,
    /// A problem document (RFC 9457).
    Problem,
    /// Text, for people.
    Text,
}

/// Why nothing has a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingPath {
    Unknown,
    /// The descriptors of an upstream have not been read yet, so that its HTTP forms are missing.
    Undescribed,
    /// It is that of GraphQL, which the configuration turns off.
    GraphqlOff,
    /// It is that of the GraphQL explorer, which the configuration turns off.
    ExplorerOff,
}

impl ErrorForm {
    fn of(headers: &HeaderMap) -> Self {
        if accepts(headers, errors::PROBLEM) {
            Self::Problem
        } else if accepts(headers, "text/html") {
            Self::Text
        } else {
            Self::Status
        }
    }
}

impl HttpRefusal {
    /// A refusal with this status.
    pub(crate) fn of(forms: &Arc<HttpForms>, headers: &HeaderMap, status: Status) -> Self {
        let code = http_status(&status);
        Self { forms: Arc::clone(forms), form: ErrorForm::of(headers), status, code, allow: None }
    }

    pub(super) fn new<B>(forms: &Arc<HttpForms>, request: &Request<B>, status: Status, code: StatusCode) -> Self {
        Self { forms: Arc::clone(forms), form: ErrorForm::of(request.headers()), status, code, allow: None }
    }

    /// No method, page or file has the path.
    pub(crate) fn unknown_path<B>(forms: &Arc<HttpForms>, request: &Request<B>, cause: MissingPath) -> Self {
        let message = match cause {
            MissingPath::Unknown => "no page or method at this path",
            MissingPath::Undescribed => {
                "no page or method at this path; the gateway could not read the descriptors of all services yet, so that \
                 a path of theirs is missing: try again"
            }
            MissingPath::GraphqlOff => "GraphQL is off; gateway.graphql.enabled = true turns it on",
            MissingPath::ExplorerOff => {
                "the GraphQL explorer is off; gateway.graphql.enabled = true and gateway.graphql.explorer = true turn it on"
            }
        };
        let status = error::status(Code::NotFound, crate::reason::UNKNOWN_PATH, message);
        Self::new(forms, request, status, StatusCode::NOT_FOUND)
    }

    /// The path is that of a method in gRPC, but the content type is that of no protocol.
    pub(crate) fn unknown_protocol<B>(forms: &Arc<HttpForms>, request: &Request<B>) -> Self {
        let message = "call methods with content-type application/json, application/proto, application/connect+json, \
                       application/connect+proto, application/grpc, application/grpc-web+proto or \
                       application/grpc-web-text+proto";
        Self::new(forms, request, unsupported_type(message), StatusCode::UNSUPPORTED_MEDIA_TYPE)
    }

    /// The path is that of a method in gRPC, which takes POST and, without side effects, GET with a query. Without the query
    /// the URI takes no GET: `allow` lists the methods of the URI.
    pub(crate) fn not_a_call<B>(
        forms: &Arc<HttpForms>,
        request: &Request<B>,
        codec: Option<&Arc<MethodCodec>>,
    ) -> Self {
        let takes_get = codec.is_some_and(|codec| get::is_callable(codec.descriptor()));
        let is_get = [Method::GET, Method::HEAD].contains(request.method());
        let message = match (takes_get, is_get) {
            (true, true) => "to call the method with GET, state the query parameters encoding and message; or use POST",
            (true, false) => "use POST to call the method, or GET with the query parameters encoding and message",
            (false, _) => "use POST to call the method",
        };
        let allow = if takes_get && !is_get { "GET, HEAD, OPTIONS, POST" } else { "OPTIONS, POST" };
        let allow = HeaderValue::from_static(allow);
        match *request.method() {
            Method::OPTIONS => Self::options(forms, request, allow),
            _ => Self::method_not_allowed(forms, request, message.to_owned(), allow),
        }
    }

    /// The request asks for a WebSocket, and does not get one.
    pub(crate) fn handshake<B>(forms: &Arc<HttpForms>, request: &Request<B>, refusal: HandshakeRefusal) -> Self {
        Self::new(forms, request, refusal.status, refusal.code)
    }

    /// The path has other methods of HTTP.
    pub(super) fn method_not_allowed<B>(
        forms: &Arc<HttpForms>,
        request: &Request<B>,
        message: String,
        allow: HeaderValue,
    ) -> Self {
        Self { allow: Some(allow), ..Self::not_allowed(forms, request, message) }
    }

    fn not_allowed<B>(forms: &Arc<HttpForms>, request: &Request<B>, message: String) -> Self {
        let status = error::status(Code::Unimplemented, crate::reason::METHOD_NOT_ALLOWED, message);
        Self::new(forms, request, status, StatusCode::METHOD_NOT_ALLOWED)
    }

    /// The methods of HTTP that a path, or the server, has.
    pub(super) fn options<B>(forms: &Arc<HttpForms>, request: &Request<B>, allow: HeaderValue) -> Self {
        let refusal = Self::new(forms, request, Status::new(Code::Ok, ""), StatusCode::NO_CONTENT);
        Self { allow: Some(allow), ..refusal }
    }

    /// The code with which the request is counted.
    pub(crate) fn code(&self) -> Code {
        self.status.code()
    }

    /// The response.
    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let mut response = match self.status.code() {
            Code::Ok => Response::default(),
            _ => self.error(&self.status),
        };
        *response.status_mut() = self.code;
        if let Some(allow) = &self.allow {
            response.headers_mut().insert(ALLOW, allow.clone());
        }
        response
    }

    /// The response to a request that is refused for another reason: there were too many.
    pub(crate) fn error(&self, status: &Status) -> Response<Full<Bytes>> {
        let headers = status.metadata().clone().into_headers();
        if self.form == ErrorForm::Text {
            let mut response = console::plain(http_status(status), format!("{}\n", status.message()));
            response.headers_mut().extend(headers);
            add_http_headers(status, response.headers_mut());
            return response;
        }
        let HttpForms { registry, limits, .. } = &*self.forms;
        errors::response(status, headers, self.form == ErrorForm::Problem, registry, limits).map(Full::new)
    }
}
