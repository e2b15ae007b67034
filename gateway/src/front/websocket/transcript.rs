//! What the gateway reads from the bytes of a client: for the fuzz targets.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

use super::{Ending, next_text};
use crate::io::socket::{SocketReader, settings};

/// The text frames of a client, and why there are no more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Transcript {
    pub(crate) texts: Vec<String>,
    ending: String,
}

/// Reads the bytes of a client, one piece in each read. `limit` is the size of the largest frame.
pub(crate) fn transcript(pieces: Vec<&[u8]>, limit: usize) -> Transcript {
    let connection = RecordedClient(pieces.into());
    let reading = async {
        let mut socket = WebSocketStream::from_raw_socket(connection, Role::Server, Some(settings(limit))).await;
        let (mut reader, mut texts) = (SocketReader::default(), Vec::new());
        loop {
            match next_text(&mut reader, &mut socket).await {
                Ok(text) => texts.push(text.to_string()),
                Err(ending) => return Transcript { texts, ending: describe(&ending) },
            }
        }
    };
    reading.now_or_never().expect("the connection is always ready")
}

fn describe(ending: &Ending) -> String {
    match ending {
        Ending::Refused(status, code) => format!("{code} {}", status.message()),
        Ending::Left => "left".to_owned(),
        Ending::Status(_) | Ending::Stopping | Ending::Cut => unreachable!("a client does not cause it"),
    }
}

/// A client that has sent these pieces, and reads everything.
struct RecordedClient<'a>(VecDeque<&'a [u8]>);

impl AsyncRead for RecordedClient<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(piece) = self.0.pop_front() {
            let (now, later) = piece.split_at(piece.len().min(buffer.remaining()));
            buffer.put_slice(now);
            if !later.is_empty() {
                self.0.push_front(later);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for RecordedClient<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
