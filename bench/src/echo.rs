//! The service behind all contenders. It accepts any path: a method `Unary` echoes its message, a method `Repeat` echoes
//! it again and again, and a method `Stream` sends the messages that an [`Order`] requests. It does not decode messages,
//! like a proxy.

mod raw;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::Ipv4Addr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture, stream};
use tokio::{
    net::TcpListener,
    time::{Instant, interval_at},
};
use tonic::{
    Request, Response, Status,
    server::{Grpc, ServerStreamingService, UnaryService},
    service::Routes,
    transport::server::{Server, TcpIncoming},
};

use crate::clock;

/// Allows all calls on one connection, so that it does not slow down proxies that use only one.
const STREAMS: u32 = 1 << 20;

/// Serves until it is killed.
pub(crate) fn run(port: u16, web: bool) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|e| e.to_string())?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let routes = Routes::from(axum::Router::new().fallback_service(Echo));
        let server = Server::builder().max_concurrent_streams(STREAMS);
        let served = if web {
            let mut server = server.accept_http1(true).layer(tonic_web::GrpcWebLayer::new());
            server.add_routes(routes).serve_with_incoming(incoming).await
        } else {
            let mut server = server;
            server.add_routes(routes).serve_with_incoming(incoming).await
        };
        served.map_err(|e| e.to_string())
    })
}

/// The request of a stream: the size and the interval of its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    /// The size of a message, in bytes.
    pub(crate) size: u32,
    /// The time between two messages. Zero: as fast as the client reads.
    pub(crate) pause: Duration,
}

impl Order {
    /// The encoded request message.
    pub(crate) fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(12);
        bytes.put_u32(self.size);
        bytes.put_u64(u64::try_from(self.pause.as_micros()).unwrap_or(u64::MAX));
        bytes.freeze()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (size, pause) = bytes.split_first_chunk()?;
        let pause = Duration::from_micros(u64::from_be_bytes(pause.try_into().ok()?));
        Some(Self { size: u32::from_be_bytes(*size), pause })
    }
}

#[derive(Clone)]
struct Echo;

impl tower::Service<http::Request<axum::body::Body>> for Echo {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<axum::body::Body>) -> Self::Future {
        let method = Method::of(request.uri().path());
        async move {
            let mut grpc = Grpc::new(raw::Raw);
            Ok(match method {
                Method::Unary => grpc.unary(Echo, request).await,
                Method::Repeat => grpc.server_streaming(Repeat, request).await,
                Method::Stream => grpc.server_streaming(Echo, request).await,
            })
        }
        .boxed()
    }
}

enum Method {
    Unary,
    Repeat,
    Stream,
}

impl Method {
    fn of(path: &str) -> Self {
        match path.rsplit('/').next() {
            Some("Stream") => Self::Stream,
            Some("Repeat") => Self::Repeat,
            _ => Self::Unary,
        }
    }
}

impl UnaryService<Bytes> for Echo {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(request.into_inner())))
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl ServerStreamingService<Bytes> for Echo {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Ready<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let order = Order::decode(request.get_ref()).ok_or_else(|| Status::invalid_argument("not a valid order"));
        ready(order.map(|order| Response::new(messages(order))))
    }
}

struct Repeat;

impl ServerStreamingService<Bytes> for Repeat {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Ready<Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(repeated(request.into_inner()))))
    }
}

/// The message as often as the client reads it.
fn repeated(message: Bytes) -> Messages {
    stream::repeat_with(move || Ok(message.clone())).boxed()
}

fn messages(order: Order) -> Messages {
    if order.pause.is_zero() {
        return repeated(Bytes::from(vec![0; order.size as usize]));
    }
    // Sends the first message at once, so that the client knows that the stream is open.
    let rest = stream::unfold(interval_at(start(order.pause), order.pause), move |mut ticks| async move {
        ticks.tick().await;
        Some((Ok(stamped(order.size)), ticks))
    });
    stream::once(async move { Ok(stamped(order.size)) }).chain(rest).boxed()
}

/// A time in the first interval, so that streams opened together do not send together.
fn start(pause: Duration) -> Instant {
    let pause_ns = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX).max(1);
    Instant::now() + Duration::from_nanos(clock::now().wrapping_mul(0x9E37_79B9_7F4A_7C15) % pause_ns)
}

/// A message that begins with its send time.
fn stamped(size: u32) -> Bytes {
    let size = (size as usize).max(8);
    let mut message = BytesMut::zeroed(size);
    message[..8].copy_from_slice(&clock::now().to_be_bytes());
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_encoding_and_decoding() {
        let order = Order { size: 100, pause: Duration::from_millis(50) };
        assert_eq!(Order::decode(&order.encode()), Some(order));
        assert_eq!(Order::decode(b"short"), None);
    }
}
