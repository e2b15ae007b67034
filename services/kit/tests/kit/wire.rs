//! Low-level gRPC and HTTP/2 clients, for requests and responses that normal clients do not send or show.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Method, Request};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::mesh::Header;

/// An HTTP/2 connection for hand-made requests.
pub(crate) struct Wire {
    sender: SendRequest<Bytes>,
    address: SocketAddr,
}

/// The response of one call.
#[derive(Debug)]
pub(crate) struct Received {
    /// The HTTP status.
    pub(crate) http: u16,
    /// `grpc-status`, from the trailers or from the headers.
    pub(crate) grpc: Option<String>,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Self { sender, address }
    }

    /// The request headers of a call and their size in HTTP/2: name, value and 32 bytes each.
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

    /// Sends a whole call with one message.
    pub(crate) async fn send(&self, head: Request<()>, message: &[u8]) -> ResponseFuture {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        self.send_body(head, &[&[0], &length[..], message].concat()).await
    }

    /// Sends a whole call with a hand-made body.
    pub(crate) async fn send_body(&self, head: Request<()>, body: &[u8]) -> ResponseFuture {
        let mut sender = self.sender.clone().ready().await.unwrap();
        let (response, mut stream) = sender.send_request(head, false).unwrap();
        // The server may already have responded to the headers.
        stream.send_data(body.to_vec().into(), true).ok();
        response
    }

    /// Reads a response. An error is the end of the stream without a response.
    pub(crate) async fn read(response: ResponseFuture) -> Result<Received, h2::Error> {
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

/// Sends `count` PINGs. Returns whether the server has closed the connection.
pub(crate) async fn flood_with_pings(address: SocketAddr, count: usize) -> bool {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    sent.extend(frame(PING, 0, 0, b"are you?").repeat(count));
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.ok();
        writer
    });
    // Without a limit the server responds to each PING, and sends SETTINGS at least twice.
    let mut received = 0;
    let mut piece = vec![0; 64 * 1024];
    let is_closed = loop {
        match reader.read(&mut piece).await {
            Ok(0) | Err(_) => break true,
            Ok(n) => received += n,
        }
        if received >= count * frame(PING, 0, 0, b"are you?").len() {
            break false;
        }
    };
    writing.abort();
    is_closed
}

/// Opens `streams` streams and violates the protocol on each, so that the server must reset it. Returns the error code
/// of the server's GOAWAY, if it sent one.
pub(crate) async fn provoke_resets(address: SocketAddr, streams: u32) -> Option<u32> {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    // HPACK's static table: POST, http, /; and an authority.
    let head = [0x83, 0x86, 0x84, 0x41, 0x01, b'x'];
    for stream in (1..).step_by(2).take(usize::try_from(streams).unwrap()) {
        sent.extend(frame(HEADERS, WHOLE, stream, &head));
        // A window must not exceed 2³¹ − 1 (RFC 9113, section 6.9.1).
        sent.extend(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()));
    }
    // The server may close the connection before all is sent.
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.ok();
        // Keeps the connection open: the server must close it.
        std::future::pending::<()>().await;
    });
    let mut head = [0; 9];
    let code = loop {
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
    code
}
