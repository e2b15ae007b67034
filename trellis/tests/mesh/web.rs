//! A gRPC-Web and HTTP client that exposes all details of a response.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    header::{HeaderName, HeaderValue},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// Any failure of a request.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// gRPC-Web's content types.
pub(crate) const BINARY: &str = "application/grpc-web+proto";
pub(crate) const TEXT: &str = "application/grpc-web-text+proto";

/// How long a test waits for the next part of a stream.
const STREAM_TIMEOUT: Duration = Duration::from_secs(20);

/// The HTTP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) status: u16,
    /// Includes HTTP trailers, which gRPC has and gRPC-Web does not.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Sends a request on its own connection.
pub(crate) async fn send(port: u16, http: Http, request: Request<Full<Bytes>>) -> Result<Received, Error> {
    whole(begin(port, http, request).await?).await
}

/// Like [`send`], on an existing connection.
pub(crate) async fn send_on<S>(stream: S, http: Http, request: Request<Full<Bytes>>) -> Result<Received, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    whole(begin_on(stream, http, request).await?).await
}

/// Reads the rest of a response.
pub(crate) async fn whole(response: Response<Incoming>) -> Result<Received, Error> {
    let (parts, body) = response.into_parts();
    let (mut headers, body) = (parts.headers, body.collect().await?);
    headers.extend(body.trailers().cloned().unwrap_or_default());
    Ok(Received { status: parts.status.as_u16(), headers, body: body.to_bytes() })
}

/// Like [`send`], but the response's body is still to be read.
pub(crate) async fn begin(port: u16, http: Http, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
    begin_on(TcpStream::connect(("127.0.0.1", port)).await?, http, request).await
}

/// Reads a stream until enough has arrived. `received` holds the earlier bytes.
pub(crate) async fn read_until(
    response: &mut Response<Incoming>,
    received: &mut BytesMut,
    is_enough: impl Fn(&[u8]) -> bool,
) {
    let reading = async {
        while !is_enough(received) {
            let frame = response.frame().await.expect("the stream has ended").unwrap();
            received.extend_from_slice(&frame.into_data().unwrap());
        }
    };
    let read = tokio::time::timeout(STREAM_TIMEOUT, reading).await;
    read.unwrap_or_else(|_| panic!("only {:?} arrived", String::from_utf8_lossy(received)));
}

/// Like [`begin`], on an existing connection.
pub(crate) async fn begin_on<S>(
    stream: S,
    http: Http,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    match http {
        Http::One => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            Ok(sender.send_request(request).await?)
        }
        Http::Two => {
            let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Ok(sender.send_request(request).await?)
        }
    }
}

pub(crate) async fn get(port: u16, path: &str) -> Result<Received, Error> {
    send(port, Http::One, request("GET", port, path, &[], Bytes::new())).await
}

/// A request that a browser on the gateway's own page would send.
pub(crate) fn request(
    method: &str,
    port: u16,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Request<Full<Bytes>> {
    let host = format!("localhost:{port}");
    let mut builder = Request::builder().method(method).uri(format!("http://{host}{path}"));
    if !headers.iter().any(|(name, _)| *name == "host") {
        builder = builder.header("host", host);
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body)).unwrap()
}

/// A gRPC-Web call. In the text form each half of the body is a separate base64 segment.
pub(crate) fn call(
    port: u16,
    path: &str,
    content_type: &str,
    headers: &[(&str, &str)],
    message: &impl Message,
) -> Request<Full<Bytes>> {
    let frame = frame(&message.encode_to_vec());
    let body = if content_type == TEXT {
        let (first, second) = frame.split_at(frame.len() / 2);
        Bytes::from(STANDARD.encode(first) + &STANDARD.encode(second))
    } else {
        frame
    };
    let headers: Vec<_> =
        headers.iter().copied().chain([("content-type", content_type), ("x-grpc-web", "1")]).collect();
    request("POST", port, path, &headers, body)
}

/// A message in gRPC's framing.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The messages and the trailers (as text) of a gRPC-Web body.
    pub(crate) fn frames(&self) -> (Vec<Bytes>, String) {
        let mut body = if self.header("content-type").starts_with("application/grpc-web-text") {
            decode_segments(&self.body)
        } else {
            self.body.clone()
        };
        let (mut messages, mut trailers) = (Vec::new(), String::new());
        while body.has_remaining() {
            let (flag, length) = (body.get_u8(), body.get_u32());
            let content = body.split_to(usize::try_from(length).unwrap());
            if flag & 0x80 == 0 {
                messages.push(content);
            } else {
                trailers = String::from_utf8(content.to_vec()).unwrap();
            }
        }
        (messages, trailers)
    }

    /// The reason in the details of a gRPC status, in headers or trailers.
    pub(crate) fn reason(&self) -> String {
        let mut headers = self.headers.clone();
        if !headers.contains_key("grpc-status") {
            let (_, trailers) = self.frames();
            let lines = trailers.lines().filter_map(|line| line.split_once(':'));
            headers.extend(lines.map(|(name, value)| -> (HeaderName, HeaderValue) {
                (name.trim().parse().unwrap(), value.trim().parse().unwrap())
            }));
        }
        super::harness::reason(&tonic::Status::from_header_map(&headers).unwrap())
    }

    /// The gRPC status, from headers or trailers.
    pub(crate) fn grpc_status(&self) -> String {
        if self.headers.contains_key("grpc-status") {
            return self.header("grpc-status").to_owned();
        }
        let (_, trailers) = self.frames();
        let line = trailers.lines().find_map(|line| line.strip_prefix("grpc-status: "));
        line.unwrap_or("none").to_owned()
    }

    /// The one message of a unary response.
    pub(crate) fn message<T: Message + Default>(&self) -> T {
        let (messages, _) = self.frames();
        assert_eq!(messages.len(), 1, "{self:?}");
        T::decode(messages[0].clone()).unwrap()
    }
}

fn decode_segments(text: &[u8]) -> Bytes {
    let mut decoded = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.iter().position(|b| *b == b'=').map_or(rest.len(), |at| (at / 4 + 1) * 4);
        let (segment, others) = rest.split_at(end);
        decoded.extend(STANDARD.decode(segment).unwrap());
        rest = others;
    }
    decoded.into()
}
