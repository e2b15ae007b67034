//! The calls of an operation: each passes the pipeline of all calls, as a gRPC call with the headers of the client.

use std::{pin::Pin, sync::Arc};

use ::graphql::{Budget, CallError, Caller, Message, MessageStream, Share};
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    future::{BoxFuture, poll_fn},
    stream,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE},
    response::Parts,
};
use http_body::Body as _;
use kit::{
    error,
    grpc::{self, TIMEOUT, code_of},
    trace::TraceContext,
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::GraphqlCall;
use crate::{
    http::client_address::Client,
    io::Inbound,
    protocol::{ClientProtocol, framing::frame, in_process::MessageReader, status::no_status},
    rpc::{Outgoing, RpcCall, RpcContext},
    server::{Stalls, Watchdog},
    state::Snapshot,
    tls::CertificateState,
};

/// Headers of the request that are not those of its calls. `connection` remains: the call drops the headers that it
/// names.
const NOT_OF_CALLS: [HeaderName; 7] = [
    ACCEPT,
    ACCEPT_ENCODING,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    HeaderName::from_static("transfer-encoding"),
    HeaderName::from_static("grpc-encoding"),
    HeaderName::from_static("grpc-accept-encoding"),
];

/// The calls of one operation on behalf of its client.
#[derive(Clone)]
pub(super) struct ClientCalls(Arc<CallTerms>);

/// The terms that all calls share.
struct CallTerms {
    context: Arc<RpcContext>,
    snapshot: Arc<Snapshot>,
    stalls: Arc<Stalls>,
    client: Client,
    certificate: CertificateState,
    headers: HeaderMap,
    deadline: Option<Instant>,
    /// The cookies that responses set.
    cookies: Mutex<Vec<HeaderValue>>,
    /// Why a stream has ended that the client would open again.
    interruption: Mutex<Option<Interruption>>,
}

/// Why a stream has ended that the client would open again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interruption {
    /// The server stops.
    Stopping,
    /// The access token has expired.
    Expired,
    /// The session was ended.
    Revoked,
}

impl Interruption {
    fn of(error: &CallError) -> Option<Self> {
        let status = Status::with_details(error.code.into(), "", error.details.clone());
        match error::reason(&status)?.as_str() {
            "SERVER_STOPPING" => Some(Self::Stopping),
            "TOKEN_EXPIRED" => Some(Self::Expired),
            "SESSION_REVOKED" => Some(Self::Revoked),
            _ => None,
        }
    }
}

impl ClientCalls {
    /// `headers` are those of the request. All calls belong to its `trace`.
    pub(super) fn new(
        call: &GraphqlCall<'_>,
        mut headers: HeaderMap,
        trace: &TraceContext,
        deadline: Option<Instant>,
    ) -> Self {
        for name in NOT_OF_CALLS {
            headers.remove(name);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        trace.write(&mut headers);
        Self(Arc::new(CallTerms {
            context: Arc::clone(call.context),
            snapshot: Arc::clone(call.snapshot),
            stalls: Arc::clone(&call.stalls),
            client: call.client,
            certificate: call.certificate.clone(),
            headers,
            deadline,
            cookies: Mutex::default(),
            interruption: Mutex::default(),
        }))
    }

    /// Why a stream of the operation has ended, if the client would open it again.
    pub(super) fn interruption(&self) -> Option<Interruption> {
        *self.0.interruption.lock()
    }

    /// The cookies that the responses so far have set.
    pub(super) fn take_cookies(&self) -> Vec<HeaderValue> {
        std::mem::take(&mut self.0.cookies.lock())
    }
}

impl Caller for ClientCalls {
    fn call(&self, path: &str, message: Vec<u8>, budget: &Budget) -> BoxFuture<'static, Result<Message, CallError>> {
        let (terms, path, budget) = (Arc::clone(&self.0), path.to_owned(), budget.clone());
        Box::pin(async move {
            let mut messages = Messages::new(terms.send(&path, &message).await?, budget);
            let only = messages.next().await.transpose()?;
            // What follows is the status.
            while let Some(next) = messages.next().await {
                next?;
            }
            only.ok_or_else(|| failed(&no_status()))
        })
    }

    fn open(
        &self,
        path: &str,
        message: Vec<u8>,
        budget: &Budget,
    ) -> BoxFuture<'static, Result<MessageStream, CallError>> {
        let (terms, path, budget) = (Arc::clone(&self.0), path.to_owned(), budget.clone());
        Box::pin(async move {
            let messages = Messages::new(terms.send(&path, &message).await?, budget);
            Ok(stream::unfold((messages, terms), |(mut messages, terms)| async move {
                let next = messages.next().await?;
                if let Err(error) = &next {
                    *terms.interruption.lock() = Interruption::of(error);
                }
                Some((next, (messages, terms)))
            })
            .boxed())
        })
    }
}

impl CallTerms {
    /// Sends a call. A call that has failed without a message is an error.
    async fn send(&self, path: &str, message: &[u8]) -> Result<Outgoing, CallError> {
        let request = self.request(path, message).map_err(|status| failed(&status))?;
        let client_protocol = ClientProtocol::detect(&request).ok_or_else(|| failed(&no_status()))?;
        let Self { context, snapshot, client, .. } = self;
        let (certificate, found) = (self.certificate.clone(), snapshot.routes.find(path));
        let call = RpcCall { context, snapshot, client: *client, certificate, client_protocol, found };
        // No connection waits for this response: the one of the operation has a wait of its own.
        let watched = Watchdog::new(&self.stalls, true).begin();
        let (Parts { headers, .. }, body) = call.respond(watched, request).await.into_parts();
        self.cookies.lock().extend(headers.get_all(SET_COOKIE).iter().cloned());
        match code_of(&headers) {
            Some(Code::Ok) | None => Ok(body),
            Some(_) => Err(failed(&Status::from_header_map(&headers).unwrap_or_else(no_status))),
        }
    }

    fn request(&self, path: &str, message: &[u8]) -> Result<Request<Inbound>, Status> {
        let mut request = Request::new(Inbound::whole(frame(message)));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::try_from(path).map_err(|error| Status::internal(error.to_string()))?;
        *request.headers_mut() = self.headers.clone();
        if let Some(deadline) = self.deadline {
            if deadline <= Instant::now() {
                return Err(error::deadline_exceeded());
            }
            request.headers_mut().insert(TIMEOUT, grpc::timeout(deadline));
        }
        Ok(request)
    }
}

/// The messages of a response; an error is the last one.
struct Messages {
    /// `None`: the response has ended.
    body: Option<Outgoing>,
    reader: MessageReader,
    budget: Budget,
    /// The share of the next message, which holds as much as its frame states.
    share: Share,
}

impl Messages {
    fn new(body: Outgoing, budget: Budget) -> Self {
        Self { body: Some(body), reader: MessageReader::default(), share: budget.share(), budget }
    }

    async fn next(&mut self) -> Option<Result<Message, CallError>> {
        let next = self.read().await;
        if next.as_ref().is_some_and(Result::is_err) {
            self.body = None;
        }
        next
    }

    fn message(&mut self, bytes: Bytes) -> Result<Message, CallError> {
        let mut share = std::mem::replace(&mut self.share, self.budget.share());
        share.grow_to(bytes.len())?;
        Ok(Message { bytes, share })
    }

    async fn read(&mut self) -> Option<Result<Message, CallError>> {
        loop {
            if let Some(message) = self.reader.next() {
                return Some(message.map_err(|status| failed(&status)).and_then(|bytes| self.message(bytes)));
            }
            // A message that does not fit is refused before it has arrived.
            if let Err(exceeded) = self.share.grow_to(self.reader.awaited()) {
                return Some(Err(exceeded.into()));
            }
            let body = self.body.as_mut()?;
            let frame = match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => return Some(Err(failed(&Status::internal(error.to_string())))),
                None => {
                    self.body = None;
                    return None;
                }
            };
            match frame.into_data() {
                Ok(piece) => self.reader.push(piece),
                Err(frame) => {
                    self.body = None;
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let status = Status::from_header_map(&trailers).unwrap_or_else(no_status);
                    return (status.code() != Code::Ok).then(|| Err(failed(&status)));
                }
            }
        }
    }
}

fn failed(status: &Status) -> CallError {
    CallError {
        code: status.code() as i32,
        message: status.message().to_owned(),
        details: Bytes::copy_from_slice(status.details()),
        reason: None,
    }
}
