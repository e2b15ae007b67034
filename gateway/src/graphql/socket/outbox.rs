//! The frames that wait for the client.

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _};
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::server::Watched;

/// The most bytes of a frame. A longer message is sent in several, so that PINGs stand between them and the watchdog
/// sees that the client reads.
const FRAGMENT_BYTES: usize = 64 * 1024;
/// While more bytes wait, no operation continues.
const ROOM_BYTES: usize = 64 * 1024;

/// See the module. The operations pause while it is full, so that it holds one result beyond [`ROOM_BYTES`].
pub(super) struct Outbox {
    /// The frames with their bytes of text.
    frames: VecDeque<(Message, usize)>,
    bytes: usize,
    /// The size of the frame that the socket has accepted last.
    last: usize,
    /// The client has not taken what the socket has accepted.
    is_waiting: bool,
    /// It has been so since the last call of [`Self::take_wait`].
    has_waited: bool,
    /// Ends the connection of a client that does not read.
    watched: Watched,
}

impl Outbox {
    pub(super) fn new(watched: Watched) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, last: 0, is_waiting: false, has_waited: false, watched }
    }

    /// Adds a text message, which must be UTF-8.
    pub(super) fn push(&mut self, text: impl Into<Bytes>) {
        let mut rest = text.into();
        self.bytes += rest.len();
        let mut kind = Data::Text;
        loop {
            let fragment = rest.split_to(rest.len().min(FRAGMENT_BYTES));
            let (bytes, is_last) = (fragment.len(), rest.is_empty());
            let frame = Frame::message(fragment, OpCode::Data(kind), is_last);
            self.frames.push_back((Message::Frame(frame), bytes));
            if is_last {
                return;
            }
            kind = Data::Continue;
        }
    }

    pub(super) fn ping(&mut self) {
        self.frames.push_back((Message::Ping(Bytes::new()), 0));
    }

    pub(super) fn has_room(&self) -> bool {
        self.bytes < ROOM_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether the client has not read at once since the last call.
    pub(super) fn take_wait(&mut self) -> bool {
        std::mem::replace(&mut self.has_waited, self.is_waiting)
    }

    /// Passes the frames on that the socket accepts.
    pub(super) fn poll_feed<S>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>>
    where
        S: Sink<Message, Error = tungstenite::Error> + Unpin,
    {
        while !self.frames.is_empty() {
            let Poll::Ready(accepts) = socket.poll_ready_unpin(cx) else { return self.wait() };
            accepts?;
            let Some((frame, bytes)) = self.frames.pop_front() else { break };
            self.last = bytes;
            self.bytes -= bytes;
            // Progress: the client has taken the frame before.
            self.is_waiting = false;
            socket.start_send_unpin(frame)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Sends all frames.
    pub(super) fn poll_flush<S>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>>
    where
        S: Sink<Message, Error = tungstenite::Error> + Unpin,
    {
        ready!(self.poll_feed(socket, cx))?;
        let Poll::Ready(flushed) = socket.poll_flush_unpin(cx) else { return self.wait() };
        flushed?;
        self.is_waiting = false;
        self.watched.kept(0);
        self.watched.polled();
        Poll::Ready(Ok(()))
    }

    fn wait<T>(&mut self) -> Poll<T> {
        self.has_waited = true;
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.watched.returned(self.last);
        }
        self.watched.kept(self.bytes);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::{FutureExt as _, StreamExt as _};
    use tokio::io::duplex;
    use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

    use super::*;
    use crate::server::{Stalls, Watchdog};

    #[tokio::test]
    async fn long_message_waits_for_its_client_in_fragments() {
        let (server, client) = duplex(1024);
        let mut socket = WebSocketStream::from_raw_socket(server, Role::Server, None).await;
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let mut outbox = Outbox::new(Watchdog::new(&Stalls::new(1 << 30), true).begin());
        let text = "ü".repeat(3 * FRAGMENT_BYTES / 2 - 1);
        outbox.push(text.clone());
        assert_eq!(outbox.frames.len(), 3);
        assert!(!outbox.has_room());
        outbox.ping();
        // The client has not read yet.
        assert!(poll_fn(|cx| outbox.poll_flush(&mut socket, cx)).now_or_never().is_none());
        assert!(outbox.take_wait() && outbox.is_waiting && !outbox.is_empty());
        let sending = async { poll_fn(|cx| outbox.poll_flush(&mut socket, cx)).await.unwrap() };
        let reading = async { (client.next().await.unwrap().unwrap(), client.next().await.unwrap().unwrap()) };
        let ((), received) = tokio::join!(sending, reading);
        assert_eq!(received, (Message::text(text), Message::Ping(Bytes::new())));
        assert!(outbox.is_empty() && outbox.has_room() && !outbox.is_waiting);
        assert_eq!((outbox.take_wait(), outbox.take_wait()), (true, false));
    }
}
