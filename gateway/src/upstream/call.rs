//! One call on a connection to an upstream: sends the request and receives the response. It uses h2 directly, so that
//! one system call writes the request's head and the available part of its body, and a unary call needs no own task.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{RecvStream, client::ResponseFuture};
use http::HeaderMap;
use http_body::{Body as _, Frame};
use kit::balance::EndpointOutcome;
use tokio::task::AbortHandle;

use super::{
    Failure, RequestBody,
    cancel::Cancelled,
    cluster::Lease,
    failure::{is_ours, outcome_of_break},
};
use crate::io::{Pipe, ReceiveBuffer};

/// A call that ended without a response.
pub(super) struct Pending {
    pub(super) failure: Failure,
    /// The body, for a retry: see [`RequestBody::rewind`].
    pub(super) body: RequestBody,
    pub(super) lease: Lease,
}

/// A call whose response has begun.
pub(super) struct Responded {
    pub(super) response: http::Response<RecvStream>,
    pipe: Pipe<RequestBody>,
    pub(super) lease: Lease,
}

impl Responded {
    /// Accepts the response: there is no further retry.
    pub(super) fn accept(self) -> http::Response<Reply> {
        let Self { response, pipe, lease } = self;
        let upload = continue_request(pipe, &lease, response.body().stream_id().as_u32());
        let reply = |body| Reply {
            receive_buffer: Arc::new(ReceiveBuffer::new(body)),
            data_ended: false,
            has_failed: false,
            upload,
            lease,
        };
        response.map(reply)
    }

    /// The body, for a retry in place of this response: see [`RequestBody::rewind`].
    pub(super) fn body(&mut self) -> &mut RequestBody {
        self.pipe.body_mut()
    }

    /// The request, for a retry.
    pub(super) fn into_body(self) -> RequestBody {
        self.pipe.into_body()
    }
}

/// A call that waits for its response. Dropping it cancels the call.
struct Waiting<'a> {
    /// `None`: it has arrived.
    response: Option<ResponseFuture>,
    lease: &'a Lease,
}

impl Waiting<'_> {
    /// Sends the request until the response's head has arrived, or the request is cut off.
    async fn head(mut self, pipe: &mut Pipe<RequestBody>) -> Result<http::Response<RecvStream>, Failure> {
        poll_fn(|cx| {
            // The response ends this future, not the request.
            let _ = pipe.poll(cx);
            if pipe.is_cut() {
                return Poll::Ready(Err(Failure::Cut));
            }
            self.poll(cx).map_err(|error| {
                self.lease.broke(&error);
                Failure::sent(error)
            })
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<http::Response<RecvStream>, h2::Error>> {
        let Some(response) = &mut self.response else { return Poll::Pending };
        let head = ready!(Pin::new(response).poll(cx));
        self.response = None;
        Poll::Ready(head)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(response) = self.response.take() {
            self.lease.cancel(Cancelled::Waiting(response));
        }
    }
}

/// Sends a request and waits for the response's head. Dropping the future, or the response before its end, cancels the
/// call.
pub(super) async fn send(lease: Lease, head: http::Request<()>, body: RequestBody) -> Result<Responded, Box<Pending>> {
    let mut sender = lease.sender();
    let is_whole = body.is_end_stream();
    let (response, stream) = match sender.send_request(head, is_whole) {
        Ok(sent) => sent,
        Err(error) => return Err(Box::new(Pending { failure: Failure::unsent(error), body, lease })),
    };
    let id = response.stream_id().as_u32();
    let mut pipe = Pipe::with_head(body, stream);
    let waiting = Waiting { response: Some(response), lease: &lease };
    match waiting.head(&mut pipe).await {
        Ok(response) => {
            lease.accepted(id);
            lease.head(response.headers());
            Ok(Responded { response, pipe, lease })
        }
        Err(failure) => Err(Box::new(Pending { failure, body: pipe.into_body(), lease })),
    }
}

/// Sends the rest of a request while the response arrives on stream `id`.
fn continue_request(mut pipe: Pipe<RequestBody>, lease: &Lease, id: u32) -> Option<AbortHandle> {
    pipe.body_mut().keep_no_more();
    if pipe.has_ended() {
        return None;
    }
    let receive_buffer = pipe.body_mut().receive_buffer();
    let cancellations = lease.cancellations();
    let sending = async move {
        poll_fn(|cx| {
            let polled = pipe.poll(cx);
            // While the upstream does not read, small frames of the caller are still joined.
            if polled.is_pending()
                && let Some(receive_buffer) = receive_buffer.upgrade()
            {
                receive_buffer.read_ahead(cx);
            }
            polled
        })
        .await;
        if pipe.is_cut() {
            cancellations.turn(id).await;
            pipe.reset();
        }
    };
    Some(tokio::spawn(sending).abort_handle())
}

/// A response's body.
pub(crate) struct Reply {
    receive_buffer: Arc<ReceiveBuffer>,
    data_ended: bool,
    /// The stream broke: there is nothing left to cancel.
    has_failed: bool,
    /// Sends the rest of a request whose response began before its end.
    upload: Option<AbortHandle>,
    /// Held until the response has ended.
    lease: Lease,
}

impl Reply {
    /// The next frame. Returning it lets the upstream send as many bytes more.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.data_ended {
            match ready!(self.receive_buffer.poll_data(cx)) {
                Some(Ok(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Some(Err(error)) => return Poll::Ready(Some(Err(self.broken(error)))),
                None => self.data_ended = true,
            }
        }
        match ready!(self.receive_buffer.poll_trailers(cx)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers: HeaderMap| {
                self.lease.report(EndpointOutcome::of(&trailers));
                Ok(Frame::trailers(trailers))
            })),
            Err(error) => Poll::Ready(Some(Err(self.broken(error)))),
        }
    }

    /// The buffer that reads ahead while no frame is requested.
    pub(crate) fn receive_buffer(&self) -> Arc<ReceiveBuffer> {
        Arc::clone(&self.receive_buffer)
    }

    /// Reports a broken stream to the load balancer, unless the gateway broke it off.
    fn broken(&mut self, error: h2::Error) -> h2::Error {
        self.has_failed = true;
        self.lease.broke(&error);
        if is_ours(&error) {
            self.lease.unused();
        } else {
            self.lease.report(outcome_of_break(&error));
        }
        error
    }

    /// Nothing more follows, not even trailers.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.receive_buffer.is_end_stream()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.abort();
        }
        if !self.has_failed && !self.receive_buffer.is_end_stream() {
            self.lease.cancel(Cancelled::Reading(Arc::clone(&self.receive_buffer)));
        }
    }
}
