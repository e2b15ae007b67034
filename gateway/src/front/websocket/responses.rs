//! The text frames of the response, and the PINGs between them.

use std::{pin::pin, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt as _, Sink, SinkExt as _};
use http::Response;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{Activity, Ending};
use crate::protocol::websocket::{ServerFrame, TextFrames, metadata_text};

/// The frames of the response.
pub(super) struct Responses<'a, S> {
    sink: &'a mut S,
    activity: &'a Activity,
    keepalive: Duration,
    pings: Interval,
}

impl<'a, S: Sink<Message, Error = tungstenite::Error> + Unpin> Responses<'a, S> {
    pub(super) fn new(sink: &'a mut S, activity: &'a Activity, keepalive: Duration) -> Self {
        let mut pings = interval_at(Instant::now() + keepalive, keepalive);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        activity.has_arrived.store(true, Ordering::Relaxed);
        Self { sink, activity, keepalive, pings }
    }

    /// Writes the response to its end. The next piece is polled when the client has taken the one before.
    pub(super) async fn write<B>(mut self, responding: impl Future<Output = Response<B>>) -> Ending
    where
        B: Body<Data = Bytes> + Unpin,
    {
        match self.try_write(responding).await {
            Ok(ending) => ending,
            Err(_) => Ending::Left,
        }
    }

    async fn try_write<B>(
        &mut self,
        responding: impl Future<Output = Response<B>>,
    ) -> Result<Ending, tungstenite::Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut responding = pin!(responding);
        let response = loop {
            tokio::select! {
                response = &mut responding => break response,
                _ = self.pings.tick() => self.ping().await?,
            }
        };
        let (parts, mut body) = response.into_parts();
        if let Some(metadata) = metadata_text(&parts.headers) {
            taken(&mut self.pings, self.sink.send(Message::text(metadata))).await?;
        }
        let mut frames = TextFrames::default();
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                _ = self.pings.tick() => {
                    self.ping().await?;
                    continue;
                }
            };
            let Some(Ok(frame)) = frame else { return Ok(Ending::Cut) };
            frames.push(frame.into_data().unwrap_or_else(|_| Bytes::new()));
            if let Some(status) = taken(&mut self.pings, put(self.sink, &mut frames)).await? {
                return Ok(Ending::Status(status));
            }
        }
    }

    /// Sends a PING. An Err: the client has not replied to the one before, or does not take this one.
    async fn ping(&mut self) -> Result<(), tungstenite::Error> {
        let has_arrived = self.activity.has_arrived.swap(false, Ordering::Relaxed);
        if !has_arrived && !self.activity.is_blocked.load(Ordering::Relaxed) {
            return Err(tungstenite::Error::ConnectionClosed);
        }
        // The watchdog does not see this wait: no piece of the response waits for the client.
        let sent = timeout(self.keepalive, self.sink.send(Message::Ping(Bytes::new()))).await;
        sent.unwrap_or(Err(tungstenite::Error::ConnectionClosed))
    }
}

/// Sends the whole frames of a piece. The text of the status, if it is one of them, is returned instead.
async fn put<S>(sink: &mut S, frames: &mut TextFrames) -> Result<Option<String>, tungstenite::Error>
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    while let Some(frame) = frames.next() {
        match frame {
            ServerFrame::Result(text) => sink.feed(Message::text(text)).await?,
            ServerFrame::Status(text) => return Ok(Some(text)),
        }
    }
    sink.flush().await?;
    Ok(None)
}

/// Waits until the client has taken what is sent. A client that reads slowly could not reply to a PING in the meantime,
/// so the time until the next PING then begins again.
async fn taken<T>(pings: &mut Interval, sending: impl Future<Output = T>) -> T {
    let mut sending = pin!(sending);
    if let Some(sent) = sending.as_mut().now_or_never() {
        return sent;
    }
    let sent = sending.await;
    pings.reset();
    sent
}
