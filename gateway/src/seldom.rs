//! Futures that are polled often and woken seldom.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Stream as _, stream::FuturesUnordered};

/// A future with a waker of its own: until that is used, polling costs a look at a flag. A shutdown that everybody
/// waits for would cost a lock that everybody shares, at every frame of every connection.
pub(crate) struct Seldom<F>(FuturesUnordered<F>);

impl<F: Future> Seldom<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(FuturesUnordered::from_iter([future]))
    }
}

impl<F: Future> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match ready!(Pin::new(&mut self.0).poll_next(cx)) {
            Some(output) => Poll::Ready(output),
            // It has ended before.
            None => Poll::Pending,
        }
    }
}
