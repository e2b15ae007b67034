//! Closes a connection as RFC 9112, section 9.6 describes: sends FIN, discards what the peer still sends, and closes
//! the socket when the peer has ended too or at the bound. Go waits 500 ms and reads nothing; nginx discards for 5 s;
//! hyper and h2 close at once, which resets a connection with unread bytes.

use std::{io, time::Duration};

use socket2::SockRef;
use tokio::{net::TcpStream, runtime::Handle, time::timeout};
use tokio_util::task::TaskTracker;

use super::accept::ConnectionGuard;
use crate::limits::Limits;

/// How many bytes are read and discarded after FIN, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Discard {
    /// Bytes.
    pub bytes: u64,
    /// Time.
    pub time: Duration,
}

impl Discard {
    /// From `limits.discard_bytes` and `limits.discard_time`.
    pub fn of(limits: &Limits) -> Self {
        Self { bytes: limits.discard_bytes, time: limits.discard_time.0 }
    }
}

/// The connections of a listener that are being closed.
#[derive(Clone)]
pub(super) struct Closing {
    discard: Discard,
    tasks: TaskTracker,
}

/// How long a stopping process waits for them: most peers close at once after FIN.
const LAST: Duration = Duration::from_secs(1);

impl Closing {
    pub(super) fn new(discard: Discard) -> Self {
        Self { discard, tasks: TaskTracker::new() }
    }

    /// Sends FIN, and closes the connection when the peer has ended too or at the bound. Drops `held` then.
    pub(super) fn close(&self, stream: TcpStream, held: ConnectionGuard) {
        let sent = SockRef::from(&stream).shutdown(std::net::Shutdown::Write);
        // Many peers have already sent FIN or a reset.
        let is_over = match discard_some(&stream) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        };
        if let (Ok(()), false, Ok(runtime)) = (sent, is_over, Handle::try_current()) {
            let discard = self.discard;
            let closing = async move {
                // An Err means that the peer sends for too long.
                timeout(discard.time, discard_all(&stream, discard.bytes)).await.ok();
                drop((stream, held));
            };
            self.tasks.spawn_on(closing, &runtime);
        }
    }

    pub(super) async fn ended(&self) {
        self.tasks.close();
        timeout(LAST, self.tasks.wait()).await.ok();
    }
}

async fn discard_all(stream: &TcpStream, mut room: u64) {
    while stream.readable().await.is_ok() {
        match discard_some(stream) {
            Ok(0) => return,
            Ok(read) => match room.checked_sub(read) {
                Some(left) => room = left,
                None => return,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Reads once. The buffer is not part of the waiting task's state.
fn discard_some(stream: &TcpStream) -> io::Result<u64> {
    let mut buffer = [0; 16 * 1024];
    stream.try_read(&mut buffer).map(|read| read as u64)
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::{super::Connections, *};

    /// The client of a connection whose server has written a response and dropped it with unread bytes.
    async fn closed(connections: &Connections) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut accepted = connections.admit(listener.accept().await.unwrap().0).unwrap();
        client.write_all(b"request").await.unwrap();
        accepted.read_u8().await.unwrap();
        accepted.write_all(b"response").await.unwrap();
        client
    }

    #[tokio::test]
    async fn response_is_not_lost_with_unread_bytes() {
        let connections = Connections::new(1, Discard { bytes: 1024 * 1024, time: Duration::from_secs(60) });
        let mut client = closed(&connections).await;
        client.write_all(&[0; 100 * 1024]).await.unwrap();
        client.write_all(&[0; 100 * 1024]).await.unwrap();
        let mut read = String::new();
        client.read_to_string(&mut read).await.expect("FIN and no reset");
        assert_eq!(read, "response");
        drop(client);
        connections.closed().await;
        closed(&connections).await;
    }

    #[tokio::test]
    async fn discarding_is_bounded() {
        for discard in [
            Discard { bytes: 100_000, time: Duration::from_secs(3_600) },
            Discard { bytes: u64::MAX, time: Duration::from_millis(100) },
        ] {
            let mut client = closed(&Connections::new(1, discard)).await;
            let writing = async { while client.write_all(&[0; 4_096]).await.is_ok() {} };
            timeout(Duration::from_secs(60), writing).await.expect("the connection is closed at the bound");
        }
    }
}
