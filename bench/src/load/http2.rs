//! An HTTP/2 client on h2.

use std::net::Ipv4Addr;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::net::TcpStream;

use super::{
    Received, Request,
    frames::{Frames, Stamp},
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
        let (head, mut body) = response.await.map_err(failed)?.into_parts();
        let mut frames = Frames::new(request.dialect);
        while let Some(piece) = body.data().await {
            let piece = piece.map_err(failed)?;
            body.flow_control().release_capacity(piece.len()).map_err(failed)?;
            frames.feed(&piece, &mut on_message)?;
        }
        let trailers = body.trailers().await.map_err(failed)?;
        if !frames.is_whole() {
            return Err("the body ends in the middle of a frame".to_owned());
        }
        let status = |headers: &http::HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
        Ok(Received {
            http_status: head.status.as_u16(),
            grpc_status: frames.status().or(trailers.as_ref().and_then(status)).or(status(&head.headers)),
            messages: frames.messages,
            bytes: frames.bytes,
            closes: false,
        })
    }
}
