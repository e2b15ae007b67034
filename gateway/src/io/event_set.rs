//! Futures that are polled often and rarely ready.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream as _, future::BoxFuture, stream::FuturesUnordered};

/// Futures with wakers of their own: until one of those is used, polling them all costs one check of a queue. Polling
/// the shutdown directly would take a lock that all connections share, at every frame of each of them.
pub(crate) struct EventSet<'a, T>(FuturesUnordered<BoxFuture<'a, T>>);

impl<'a, T> EventSet<'a, T> {
    /// An empty set.
    pub(crate) fn new() -> Self {
        Self(FuturesUnordered::new())
    }

    /// Adds a future.
    pub(crate) fn and(self, future: impl Future<Output = T> + Send + 'a) -> Self {
        self.push(future);
        self
    }

    /// Adds a future to a set in use.
    pub(crate) fn push(&self, future: impl Future<Output = T> + Send + 'a) {
        self.0.push(Box::pin(future));
    }

    /// The output of one of the futures; each output is returned once.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.0).poll_next(cx) {
            Poll::Ready(Some(output)) => Poll::Ready(output),
            // An empty set never becomes ready.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
