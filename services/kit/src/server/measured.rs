//! A response body that records the status of its call.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tonic::Code;

use crate::{grpc::code_of, record::Call};

/// A response body that records the status of its call.
pub(super) struct MeasuredBody {
    inner: Body,
    call: Call,
    /// The status in the headers: the body may end without trailers.
    early: Option<Code>,
}

impl MeasuredBody {
    pub(super) fn new(inner: Body, mut call: Call, early: Option<Code>) -> Self {
        if let Some(code) = early
            && inner.is_end_stream()
        {
            call.end(code);
        }
        Self { inner, call, early }
    }
}

impl http_body::Body for MeasuredBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    self.call.end(code);
                }
            }
            Poll::Ready(Some(Err(_))) => self.call.end(Code::Internal),
            Poll::Ready(None) => {
                let code = self.early.unwrap_or(Code::Unknown);
                self.call.end(code);
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
