//! Turns a panic into a response: it reaches neither the client nor its connection.

use std::{any::Any, panic::AssertUnwindSafe};

use futures_util::{FutureExt as _, Stream, StreamExt as _};

use crate::reply::Reply;

/// Receives the message of each panic.
pub type OnPanic = fn(&str);

/// The result of `run`; the response to a panic is an error.
pub(crate) fn catch<T>(on_panic: OnPanic, run: impl FnOnce() -> Result<T, Reply>) -> Result<T, Reply> {
    std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|payload| Err(reply(on_panic, &*payload)))
}

/// The response of `run`.
pub(crate) async fn catch_async(on_panic: OnPanic, run: impl Future<Output = Reply>) -> Reply {
    AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|payload| reply(on_panic, &*payload))
}

/// The responses of `replies`, of which that to a panic is the last one.
pub(crate) fn catch_stream(
    on_panic: OnPanic,
    replies: impl Stream<Item = Reply> + Send + 'static,
) -> impl Stream<Item = Reply> + Send + 'static {
    let replies = AssertUnwindSafe(replies).catch_unwind();
    replies.map(move |replied| replied.unwrap_or_else(|payload| reply(on_panic, &*payload)))
}

fn reply(on_panic: OnPanic, payload: &(dyn Any + Send)) -> Reply {
    let text = payload.downcast_ref::<&str>().copied();
    on_panic(
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message"),
    );
    Reply::internal()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use futures_util::stream;

    use super::*;

    static PANICS: AtomicUsize = AtomicUsize::new(0);

    fn count(message: &str) {
        assert!(message.starts_with("on purpose"), "{message}");
        PANICS.fetch_add(1, SeqCst);
    }

    #[tokio::test]
    #[expect(clippy::panic, reason = "the panics are those that are caught")]
    async fn panic_becomes_an_internal_error() {
        assert_eq!(catch(count, || -> Result<(), Reply> { panic!("on purpose") }), Err(Reply::internal()));
        assert_eq!(catch_async(count, async { panic!("on purpose {}", 2) }).await, Reply::internal());
        let replies = stream::iter([1, 2, 3]).map(|at| match at {
            1 => Reply::refused("CODE", "first"),
            _ => panic!("on purpose"),
        });
        let replies: Vec<_> = catch_stream(count, replies).collect().await;
        assert_eq!(replies, [Reply::refused("CODE", "first"), Reply::internal()]);
        assert_eq!(PANICS.load(SeqCst), 3);
    }
}
