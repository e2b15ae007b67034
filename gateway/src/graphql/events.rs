//! Responses as server-sent events: graphql-sse, distinct connections
//! (<https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md>).

use std::time::Duration;

use ::graphql::Reply;
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::time::timeout;

/// A comment, which clients ignore.
const COMMENT: &[u8] = b":\n\n";
/// The last event.
const COMPLETE: &[u8] = b"event: complete\ndata:\n\n";

/// The events of an operation. A silent stream gets a comment after `heartbeat`.
pub(super) fn stream(replies: BoxStream<'static, Reply>, heartbeat: Duration) -> BoxStream<'static, Bytes> {
    let events = stream::unfold(Some(replies), move |replies| async move {
        let mut replies = replies?;
        match timeout(heartbeat, replies.next()).await {
            Ok(Some(reply)) => Some((Bytes::from(event(&reply)), Some(replies))),
            Ok(None) => Some((Bytes::from_static(COMPLETE), None)),
            Err(_) => Some((Bytes::from_static(COMMENT), Some(replies))),
        }
    });
    // The client learns at once that the stream is open.
    stream::iter([Bytes::from_static(COMMENT)]).chain(events).boxed()
}

/// A stream of one response.
pub(super) fn once(reply: &Reply) -> Vec<u8> {
    let mut events = event(reply);
    events.extend_from_slice(COMPLETE);
    events
}

/// JSON in one line fits into one field.
fn event(reply: &Reply) -> Vec<u8> {
    let mut event = b"event: next\ndata: ".to_vec();
    event.extend_from_slice(&reply.json);
    event.extend_from_slice(b"\n\n");
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(json: &str) -> Reply {
        Reply { json: json.as_bytes().to_vec(), is_refused: false }
    }

    #[tokio::test(start_paused = true)]
    async fn responses_are_events_and_silence_gets_a_comment() {
        let replies = stream::once(async { reply("1") }).chain(stream::once(async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            reply("2")
        }));
        let events: Vec<_> = stream(replies.boxed(), Duration::from_secs(2)).collect().await;
        let expected =
            [":\n\n", "event: next\ndata: 1\n\n", ":\n\n", "event: next\ndata: 2\n\n", "event: complete\ndata:\n\n"];
        assert_eq!(events, expected.map(Bytes::from));
        assert_eq!(once(&reply("{}")), b"event: next\ndata: {}\n\nevent: complete\ndata:\n\n");
    }
}
