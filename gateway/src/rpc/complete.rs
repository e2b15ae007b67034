//! Responses whose head depends on what follows: on the status, which ends the call, or on the first message.

use std::{future::poll_fn, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_RANGE},
};
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use tonic::{Code, Status};

use super::{
    Outgoing, ResponseBody, RpcCall,
    response_body::{PIECE, TruncatedMessage},
};
use crate::{
    http::{compression, content_coding::ContentCoding, controls::HttpControls, headers},
    protocol::status::no_status,
    routes::Found,
    server::{Wait, Watched},
};

/// A response that may be compressed.
#[derive(Clone, Copy)]
pub(super) struct Compressible {
    /// The coding that the client prefers; `None`: the body as it is.
    coding: Option<ContentCoding>,
}

impl RpcCall<'_> {
    /// Whether the response to a request with these headers may be compressed. `None`: no, because it may hold a secret
    /// or private text beside text of an attacker. A method without descriptors may return anything. A browser adds the
    /// session cookie by itself, also to requests that a page of an attacker causes.
    pub(super) fn compression(&self, found: &Found<'_>, request: &HeaderMap) -> Option<Compressible> {
        let Found::Method(method) = found else { return None };
        let is_public = method.codec.as_ref().is_some_and(|codec| !codec.has_private_response());
        let may_be = self.snapshot.config.compression.enabled
            && self.client_protocol.begins_with_status()
            && is_public
            && !method.reads_session_cookie;
        may_be.then(|| Compressible { coding: ContentCoding::preferred(request, &ContentCoding::ALL) })
    }

    /// Waits for the end of the call, and makes its status the head of the response. The body of the response bounds
    /// the message and the time.
    pub(super) async fn complete(
        &self,
        response: Response<Outgoing>,
        compressible: Option<Compressible>,
    ) -> Response<Outgoing> {
        let (mut parts, body) = response.into_parts();
        // A refusal is complete already.
        let Outgoing::Response(mut body) = body else { return Response::from_parts(parts, body) };
        let (mut head, controls) = (parts.headers, parts.extensions.remove::<HttpControls>());
        let (message, trailers) = read(&mut body, &mut head).await;
        self.completed(head, message, trailers, body, (compressible, controls))
    }

    /// Waits for the first bytes of a stream whose head its first message states. Without any the response is complete.
    pub(super) async fn begin(&self, response: Response<Outgoing>) -> Response<Outgoing> {
        let (mut parts, body) = response.into_parts();
        let Outgoing::Response(mut body) = body else { return Response::from_parts(parts, body) };
        let controls = parts.extensions.remove::<HttpControls>();
        let first = poll_fn(|cx| body.poll(cx)).await.and_then(Result::ok);
        let trailers = match first.map(Frame::into_data) {
            Some(Ok(bytes)) => {
                body.encoder().set_headers(&mut parts.headers);
                if let Some(refusal) = self.client_protocol.not_acceptable(&parts.headers) {
                    return refusal.map(|body| Outgoing::Full(Full::new(body)));
                }
                body.put_back(bytes);
                let mut response = Response::from_parts(parts, Outgoing::Response(body));
                if let Some(controls) = controls {
                    controls.set_head(&mut response);
                }
                return response;
            }
            Some(Err(trailers)) => trailers.into_trailers().unwrap_or_default(),
            None => headers::take_status(&mut parts.headers),
        };
        self.completed(parts.headers, Bytes::new(), trailers, body, (None, controls))
    }

    fn completed(
        &self,
        mut head: HeaderMap,
        message: Bytes,
        mut trailers: HeaderMap,
        body: ResponseBody,
        (compressible, controls): (Option<Compressible>, Option<HttpControls>),
    ) -> Response<Outgoing> {
        let status = Status::from_header_map(&trailers).unwrap_or_else(no_status);
        headers::take_status(&mut trailers);
        body.encoder().set_headers(&mut head);
        // The controls first: they decide whether the response has a body, and whether it may be compressed.
        let mut response = self.client_protocol.complete(head, message, &status, &trailers, controls);
        if status.code() == Code::Ok {
            // Before the tag is made: it is the hash of what is sent, so that each coding has its own.
            if let Some(compressible) = compressible.filter(|_| has_whole_content(&response)) {
                response = self.compress(response, compressible);
            }
            response = self.client_protocol.let_store(response);
        }
        if response.status() == StatusCode::NOT_MODIFIED {
            response.headers_mut().remove(CONTENT_ENCODING);
        }
        let watched = body.into_watched();
        response.map(|message| Outgoing::complete(message, watched))
    }

    fn compress(&self, response: Response<Bytes>, Compressible { coding }: Compressible) -> Response<Bytes> {
        let (mut parts, message) = response.into_parts();
        compression::mark(&mut parts.headers);
        let message = compression::apply(&self.snapshot.config.compression, coding, &mut parts.headers, message);
        Response::from_parts(parts, message)
    }
}

/// Whether the body is the whole content. The range of a part (RFC 9110, section 15.3.7) counts the bytes that the
/// service sent, not those of a coding.
fn has_whole_content(response: &Response<Bytes>) -> bool {
    let status = response.status();
    let is_part = status == StatusCode::PARTIAL_CONTENT || response.headers().contains_key(CONTENT_RANGE);
    status.is_success() && !is_part && !response.body().is_empty()
}

/// Reads the message and the trailers. Without a body the status is in the head.
async fn read(body: &mut ResponseBody, head: &mut HeaderMap) -> (Bytes, HeaderMap) {
    let mut message = Bytes::new();
    while let Some(Ok(frame)) = poll_fn(|cx| body.poll(cx)).await {
        match frame.into_data() {
            Ok(data) => message = data,
            Err(frame) => return (message, frame.into_trailers().unwrap_or_default()),
        }
    }
    (message, headers::take_status(head))
}

/// The body of a complete response.
pub(crate) struct CompleteBody {
    message: Bytes,
    /// Records whether the client reads it.
    watched: Watched,
}

impl CompleteBody {
    pub(super) fn new(message: Bytes, watched: Watched) -> Self {
        Self { message, watched }
    }

    pub(super) fn wait(&self) -> Arc<Wait> {
        self.watched.wait()
    }

    pub(super) fn is_end(&self) -> bool {
        self.message.is_empty()
    }

    pub(super) fn size(&self) -> SizeHint {
        SizeHint::with_exact(self.message.len() as u64)
    }

    pub(super) fn poll(&mut self) -> Poll<Option<Result<Frame<Bytes>, TruncatedMessage>>> {
        self.watched.polled();
        if self.is_end() {
            return Poll::Ready(None);
        }
        let piece = self.message.split_to(self.message.len().min(PIECE));
        self.watched.returned(piece.len());
        self.watched.kept(self.message.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
