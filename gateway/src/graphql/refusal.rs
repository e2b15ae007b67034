//! Refusals of requests whose operation is not known.

use std::borrow::Cow;

use ::graphql::Reply;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::ALLOW};
use http_body_util::Full;
use kit::error;
use tonic::{Code, Status};

use super::{Form, with_type};
use crate::{
    protocol::status::{add_http_headers, http_status, is_too_large},
    rpc::Outgoing,
};

/// A response that refuses a request before its operation is known.
#[derive(Debug)]
pub(super) struct RequestRefusal {
    pub(super) status: StatusCode,
    code: Cow<'static, str>,
    pub(super) message: String,
    headers: Box<HeaderMap>,
}

impl RequestRefusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), headers: Box::default() }
    }

    /// The refusal of a status; its reason is the code.
    pub(super) fn of(status: &Status) -> Self {
        let reason = error::reason(status).map_or(Cow::Borrowed("UNKNOWN"), Cow::Owned);
        let mut headers = status.metadata().clone().into_headers();
        add_http_headers(status, &mut headers);
        Self {
            status: if is_too_large(status) { StatusCode::PAYLOAD_TOO_LARGE } else { http_status(status) },
            code: reason,
            message: status.message().to_owned(),
            headers: Box::new(headers),
        }
    }

    /// The same refusal with another status and a header.
    pub(super) fn with(mut self, status: StatusCode, name: HeaderName, value: &'static str) -> Self {
        self.status = status;
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    /// The code with which the request is counted.
    pub(super) fn rpc_code(&self) -> Code {
        match self.status {
            StatusCode::NOT_FOUND => Code::NotFound,
            StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::Unimplemented,
            StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
            _ => Code::InvalidArgument,
        }
    }

    /// The refusal in GraphQL.
    pub(super) fn reply(&self) -> Reply {
        Reply::refused(&self.code, &self.message)
    }

    /// The response. A refusal is no stream.
    pub(super) fn response(self, form: Form) -> Response<Outgoing> {
        let reply = self.reply();
        let mut response = Response::new(Outgoing::Full(Full::from(reply.json)));
        *response.status_mut() = self.status;
        response.headers_mut().extend(*self.headers);
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        }
        with_type(response, if form == Form::Events { Form::Json } else { form })
    }
}
