//! gRPC by hand, for what well-behaved clients do not send or do not show.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::mesh::Header;

/// A connection that sends what it is told.
pub(crate) struct Wire {
    sender: SendRequest<Bytes>,
    address: SocketAddr,
}

/// What came back of one call.
#[derive(Debug)]
pub(crate) struct Received {
    /// The HTTP status.
    pub(crate) http: u16,
    /// `grpc-status`, from the trailers or from where they are alone.
    pub(crate) grpc: Option<String>,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self { sender, address }
    }

    /// The head of a call and what HTTP/2 counts its headers as: name, value and 32 bytes each.
    pub(crate) fn head(&self, path: &str, headers: &[Header]) -> (Request<()>, usize) {
        let uri = format!("http://{}{path}", self.address);
        let mut request = Request::builder().method(Method::POST).uri(&uri).body(()).unwrap();
        let common = [("content-type", "application/grpc".to_owned()), ("te", "trailers".to_owned())];
        let counted = |name: &str, value: &str| name.len() + value.len() + 32;
        let mut size = counted(":method", "POST")
            + counted(":scheme", "http")
            + counted(":authority", &self.address.to_string())
            + counted(":path", path);
        for (name, value) in common.iter().chain(headers) {
            request.headers_mut().insert(*name, value.parse().unwrap());
            size += counted(name, value);
        }
        (request, size)
    }

    /// Sends a call with an empty message, whole.
    pub(crate) async fn send(&self, head: Request<()>, message: &[u8]) -> ResponseFuture {
        let mut sender = self.sender.clone().ready().await.unwrap();
        let (response, mut body) = sender.send_request(head, false).unwrap();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        // The server may have answered the head already.
        body.send_data([&[0], &length[..], message].concat().into(), true).ok();
        response
    }

    /// What a call answers; an error is the stream's end without a response.
    pub(crate) async fn answer(response: ResponseFuture) -> Result<Received, h2::Error> {
        let response = response.await?;
        let http = response.status().as_u16();
        let status = |headers: &HeaderMap| headers.get("grpc-status").map(|s| s.to_str().unwrap().to_owned());
        let mut grpc = status(response.headers());
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        if let Some(trailers) = body.trailers().await? {
            grpc = grpc.or(status(&trailers));
        }
        Ok(Received { http, grpc })
    }
}

const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// END_HEADERS.
const WHOLE: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Sends `count` PINGs and tells whether the server has hung up.
pub(crate) async fn flood_with_pings(address: SocketAddr, count: usize) -> bool {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    sent.extend(frame(PING, 0, 0, b"are you?").repeat(count));
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.ok();
        writer
    });
    // A server that bears it answers each PING, and SETTINGS twice or more.
    let mut answers = 0;
    let mut piece = vec![0; 64 * 1024];
    let hung_up = loop {
        match reader.read(&mut piece).await {
            Ok(0) | Err(_) => break true,
            Ok(n) => answers += n,
        }
        if answers >= count * frame(PING, 0, 0, b"are you?").len() {
            break false;
        }
    };
    writing.abort();
    hung_up
}

/// Opens `streams` streams and breaks the protocol on each, so that the server must reset it; the response is
/// the error code with which the server said goodbye, if it did.
pub(crate) async fn provoke_resets(address: SocketAddr, streams: u32) -> Option<u32> {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    // HPACK's static table: POST, http, /; and an authority.
    let head = [0x83, 0x86, 0x84, 0x41, 0x01, b'x'];
    for stream in (1..).step_by(2).take(usize::try_from(streams).unwrap()) {
        sent.extend(frame(HEADERS, WHOLE, stream, &head));
        // A window may not grow past 2³¹ − 1 (RFC 9113, section 6.9.1).
        sent.extend(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()));
    }
    // The server may have hung up before all was sent.
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.ok();
        // Held open: the server decides when this ends.
        std::future::pending::<()>().await;
    });
    let mut head = [0; 9];
    let goodbye = loop {
        if reader.read_exact(&mut head).await.is_err() {
            break None;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if reader.read_exact(&mut payload).await.is_err() {
            break None;
        }
        if head[3] == GOAWAY {
            break Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
    };
    writing.abort();
    goodbye
}
