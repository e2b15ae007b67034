//! Health and reflection. They need no authentication, since probes and tools have no token. So the number of open
//! streams of each address is bounded, and each stream is logged in the access log.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use tonic::{Code, Status};

use super::{ConnectedPeer, stack::refuse};
use crate::{context::Caller, error, limiter::network, reason};

/// The unary method, which probes call.
pub const PROBE: &str = "/grpc.health.v1.Health/Check";

/// The number of open streams of each network.
pub(super) struct NetworkStreams {
    most: u32,
    open: Mutex<HashMap<Ipv6Addr, u32>>,
}

impl NetworkStreams {
    /// Allows at most `most` streams of one network.
    pub(super) fn new(most: u32) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    fn take(self: &Arc<Self>, network: Ipv6Addr) -> Option<StreamPermit> {
        let mut open = self.open.lock();
        let count = open.entry(network).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(StreamPermit { streams: Arc::clone(self), network })
    }
}

/// An open stream, which counts until it is dropped.
struct StreamPermit {
    streams: Arc<NetworkStreams>,
    network: Ipv6Addr,
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        if let Some(count) = open.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.network);
            }
        }
    }
}

/// Bounds streams by address, and adds the caller for the access log.
pub(super) async fn bound(State(streams): State<Arc<NetworkStreams>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectedPeer>().and_then(|peer| peer.address);
    let address = peer.map(|peer| peer.ip());
    let mut response = if request.uri().path() == PROBE {
        next.run(request).await
    } else {
        // All peers without an address share one count.
        match streams.take(network(address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)))) {
            Some(place) => next.run(request).await.map(|body| Body::new(CountedBody { inner: body, _place: place })),
            None => refuse(too_many(streams.most)),
        }
    };
    response.extensions_mut().insert(Caller { address, ..Caller::default() });
    response
}

fn too_many(most: u32) -> Status {
    let message = format!("{most} streams of health and reflection are open from your address; close one");
    error::status(Code::ResourceExhausted, reason::STREAMS_LIMITED, message)
}

/// A body that holds its stream's place.
struct CountedBody {
    inner: Body,
    _place: StreamPermit,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
