//! The operations that run over a socket.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{
    StreamExt as _,
    stream::{self, AbortHandle, BoxStream, SelectAll},
};

use super::super::calls::Interruption;

/// What an operation does.
#[derive(Debug)]
pub(super) enum OperationEvent {
    /// It is a subscription that has begun.
    Begun,
    /// A result.
    Next(Vec<u8>),
    /// The last result, because a stream has ended that the client would open again.
    Interrupted(Interruption, Vec<u8>),
    /// It is refused; it has no result.
    Refused(Vec<u8>),
    /// It has ended after its results.
    Complete,
}

impl OperationEvent {
    fn is_last(&self) -> bool {
        matches!(self, Self::Interrupted(..) | Self::Refused(_) | Self::Complete)
    }
}

/// The events of an operation, with its id.
type Events<'a> = BoxStream<'a, (Arc<str>, OperationEvent)>;

/// See the module.
#[derive(Default)]
pub(super) struct Operations<'a> {
    events: SelectAll<Events<'a>>,
    running: HashMap<Arc<str>, Running>,
}

struct Running {
    abort: AbortHandle,
    is_subscription: bool,
}

impl<'a> Operations<'a> {
    /// Starts an operation. Its id must not be that of a running one.
    pub(super) fn start(&mut self, id: &str, events: BoxStream<'a, OperationEvent>) {
        let id: Arc<str> = id.into();
        let (events, abort) = stream::abortable(events);
        self.running.insert(Arc::clone(&id), Running { abort, is_subscription: false });
        self.events.push(events.map(move |event| (Arc::clone(&id), event)).boxed());
    }

    /// Ends an operation without a further event, and so cancels its calls.
    pub(super) fn cancel(&mut self, id: &str) {
        if let Some(running) = self.running.remove(id) {
            running.abort.abort();
        }
    }

    pub(super) fn cancel_subscriptions(&mut self) {
        self.running.retain(|_, running| {
            if running.is_subscription {
                running.abort.abort();
            }
            !running.is_subscription
        });
    }

    /// Notes that an operation is a subscription.
    pub(super) fn mark_subscription(&mut self, id: &str) {
        if let Some(running) = self.running.get_mut(id) {
            running.is_subscription = true;
        }
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.running.contains_key(id)
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The next event of any operation. Pending without one: the caller polls again after it has started one.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(Arc<str>, OperationEvent)> {
        // Without operations the set of events is at its end.
        let Poll::Ready(Some((id, event))) = self.events.poll_next_unpin(cx) else { return Poll::Pending };
        if event.is_last() {
            self.cancel(&id);
        }
        Poll::Ready((id, event))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt as _;

    use super::*;

    fn next(operations: &mut Operations<'_>) -> Option<(String, OperationEvent)> {
        let (id, event) = poll_fn(|cx| operations.poll_next(cx)).now_or_never()?;
        Some((id.to_string(), event))
    }

    fn open() -> BoxStream<'static, OperationEvent> {
        stream::iter([OperationEvent::Begun]).chain(stream::pending()).boxed()
    }

    #[test]
    fn operation_ends_with_its_last_event() {
        let mut operations = Operations::default();
        let results = [OperationEvent::Next(b"1".to_vec()), OperationEvent::Complete, OperationEvent::Complete];
        operations.start("a", stream::iter(results).boxed());
        operations.start("b", open());
        let mut events: Vec<_> = std::iter::from_fn(|| next(&mut operations)).map(|(id, _)| id).collect();
        events.sort();
        assert_eq!(events, ["a", "a", "b"], "no event follows the last one");
        assert!(operations.contains("b") && !operations.contains("a"));
    }

    #[test]
    fn cancelled_operation_has_no_event() {
        let mut operations = Operations::default();
        operations.start("a", open());
        operations.start("b", open());
        operations.cancel("a");
        // The id is free at once.
        assert!(!operations.contains("a"));
        operations.start("a", stream::pending().boxed());
        assert!(matches!(next(&mut operations), Some((id, OperationEvent::Begun)) if id == "b"));
        operations.mark_subscription("b");
        operations.cancel_subscriptions();
        assert!(next(&mut operations).is_none());
        assert!(operations.contains("a") && operations.len() == 1);
        assert_eq!(operations.events.len(), 1, "the others are dropped");
    }
}
