//! An HTTP/2 client on h2.

use std::net::Ipv4Addr;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::net::TcpStream;

use super::{
    Received, Request,
    body::{self, Body},
    frames::Stamp,
};

/// Wide enough that the client's flow control does not slow down a proxy.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

#[derive(Clone)]
pub(crate) struct Http2 {
    sender: SendRequest<Bytes>,
}

impl Http2 {
    pub(super) async fn connect(port: u16) -> Result<Self, String> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(stream)
            .await
            .map_err(|e| e.to_string())?;
        // The task ends with the last sender. Callers receive its error.
        tokio::task::spawn_local(connection);
        Ok(Self { sender })
    }

    pub(super) async fn call(
        &mut self,
        request: &Request,
        mut on_message: impl FnMut(Stamp),
    ) -> Result<Received, String> {
        let failed = |e: h2::Error| e.to_string();
        let mut sender = self.sender.clone().ready().await.map_err(failed)?;
        let (response, mut sending) = sender.send_request(request.head.clone(), false).map_err(failed)?;
        sending.send_data(request.body.clone(), true).map_err(failed)?;
        let (head, mut received) = response.await.map_err(failed)?.into_parts();
        let mut body = Body::new(request);
        while let Some(piece) = received.data().await {
            let piece = piece.map_err(failed)?;
            received.flow_control().release_capacity(piece.len()).map_err(failed)?;
            body.feed(&piece, &mut on_message)?;
        }
        let trailers = received.trailers().await.map_err(failed)?;
        let status = |headers: &http::HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
        let content_type = head.headers.get(http::header::CONTENT_TYPE);
        let expected = request.dialect.content_type().as_bytes();
        body.received(&body::Head {
            status: head.status.as_u16(),
            grpc_status: trailers.as_ref().and_then(status).or_else(|| status(&head.headers)),
            is_typed: content_type.is_some_and(|value| value.as_bytes().starts_with(expected)),
            closes: false,
        })
    }
}
