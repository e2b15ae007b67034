//! A TCP proxy in front of Redis that delays its responses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// Runs until the test's runtime ends.
pub(super) struct Proxy {
    pub(super) url: String,
    delay_ms: Arc<AtomicU64>,
}

impl Proxy {
    pub(super) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}/", listener.local_addr().unwrap());
        let delay_ms = Arc::new(AtomicU64::new(0));
        let delays = Arc::clone(&delay_ms);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let delay_ms = Arc::clone(&delays);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
                    let mut bytes = [0; 16_384];
                    while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
                        sleep(Duration::from_millis(delay_ms.load(Ordering::Relaxed))).await;
                        if to_client.write_all(&bytes[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { url, delay_ms }
    }

    /// Delays each piece of a response by `by` from now on.
    pub(super) fn delay(&self, by: Duration) {
        self.delay_ms.store(u64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}
