//! A well-behaved client connection: it connects on demand, reconnects after a GOAWAY or close, and retries only
//! requests that were not sent or that the server did not process.

use std::{fmt, time::Duration};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kit::retry::{Attempt, attempt_of};
use prost::Message;
use tokio::{net::TcpStream, sync::Mutex, time::timeout};
use tonic::Status;

use super::{
    harness::reason,
    web::{self, Http},
};

/// How long a response may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many connections in a row may be closing.
const TRIES: usize = 5;

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection failed in a way that a client notices.
    Broken(String),
    Refused(Status),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) => f.write_str(why),
            Self::Refused(status) => write!(f, "{:?} {} {}", status.code(), reason(status), status.message()),
        }
    }
}

/// A connection that reconnects when needed.
pub(crate) struct Client {
    port: u16,
    http: Http,
    /// The current connection, and the number of connections before it.
    current: Mutex<(usize, Option<Sender>)>,
}

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    pub(crate) fn new(port: u16, http: Http) -> Self {
        Self { port, http, current: Mutex::new((0, None)) }
    }

    /// Begins a gRPC-Web or gRPC call. The body of the response is still to be read.
    pub(crate) async fn begin(
        &self,
        path: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        message: &impl Message,
    ) -> Result<Response<Incoming>, Failure> {
        for _ in 0..TRIES {
            let request = web::call(self.port, path, content_type, headers, message);
            let sent = timeout(PATIENCE, self.send(request)).await;
            match sent.map_err(|_| Failure::Broken("no response in time".to_owned()))? {
                Ok(response) => return Ok(response),
                Err(Unsent::Again) => {}
                Err(Unsent::Lost(why)) => return Err(Failure::Broken(why)),
            }
        }
        Err(Failure::Broken("every new connection closes at once".to_owned()))
    }

    /// Makes a call and returns the messages of its response.
    pub(crate) async fn call(
        &self,
        path: &str,
        content_type: &str,
        headers: &[(&str, &str)],
        message: &impl Message,
    ) -> Result<Vec<Bytes>, Failure> {
        let response = self.begin(path, content_type, headers, message).await?;
        let mut frames = Frames::of(response);
        let mut messages = Vec::new();
        let reading = async {
            while let Some(message) = frames.next().await? {
                messages.push(message);
            }
            Ok(messages)
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| Err(Failure::Broken("no end in time".to_owned())))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Unsent> {
        let mut current = self.current.lock().await;
        if current.1.as_ref().is_none_or(Sender::is_closed) {
            let connected = connect(self.port, self.http).await.map_err(|e| Unsent::Lost(e.to_string()))?;
            *current = (current.0 + 1, Some(connected));
        }
        let (number, sender) = (current.0, current.1.as_mut().expect("just made"));
        let sent = match sender {
            Sender::One(sender) => match sender.ready().await {
                Ok(()) => sender.try_send_request(request).await,
                Err(_) => {
                    current.1 = None;
                    return Err(Unsent::Again);
                }
            },
            Sender::Two(sender) => {
                let mut sender = sender.clone();
                // Other calls use the connection at the same time.
                drop(current);
                let sent = sender.try_send_request(request).await;
                current = self.current.lock().await;
                sent
            }
        };
        sent.map_err(|mut error| {
            let returned = error.take_message().is_some();
            let error = error.into_error();
            if !returned && !matches!(attempt_of(&error), Attempt::Unsent | Attempt::Refused) {
                return Unsent::Lost(format!("{error:?}"));
            }
            if current.0 == number {
                current.1 = None;
            }
            Unsent::Again
        })
    }
}

/// A request without a response.
enum Unsent {
    /// The request was not sent, or the server did not process it.
    Again,
    Lost(String),
}

impl Sender {
    fn is_closed(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::Two(sender) => sender.is_closed(),
        }
    }
}

async fn connect(port: u16, http: Http) -> Result<Sender, web::Error> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let io = TokioIo::new(stream);
    Ok(match http {
        Http::One => {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Sender::One(sender)
        }
        Http::Two => {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            tokio::spawn(connection);
            Sender::Two(sender)
        }
    })
}

/// The messages of a gRPC-Web or gRPC response, as they arrive.
pub(crate) struct Frames {
    /// A status in the response headers.
    early: Option<Status>,
    body: Incoming,
    unread: BytesMut,
}

impl Frames {
    pub(crate) fn of(response: Response<Incoming>) -> Self {
        let (parts, body) = response.into_parts();
        let early = if parts.status == 200 {
            Status::from_header_map(&parts.headers)
        } else {
            Some(Status::unknown(format!("HTTP {}", parts.status)))
        };
        Self { early, body, unread: BytesMut::new() }
    }

    /// The next message; `None`: the response has ended with status 0.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        if let Some(status) = self.early.take() {
            return ended(status);
        }
        loop {
            match self.take() {
                Some((0, message)) => return Ok(Some(message)),
                Some((_, trailers)) => return ended(web_status(&trailers)),
                None => {}
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.unread.extend_from_slice(&data),
                    Err(frame) => {
                        let status = frame.trailers_ref().and_then(Status::from_header_map);
                        return ended(status.unwrap_or_else(|| Status::unknown("no status")));
                    }
                },
                Some(Err(error)) => return Err(Failure::Broken(format!("{error:?}"))),
                None => return Err(Failure::Broken("the response ended without a status".to_owned())),
            }
        }
    }

    /// Takes a complete frame of gRPC's framing, with its flags.
    fn take(&mut self) -> Option<(u8, Bytes)> {
        let mut head = self.unread.get(..5)?;
        let (flags, length) = (head.get_u8(), usize::try_from(head.get_u32()).ok()?);
        if self.unread.len() < 5 + length {
            return None;
        }
        self.unread.advance(5);
        Some((flags, self.unread.split_to(length).freeze()))
    }
}

fn ended(status: Status) -> Result<Option<Bytes>, Failure> {
    if status.code() == tonic::Code::Ok { Ok(None) } else { Err(Failure::Refused(status)) }
}

/// The status in gRPC-Web's trailer frame.
fn web_status(trailers: &[u8]) -> Status {
    let text = String::from_utf8_lossy(trailers);
    let pairs = text.lines().filter_map(|line| line.split_once(": "));
    let headers: HeaderMap = pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    Status::from_header_map(&headers).unwrap_or_else(|| Status::unknown("no status"))
}
