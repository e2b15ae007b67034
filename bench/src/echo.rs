//! The service behind all contenders. It takes any path: a method called `Unary` answers a message with itself, one
//! called `Stream` sends what an [`Order`] asks for. Messages are bytes to it, as they are to a proxy.

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

/// All calls of a connection at once: proxies that need only one connection are not held back.
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

/// What a stream should be, as the message that opens it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    /// Bytes of a message.
    pub(crate) size: u32,
    /// Between two messages; zero: as fast as they are taken.
    pub(crate) pause: Duration,
}

impl Order {
    /// As it travels.
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
        let streams = request.uri().path().ends_with("/Stream");
        async move {
            let mut grpc = Grpc::new(raw::Raw);
            Ok(if streams { grpc.server_streaming(Echo, request).await } else { grpc.unary(Echo, request).await })
        }
        .boxed()
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
        let order = Order::decode(request.get_ref()).ok_or_else(|| Status::invalid_argument("this is no order"));
        ready(order.map(|order| Response::new(messages(order))))
    }
}

fn messages(order: Order) -> Messages {
    if order.pause.is_zero() {
        let message = Bytes::from(vec![0; order.size as usize]);
        return stream::repeat_with(move || Ok(message.clone())).boxed();
    }
    // The first goes out at once, so that whoever opened the stream knows that it stands.
    let rest = stream::unfold(interval_at(start(order.pause), order.pause), move |mut ticks| async move {
        ticks.tick().await;
        Some((Ok(stamped(order.size)), ticks))
    });
    stream::once(async move { Ok(stamped(order.size)) }).chain(rest).boxed()
}

/// Somewhere in the first interval: streams that were opened together should not send together for ever.
fn start(pause: Duration) -> Instant {
    let pause_ns = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX).max(1);
    Instant::now() + Duration::from_nanos(clock::now().wrapping_mul(0x9E37_79B9_7F4A_7C15) % pause_ns)
}

/// A message that says when it was sent.
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
    fn an_order_comes_back_as_it_was() {
        let order = Order { size: 100, pause: Duration::from_millis(50) };
        assert_eq!(Order::decode(&order.encode()), Some(order));
        assert_eq!(Order::decode(b"short"), None);
    }
}
