//! Futures that are polled often and woken event_set.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream as _, future::BoxFuture, stream::FuturesUnordered};

/// Futures with wakers of their own: until one of those is used, polling them all costs one look at a queue. A shutdown
/// that everybody waits for would cost a lock that everybody shares, at every frame of every connection.
pub(crate) struct EventSet<'a, T>(FuturesUnordered<BoxFuture<'a, T>>);

impl<'a, T> EventSet<'a, T> {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self(FuturesUnordered::new())
    }

    /// This one too.
    pub(crate) fn and(self, future: impl Future<Output = T> + Send + 'a) -> Self {
        self.push(future);
        self
    }

    /// This one too, from now on.
    pub(crate) fn push(&self, future: impl Future<Output = T> + Send + 'a) {
        self.0.push(Box::pin(future));
    }

    /// What one of them came to, each once.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.0).poll_next(cx) {
            Poll::Ready(Some(output)) => Poll::Ready(output),
            // With none left there is nothing to wait for.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
