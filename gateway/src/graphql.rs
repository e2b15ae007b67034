//! GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/draft/>), with subscriptions as server-sent events
//! (graphql-sse, distinct connections), and over WebSockets ([`socket`]).
//!
//! Each field of an operation that needs a call makes it through the pipeline of all calls (`rpc`): see [`calls`].

mod accept;
mod calls;
mod events;
mod operation;
mod persisted;
mod refusal;
pub(crate) mod socket;

use std::sync::Arc;

use ::graphql::{Api, Operation, Prepared, Reply};
use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, SET_COOKIE},
};
use kit::{
    grpc::{TIMEOUT, parse_timeout},
    trace::TraceContext,
};
use tokio::time::{Instant, timeout};
use tonic::Code;
use tracing::Instrument as _;

use crate::{
    http::client_address::Client,
    io::Inbound,
    protocol::status::check_length,
    rpc::{Outgoing, OwnRequest, RpcContext},
    server::{Stalls, Watched},
    state::Snapshot,
    tls::CertificateState,
};
use accept::Form;
use calls::ClientCalls;
use operation::Sent;
pub(crate) use persisted::AutomaticQueries;
use persisted::Documents;
use refusal::RequestRefusal;

/// The path of the API.
pub(crate) const PATH: &str = "/graphql";

/// A request for the API.
pub(crate) struct GraphqlCall<'a> {
    pub(crate) context: &'a Arc<RpcContext>,
    pub(crate) snapshot: &'a Arc<Snapshot>,
    pub(crate) automatic: &'a AutomaticQueries,
    pub(crate) stalls: Arc<Stalls>,
    pub(crate) client: Client,
    pub(crate) certificate: CertificateState,
}

/// The response to a request whose operation is known.
enum Executed {
    Whole {
        reply: Reply,
        /// The cookies that calls set.
        cookies: Vec<HeaderValue>,
    },
    Stream(BoxStream<'static, Reply>),
}

impl From<Reply> for Executed {
    fn from(reply: Reply) -> Self {
        Self::Whole { reply, cookies: Vec::new() }
    }
}

impl GraphqlCall<'_> {
    /// Serves the request. It counts as a call besides those that it makes, also if it makes none.
    pub(crate) async fn respond(self, watched: Watched, request: Request<Inbound>) -> Response<Outgoing> {
        let (method, certificate) = (&self.snapshot.routes.graphql, self.certificate.valid());
        let own = OwnRequest::begin(method, self.client, certificate, request.headers());
        let span = own.span.clone();
        self.serve(own, watched, request).instrument(span).await
    }

    async fn serve(&self, mut own: OwnRequest, watched: Watched, request: Request<Inbound>) -> Response<Outgoing> {
        let form = Form::of(request.headers());
        let executed = match self.admit(&mut own, request.headers()).await {
            Ok(()) => self.execute(form, &own.trace, request).await,
            Err(refusal) => Err(refusal),
        };
        let form = form.unwrap_or(Form::Json);
        let rate_limit = own.rate_limit.take();
        let mut response = match executed {
            Ok(Executed::Whole { reply, cookies }) => {
                own.end(if reply.is_refused { Code::InvalidArgument } else { Code::Ok });
                let mut response = whole(form, reply, watched);
                for cookie in cookies {
                    response.headers_mut().append(SET_COOKIE, cookie);
                }
                response
            }
            Ok(Executed::Stream(replies)) => {
                let events = events::stream(replies, self.snapshot.config.json.heartbeat.0);
                let end = stream::once(async move {
                    own.end(Code::Ok);
                    Bytes::new()
                });
                with_type(Response::new(Outgoing::stream(events.chain(end).boxed(), watched)), form)
            }
            Err(refusal) => {
                own.end(refusal.rpc_code());
                refusal.response(form)
            }
        };
        if let Some(headers) = rate_limit {
            headers.put(response.headers_mut());
        }
        response
    }

    async fn admit(&self, own: &mut OwnRequest, headers: &HeaderMap) -> Result<(), RequestRefusal> {
        let method = &self.snapshot.routes.graphql;
        self.certificate.check(false).map_err(|status| RequestRefusal::of(&status))?;
        let admitted = own.admit((self.context, self.snapshot), method, self.client, headers).await;
        admitted.map_err(|status| RequestRefusal::of(&status))
    }

    async fn execute(
        &self,
        form: Option<Form>,
        trace: &TraceContext,
        request: Request<Inbound>,
    ) -> Result<Executed, RequestRefusal> {
        let Some(form) = form else {
            let message = "GraphQL responses are application/graphql-response+json, application/json or \
                           text/event-stream; accept one of them";
            return Err(RequestRefusal::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", message));
        };
        let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
        if !is_get && *request.method() != Method::POST {
            return Err(RequestRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "use POST or GET"));
        }
        let (api, deadline) = (self.api()?, deadline(request.headers())?);
        let (parts, body) = request.into_parts();
        let sent = if is_get {
            operation::of_query(parts.uri.query().unwrap_or_default())
        } else {
            operation::of_body(&self.read(&parts.headers, body).await?)
        }?;
        let prepared = match self.prepare(api, sent)? {
            Ok(prepared) => prepared,
            Err(reply) => return Ok(reply.into()),
        };
        if is_get && prepared.operation() != Operation::Query {
            let message = "GET is for queries; use POST";
            return Err(RequestRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message));
        }
        let calls = ClientCalls::new(self, parts.headers, trace, deadline);
        Ok(run(api, prepared, calls, form).await)
    }

    fn api(&self) -> Result<&Api, RequestRefusal> {
        let api = self.snapshot.graphql.as_ref().and_then(|schema| schema.api.as_ref());
        let message = "the gateway has no method with a GraphQL form";
        api.ok_or_else(|| RequestRefusal::new(StatusCode::NOT_FOUND, "NO_SCHEMA", message))
    }

    /// Reads the body of a request.
    async fn read(&self, headers: &HeaderMap, body: Inbound) -> Result<Vec<u8>, RequestRefusal> {
        let limits = &self.context.service.limits;
        operation::check_type(headers)?;
        // Before the body is read, so that a client that waits for 100 does not send it.
        check_length(headers, limits.message_bytes).map_err(|status| RequestRefusal::of(&status))?;
        let encoding = operation::encoding(headers)?;
        let reading = timeout(limits.deadline.0, operation::read(body, encoding, limits.message_bytes));
        reading.await.map_err(|_| {
            let message = "the request did not arrive in time";
            RequestRefusal::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", message)
        })?
    }

    /// Finds the document of an operation, and checks it against the limits.
    fn prepare(&self, api: &Api, sent: Sent) -> Result<Result<Prepared, Reply>, RequestRefusal> {
        let config = &self.snapshot.config.graphql;
        let most = config.query_bytes;
        if sent.query.as_ref().is_some_and(|query| query.len() > most) {
            let message = format!("the document has more than {most} bytes (gateway.graphql.query_bytes)");
            return Err(RequestRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, "QUERY_TOO_LARGE", message));
        }
        let documents = Documents {
            file: self.snapshot.persisted.as_deref(),
            only_file: config.only_persisted,
            automatic: self.automatic,
        };
        Ok(documents.complete(sent).and_then(|request| api.prepare(request)))
    }
}

/// Only a subscription is a stream: the response to another operation may set cookies, so that it begins after its calls.
async fn run(api: &Api, prepared: Prepared, calls: ClientCalls, form: Form) -> Executed {
    if prepared.operation() != Operation::Subscription {
        let reply = api.execute(prepared, Arc::new(calls.clone())).await;
        return Executed::Whole { reply, cookies: calls.take_cookies() };
    }
    match form {
        Form::Events => Executed::Stream(api.stream(prepared, Arc::new(calls))),
        _ => {
            let message = "a subscription needs accept: text/event-stream";
            Reply::refused("SUBSCRIPTION_NEEDS_STREAM", message).into()
        }
    }
}

/// When the client no longer waits.
fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, RequestRefusal> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let allowed = parse_timeout(value.as_bytes());
    let allowed = allowed
        .ok_or_else(|| RequestRefusal::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", "grpc-timeout is malformed"))?;
    Ok(Instant::now().checked_add(allowed))
}

/// A response that is complete.
fn whole(form: Form, reply: Reply, watched: Watched) -> Response<Outgoing> {
    let status = form.status(reply.is_refused);
    let mut response = Response::new(match form {
        // The client of a stream reads errors as events, too.
        Form::Events => Outgoing::complete(events::once(&reply).into(), watched),
        _ => Outgoing::complete(reply.json.into(), watched),
    });
    *response.status_mut() = status;
    with_type(response, form)
}

fn with_type(mut response: Response<Outgoing>, form: Form) -> Response<Outgoing> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    response
}
