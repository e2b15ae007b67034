//! JSON over HTTP: calls in the HTTP form that the contract states (`google.api.http`). A response begins with its
//! status. A stream of responses is newline-delimited JSON, or server-sent events if the client asks for them.

mod content;
mod errors;
mod fields;
mod forms;
mod http_body;
mod lookup;
mod refusal;
mod stream;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, IF_MATCH, IF_NONE_MATCH},
    uri::{PathAndQuery, Uri},
};
use kit::error::status;
use tonic::{Code, Status};
use transcode::http_rule::{Binding, Detached, Found};

use crate::http::{
    controls::{self, HttpControls},
    reserved::{clean_translated_request, clean_translated_response},
};

use super::{
    Protocol, RequestDecoder, ResponseEncoder,
    caching::StoredTags,
    codec::{MethodCodec, unprintable},
    compression::ContentEncoding,
    content_type, grpc,
    status::{is_too_large, unsupported_type},
    unary::{MessageDecoder, MessageEncoder, MessageForm},
};
use content::{accepts, is_json, is_without_body};
use errors::refused;
pub(crate) use fields::HeaderFields;
use fields::{IDEMPOTENCY_KEY, LAST_EVENT_ID};
pub(crate) use forms::HttpForms;
pub(super) use http_body::{HttpBodyDecoder, HttpBodyEncoder, set_headers};
pub(crate) use lookup::HttpRequest;
pub(crate) use refusal::{HttpRefusal, MissingPath};
pub(super) use stream::{StreamEncoder, StreamForm};

/// A call in its HTTP form.
#[derive(Debug, Clone)]
pub(crate) struct HttpJson {
    forms: Arc<HttpForms>,
    /// The position of the binding.
    binding: usize,
    /// The target of the request, until it is read.
    unread: Option<Box<UnreadTarget>>,
    /// The fields of the path and the query, as protobuf.
    fields: Vec<u8>,
    compression: ContentEncoding,
    /// For a request that is an `HttpBody`.
    content_type: String,
    /// For a response to GET that is an `HttpBody`: the headers with the types that the client accepts.
    accept: Option<HeaderMap>,
    /// For a stream of responses.
    stream: StreamForm,
    /// For GET: the responses that the client has stored.
    stored: Option<StoredTags>,
    /// The call fails if the resource has changed.
    is_conditional: bool,
    /// Errors are problem documents (RFC 9457).
    is_problem: bool,
    /// The status of HTTP of a refusal, if it is not that of the code.
    refused_as: Option<StatusCode>,
}

/// The parts of a request that state its fields.
#[derive(Debug, Clone)]
struct UnreadTarget {
    uri: Uri,
    detached: Detached,
}

impl HttpJson {
    fn new<B>(forms: &Arc<HttpForms>, binding: usize, found: Found<'_>, request: &Request<B>) -> Self {
        let headers = request.headers();
        Self {
            forms: Arc::clone(forms),
            binding,
            unread: Some(Box::new(UnreadTarget { uri: request.uri().clone(), detached: found.detach() })),
            fields: Vec::new(),
            compression: ContentEncoding::Identity,
            content_type: String::new(),
            accept: None,
            stream: StreamForm::of(headers),
            stored: matches!(*request.method(), Method::GET | Method::HEAD).then(|| StoredTags::of(headers)),
            is_conditional: forms.methods[binding].1.is_conditional(headers),
            is_problem: accepts(headers, errors::PROBLEM),
            refused_as: None,
        }
    }

    /// See [`Protocol::read`].
    fn read_head<B>(&mut self, request: &Request<B>) -> Result<(), Status> {
        let (method, headers) = (request.method(), request.headers());
        if self.stored.is_some() && self.binding().response_http_body().is_some() {
            self.accept = Some(headers.get_all(ACCEPT).iter().map(|value| (ACCEPT, value.clone())).collect());
        }
        // Without a content type too: a browser sends such a request for a page of any origin, without a preflight.
        let media_type = content_type::media_type(headers);
        let is_safe = matches!(*method, Method::GET | Method::HEAD) && media_type.is_empty();
        let is_allowed = self.takes_http_body() || is_json(media_type) || is_safe || is_without_body(request);
        if !is_allowed {
            let refused = unsupported_type("send the body as JSON, with content-type application/json");
            return self.refuse_as(StatusCode::UNSUPPORTED_MEDIA_TYPE, refused);
        }
        match ContentEncoding::parse(headers.get(CONTENT_ENCODING)) {
            Ok(compression) => self.compression = compression,
            Err(refused) => return self.refuse_as(StatusCode::UNSUPPORTED_MEDIA_TYPE, refused),
        }
        if self.takes_http_body() {
            self.read_http_body(headers)?;
        }
        self.read_fields(headers)
    }

    /// Reads the fields that the path, the query and the headers state.
    fn read_fields(&mut self, headers: &HeaderMap) -> Result<(), Status> {
        let Some(UnreadTarget { uri, detached }) = self.unread.take().map(|unread| *unread) else { return Ok(()) };
        let forms = &*self.forms;
        let Some(found) = forms.tables[forms.places[self.binding].0].attach(detached, uri.path()) else {
            return Ok(());
        };
        found.append_request(uri.query(), &[], &forms.request, &mut self.fields).map_err(|error| refused(&error))?;
        forms.methods[self.binding].1.append(headers, &mut self.fields)
    }

    /// A refusal with a status of HTTP that no code of gRPC has.
    fn refuse_as<T>(&mut self, code: StatusCode, status: Status) -> Result<T, Status> {
        self.refused_as = Some(code);
        Err(status)
    }

    fn binding(&self) -> &Binding {
        self.forms.binding(self.binding)
    }

    /// The path of the method in gRPC.
    pub(crate) fn path(&self) -> &PathAndQuery {
        &self.forms.methods[self.binding].0
    }

    /// Whether the response to the call is a stream, whose status comes last.
    pub(super) fn is_stream(&self) -> bool {
        self.binding().method().is_server_streaming()
    }

    /// Appends the protobuf request whose body this is. The path decides when several parts state the same field.
    pub(super) fn append_request(&self, body: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Box<Status>> {
        let mut options = self.forms.request;
        (options.limits.input, options.limits.output) = (limit, limit);
        match self.binding().request_http_body() {
            Some(of) => http_body::append(of, self, body, out),
            None => {
                self.binding().append_body(body, &options, out).map_err(|error| Box::new(refused(&error)))?;
            }
        }
        out.extend_from_slice(&self.fields);
        Ok(())
    }

    /// Appends the JSON of a response's message.
    pub(super) fn append_response(&self, proto: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Status>> {
        let HttpForms { print, limits, .. } = &*self.forms;
        self.binding().append_response(proto, print, limits, out).map_err(|error| Box::new(unprintable(&error)))
    }

    fn error(&self, status: &Status, headers: HeaderMap) -> Response<Bytes> {
        let HttpForms { limits, .. } = &*self.forms;
        let mut response = errors::response(status, headers, self.is_problem, &self.binding().registry(), limits);
        let is_stale = || kit::error::reason(status).is_none_or(|reason| reason == crate::reason::ETAG_MISMATCH);
        if self.is_conditional && status.code() == Code::Aborted && is_stale() {
            // RFC 9110, section 15.5.13.
            *response.status_mut() = StatusCode::PRECONDITION_FAILED;
        }
        if is_too_large(status) {
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        }
        response
    }

    /// The `ETag` of a response's message.
    pub(super) fn tag(&self, proto: &[u8]) -> Option<HeaderValue> {
        self.forms.methods[self.binding].1.tag(proto)
    }

    /// Appends the `id` of an event with this message.
    fn append_event_id(&self, message: &[u8], out: &mut Vec<u8>) {
        self.forms.methods[self.binding].1.append_event_id(message, out);
    }

    /// Appends the status at the end of a stream.
    fn append_status(&self, status: &Status, out: &mut Vec<u8>) {
        errors::append(status, &self.binding().registry(), &self.forms.limits, out);
    }

    /// The response to a call that its upstream has ended. `head` and `trailers` are the upstream's metadata.
    pub(super) fn complete(
        &self,
        head: HeaderMap,
        message: Bytes,
        status: &Status,
        controls: Option<HttpControls>,
    ) -> Response<Bytes> {
        if status.code() != Code::Ok {
            return self.error(status, head);
        }
        if let Some(refusal) = self.not_acceptable(&head) {
            return refusal;
        }
        controls::respond(head, message, controls)
    }

    /// The responses that the client has stored; `None`: it may store none.
    pub(super) fn stored(&self) -> Option<&StoredTags> {
        self.stored.as_ref()
    }
}

/// The decoder and the encoder of a call keep it.
impl Protocol for Arc<HttpJson> {
    /// The path states the protocol: see [`HttpForms::find`].
    fn detect<B>(_: &Request<B>, _: &str) -> Option<Self> {
        None
    }

    fn check(&self, _: Version, codec: Option<&Arc<MethodCodec>>) -> Result<(), Status> {
        match codec {
            Some(codec) if !codec.descriptor().is_client_streaming() || self.takes_http_body() => Ok(()),
            Some(_) => {
                let message =
                    "the method reads a stream, which has no HTTP form; call it with gRPC, Connect or a WebSocket";
                Err(status(Code::Unimplemented, crate::reason::METHOD_IS_STREAM, message))
            }
            None => Err(status(
                Code::Unimplemented,
                crate::reason::JSON_UNAVAILABLE,
                "the gateway has no descriptors of this method",
            )),
        }
    }

    fn read<B>(&mut self, request: &Request<B>) -> Result<(), Status> {
        // The decoder and the encoder share the call later, so that this copies nothing.
        Arc::make_mut(self).read_head(request)
    }

    fn body_limit(&self, _: Option<&Arc<MethodCodec>>, limit: usize) -> Option<usize> {
        // A streamed `HttpBody` becomes many messages.
        (!self.binding().method().is_client_streaming()).then_some(limit)
    }

    fn timeout(&self, headers: &HeaderMap) -> Result<Option<Duration>, Status> {
        grpc::timeout(headers)
    }

    fn response_type(&self) -> HeaderValue {
        HeaderValue::from_static(if self.is_stream() { self.stream.media_type() } else { "application/json" })
    }

    /// The upstream does not compress messages that become JSON.
    fn translate_request(&self, headers: &mut HeaderMap) {
        clean_translated_request(headers);
        let own = [ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, IF_MATCH, IF_NONE_MATCH, IDEMPOTENCY_KEY, LAST_EVENT_ID];
        for name in own {
            headers.remove(name);
        }
    }

    fn translate_response(&self, headers: &mut HeaderMap) {
        clean_translated_response(headers);
    }

    fn decoder(&self, _: Option<&Arc<MethodCodec>>, limit: usize) -> RequestDecoder {
        if let Some(of) = self.binding().request_http_body().filter(|_| self.binding().method().is_client_streaming()) {
            return RequestDecoder::HttpBody(Box::new(HttpBodyDecoder::new(of, self, limit)));
        }
        let form = MessageForm::Http(Self::clone(self));
        RequestDecoder::Message(Box::new(MessageDecoder::new(self.compression, form, limit)))
    }

    fn encoder(&self, _: Option<&Arc<MethodCodec>>) -> ResponseEncoder {
        if let Some(of) = self.binding().response_http_body().filter(|_| self.is_stream()) {
            return ResponseEncoder::HttpBody(Box::new(HttpBodyEncoder::new(of)));
        }
        if self.is_stream() {
            return ResponseEncoder::HttpStream(Box::new(StreamEncoder::new(Self::clone(self), self.stream)));
        }
        ResponseEncoder::Message(Box::new(MessageEncoder::new(MessageForm::Http(Self::clone(self)))))
    }

    fn refuse(&self, status: &Status) -> Response<Bytes> {
        let mut response = self.error(status, status.metadata().clone().into_headers());
        if let Some(code) = self.refused_as {
            *response.status_mut() = code;
        }
        response
    }
}
