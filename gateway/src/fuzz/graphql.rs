//! Operations of GraphQL.

use std::sync::{Arc, LazyLock};

use ::graphql::{Api, Budget, CallError, Caller, Message, MessageStream, Method, Operation, Reply, Request, Source};
use bytes::Bytes;
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, ready},
    stream,
};
use kit::{limits::Limits, policy::Access};
use prost_reflect::DescriptorPool;
use tokio::runtime::{Builder, Runtime};

use crate::{config::Config, graphql::socket::property, protocol::registry};

/// Between the document and its variables.
const VARIABLES: &str = "\n---\n";

/// The schema of the mesh, with the default limits.
static API: LazyLock<Api> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("the contracts");
    let policies = kit::policy::Table::from_descriptors(proto::DESCRIPTORS).expect("the policies");
    let is_open =
        |path: &str| policies.get(path).is_some_and(|policy| !matches!(policy.access, Access::Internal { .. }));
    let open = policies.descriptors().filter(|(path, _)| is_open(path));
    let methods = open.map(|(_, descriptor)| Method { descriptor, cost: 1 }).collect();
    let config = Config::default();
    // The client of the gateway would get an error.
    let on_panic = |message: &str| panic!("the operation has panicked: {message}");
    let options = config.graphql.options(&config.json, Limits::default().message_bytes, on_panic);
    Api::new(&[Source { prefix: None, registry: &registry(&pool), methods }], options).expect("unique names")
});

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().build().expect("a runtime without I/O"));

/// Every call succeeds with an empty message.
struct EmptyCaller;

impl Caller for EmptyCaller {
    fn call(&self, _: &str, _: Vec<u8>, budget: &Budget) -> BoxFuture<'static, Result<Message, CallError>> {
        ready(Ok(empty(budget))).boxed()
    }

    fn open(&self, _: &str, _: Vec<u8>, budget: &Budget) -> BoxFuture<'static, Result<MessageStream, CallError>> {
        ready(Ok(stream::once(ready(Ok(empty(budget)))).boxed())).boxed()
    }
}

fn empty(budget: &Budget) -> Message {
    Message { bytes: Bytes::new(), share: budget.share() }
}

/// An operation is refused, or executed: its response is JSON with data or errors. The fuzzer bounds the time.
pub(super) fn operation(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (query, variables) = text.split_once(VARIABLES).unwrap_or((text, "{}"));
    // The gateway refuses these before.
    let Ok(variables) = serde_json::from_str(variables) else { return };
    if query.len() > Config::default().graphql.query_bytes {
        return;
    }
    let request = Request { query: query.to_owned(), operation_name: None, variables };
    match API.prepare(request) {
        Err(refusal) => assert!(refusal.is_refused),
        Ok(prepared) if prepared.operation() == Operation::Subscription => {
            let replies: Vec<_> = RUNTIME.block_on(API.stream(prepared, Arc::new(EmptyCaller)).collect());
            replies.iter().for_each(check);
        }
        Ok(prepared) => check(&RUNTIME.block_on(API.execute(prepared, Arc::new(EmptyCaller)))),
    }
}

/// A message of a client over a WebSocket.
pub(super) fn socket_message(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        property::check(text);
    }
}

fn check(reply: &Reply) {
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&reply.json).expect("JSON");
    assert!(members.contains_key("data") || members.contains_key("errors"));
    assert!(!reply.is_refused || members.contains_key("errors"));
}
