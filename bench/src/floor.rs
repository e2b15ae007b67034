//! A minimal hyper proxy: the lower bound of the cost of any hyper proxy. It forwards headers and bodies unread over one
//! connection to a service that serves gRPC-Web itself.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{
    Request, Response, Version,
    uri::{Authority, Scheme, Uri},
};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::{TcpListener, TcpStream};

/// Wide enough that one slow stream does not block the others.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 64 * STREAM_WINDOW;

/// Serves until it is killed.
pub(crate) fn run(port: u16, to: u16) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
    runtime.block_on(serve(port, to)).map_err(|e| e.to_string())
}

async fn serve(port: u16, to: u16) -> Result<(), Box<dyn std::error::Error>> {
    let upstream =
        Arc::new(Upstream { authority: format!("127.0.0.1:{to}").parse()?, port: to, sender: Mutex::default() });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let upstream = Arc::clone(&upstream);
        let service = service_fn(move |request| forward(Arc::clone(&upstream), request));
        tokio::spawn(async move {
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

struct Upstream {
    authority: Authority,
    port: u16,
    /// The only connection. Reopened after the service closes it, as it does after too many stream resets.
    sender: Mutex<Option<SendRequest<Incoming>>>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Upstream {
    async fn sender(&self) -> Result<SendRequest<Incoming>, Failure> {
        let known = self.lock().as_ref().filter(|sender| !sender.is_closed()).cloned();
        if let Some(sender) = known {
            return Ok(sender);
        }
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(connection);
        // If several calls connected at once, the first connection stays.
        let mut known = self.lock();
        if known.as_ref().is_none_or(SendRequest::is_closed) {
            *known = Some(sender);
        }
        known.clone().ok_or_else(|| "no connection".into())
    }

    fn lock(&self) -> MutexGuard<'_, Option<SendRequest<Incoming>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn forward(upstream: Arc<Upstream>, mut request: Request<Incoming>) -> Result<Response<Incoming>, Failure> {
    let version = request.version();
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(upstream.authority.clone());
    // All parts are set, so the URI is valid.
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    *request.version_mut() = Version::HTTP_2;
    let mut response = upstream.sender().await?.send_request(request).await?;
    *response.version_mut() = version;
    Ok(response)
}
