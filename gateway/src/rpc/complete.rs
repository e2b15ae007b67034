//! Responses that begin with their status: they are sent when the call has ended.

use std::{future::poll_fn, sync::Arc, task::Poll};

use bytes::Bytes;
use http::{HeaderMap, Response, header::ETAG};
use http_body::{Frame, SizeHint};
use tonic::Status;

use super::{
    Outgoing, ResponseBody, RpcCall,
    response_body::{PIECE, TruncatedMessage},
};
use crate::{
    http::headers,
    protocol::status::no_status,
    server::{Wait, Watched},
};

impl RpcCall<'_> {
    /// Waits for the end of the call, and makes its status the head of the response. The body of the response bounds
    /// the message and the time.
    pub(super) async fn complete(&self, response: Response<Outgoing>) -> Response<Outgoing> {
        let (parts, body) = response.into_parts();
        // A refusal is complete already.
        let Outgoing::Response(mut body) = body else { return Response::from_parts(parts, body) };
        let mut head = parts.headers;
        let (message, mut trailers) = read(&mut body, &mut head).await;
        let status = Status::from_header_map(&trailers).unwrap_or_else(no_status);
        headers::take_status(&mut trailers);
        if let Some(tag) = body.encoder().tag() {
            head.insert(ETAG, tag.clone());
        }
        let response = self.client_protocol.complete(head, message, &status, &trailers);
        let watched = body.into_watched();
        response.map(|message| Outgoing::Complete(CompleteBody { message, watched }))
    }
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
