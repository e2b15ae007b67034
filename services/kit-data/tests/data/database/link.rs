//! A network link between a process and its database, which a test can cut or silence.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex as StdMutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::{Mutex, watch},
    task::JoinHandle,
};

/// A network link (see the module).
pub(super) struct Link {
    /// The URL of the database through the link.
    pub(super) url: String,
    address: SocketAddr,
    server: String,
    silent: Arc<watch::Sender<bool>>,
    /// Silences the link once the process sends these bytes.
    last_words: Arc<StdMutex<Option<&'static [u8]>>>,
    carrying: Mutex<Option<JoinHandle<()>>>,
}

impl Link {
    pub(super) async fn to(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (authority, path) = rest.split_once('/').unwrap();
        let (user, server) = authority.split_once('@').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let link = Self {
            url: format!("{scheme}://{user}@{address}/{path}?sslmode=disable"),
            address,
            server: server.to_owned(),
            silent: Arc::new(watch::channel(false).0),
            last_words: Arc::default(),
            carrying: Mutex::default(),
        };
        link.carry(listener).await;
        link
    }

    /// Breaks all connections and refuses new ones.
    pub(super) async fn cut(&self) {
        let carrying = self.carrying.lock().await.take().unwrap();
        carrying.abort();
        carrying.await.ok();
    }

    pub(super) async fn restore(&self) {
        self.carry(TcpListener::bind(self.address).await.unwrap()).await;
    }

    /// Holds all traffic back, or releases it, without breaking connections.
    pub(super) fn silence(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// Silences the link as soon as the process sends `words`, which are not delivered.
    pub(super) fn silence_at(&self, words: &'static [u8]) {
        *self.last_words.lock().unwrap() = Some(words);
    }

    async fn carry(&self, listener: TcpListener) {
        let (server, silent, last_words) =
            (self.server.clone(), Arc::clone(&self.silent), Arc::clone(&self.last_words));
        let carrying = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (server, silent, last_words) = (server.clone(), Arc::clone(&silent), Arc::clone(&last_words));
                connections.spawn(async move {
                    let server = TcpStream::connect(server).await.unwrap();
                    let never = StdMutex::default();
                    let ((from, to), (back_from, back_to)) = (client.into_split(), server.into_split());
                    tokio::select! {
                        () = copy(from, back_to, &silent, &last_words) => {}
                        () = copy(back_from, to, &silent, &never) => {}
                    }
                });
            }
        });
        *self.carrying.lock().await = Some(carrying);
    }
}

async fn copy(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    silent: &watch::Sender<bool>,
    last_words: &StdMutex<Option<&'static [u8]>>,
) {
    let mut buffer = [0; 8_192];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let is_last = |words: &mut &[u8]| buffer[..read].windows(words.len()).any(|window| window == *words);
        if last_words.lock().unwrap().take_if(is_last).is_some() {
            silent.send_replace(true);
        }
        silent.subscribe().wait_for(|silent| !*silent).await.ok();
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
