//! GraphQL over HTTP (<https://graphql.github.io/graphql-over-http/draft/>), and subscriptions as server-sent events
//! (graphql-sse, distinct connections).
//!
//! Each field of an operation that needs a call makes it through the pipeline of all calls (`rpc`): see [`calls`].

mod accept;
mod calls;
mod events;
mod operation;
mod persisted;

use std::sync::Arc;

use ::graphql::{Api, Operation, Prepared, Reply};
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, SET_COOKIE},
};
use http_body_util::Full;
use kit::grpc::{TIMEOUT, parse_timeout};
use tokio::time::{Instant, timeout};

use crate::{
    http::client_address::Client,
    io::Inbound,
    rpc::{Outgoing, RpcContext},
    server::{Stalls, Watched},
    state::Snapshot,
};
use accept::Form;
use calls::ClientCalls;
pub(crate) use persisted::AutomaticQueries;
use persisted::Documents;

/// The path of the API.
pub(crate) const PATH: &str = "/graphql";

/// A request for the API.
pub(crate) struct GraphqlCall<'a> {
    pub(crate) context: &'a Arc<RpcContext>,
    pub(crate) snapshot: &'a Arc<Snapshot>,
    pub(crate) automatic: &'a AutomaticQueries,
    pub(crate) stalls: Arc<Stalls>,
    pub(crate) client: Client,
}

/// A response that refuses a request before its operation is known.
struct RequestRefusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl RequestRefusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }
}

impl GraphqlCall<'_> {
    /// Serves the request.
    pub(crate) async fn respond(self, watched: Watched, request: Request<Inbound>) -> Response<Outgoing> {
        let Some(form) = Form::of(request.headers()) else {
            let message = "GraphQL responses are application/graphql-response+json, application/json or \
                           text/event-stream; accept one of them";
            return refused(Form::Json, &RequestRefusal::new(StatusCode::NOT_ACCEPTABLE, "NOT_ACCEPTABLE", message));
        };
        match self.execute(form, watched, request).await {
            Ok(response) => response,
            Err(refusal) => refused(form, &refusal),
        }
    }

    async fn execute(
        &self,
        form: Form,
        watched: Watched,
        request: Request<Inbound>,
    ) -> Result<Response<Outgoing>, RequestRefusal> {
        let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
        if !is_get && *request.method() != Method::POST {
            return Err(RequestRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "use POST or GET"));
        }
        let Some(api) = self.snapshot.graphql.as_ref().and_then(|schema| schema.api()) else {
            let message = "the gateway has no method with a GraphQL form";
            return Err(RequestRefusal::new(StatusCode::NOT_FOUND, "NO_SCHEMA", message));
        };
        let deadline = deadline(&request)?;
        let (parts, body) = request.into_parts();
        let limits = &self.context.service.limits;
        let most = self.snapshot.config.graphql.query_bytes;
        let sent = if is_get {
            operation::of_query(parts.uri.query().unwrap_or_default())
        } else {
            operation::check_type(&parts.headers)?;
            let reading = timeout(limits.deadline.0, operation::read(body, limits.message_bytes));
            let body = reading.await.map_err(|_| {
                RequestRefusal::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "REQUEST_TIMEOUT",
                    "the request did not arrive in time",
                )
            })??;
            operation::of_body(&body)
        }?;
        let documents = Documents {
            file: self.snapshot.persisted.as_deref(),
            only_file: self.snapshot.config.graphql.only_persisted,
            automatic: self.automatic,
        };
        if sent.query.as_ref().is_some_and(|query| query.len() > most) {
            let message = format!("the document has more than {most} bytes (gateway.graphql.query_bytes)");
            return Err(RequestRefusal::new(StatusCode::PAYLOAD_TOO_LARGE, "QUERY_TOO_LARGE", message));
        }
        let prepared = match documents.complete(sent).and_then(|request| api.prepare(request)) {
            Ok(prepared) => prepared,
            Err(reply) => return Ok(whole(form, reply, watched)),
        };
        if is_get && prepared.operation() != Operation::Query {
            let message = "GET is for queries; use POST";
            return Err(RequestRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message));
        }
        let calls = ClientCalls::new(self, parts.headers, deadline);
        Ok(self.run(api, prepared, calls, form, watched).await)
    }

    async fn run(
        &self,
        api: &Api,
        prepared: Prepared,
        calls: ClientCalls,
        form: Form,
        watched: Watched,
    ) -> Response<Outgoing> {
        if form == Form::Events {
            let replies = api.stream(prepared, Arc::new(calls));
            let events = events::stream(replies, self.snapshot.config.json.heartbeat.0);
            return with_type(Response::new(Outgoing::stream(events, watched)), form);
        }
        if prepared.operation() == Operation::Subscription {
            let message = "a subscription needs accept: text/event-stream";
            return whole(form, Reply::refused("SUBSCRIPTION_NEEDS_STREAM", message), watched);
        }
        let reply = api.execute(prepared, Arc::new(calls.clone())).await;
        let mut response = whole(form, reply, watched);
        for cookie in calls.take_cookies() {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }
}

/// When the client no longer waits.
fn deadline(request: &Request<Inbound>) -> Result<Option<Instant>, RequestRefusal> {
    let Some(value) = request.headers().get(TIMEOUT) else { return Ok(None) };
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

fn refused(form: Form, refusal: &RequestRefusal) -> Response<Outgoing> {
    let reply = Reply::refused(refusal.code, &refusal.message);
    let mut response = Response::new(Outgoing::Full(Full::from(reply.json)));
    *response.status_mut() = refusal.status;
    if refusal.status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    // A refusal is no stream.
    with_type(response, if form == Form::Events { Form::Json } else { form })
}

fn with_type(mut response: Response<Outgoing>, form: Form) -> Response<Outgoing> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    response
}
