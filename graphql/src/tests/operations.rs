//! Operations on the contract of the shop.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, prost::Message as _};
use serde_json::{Value as Json, json};
use transcode::{Limits, ParseOptions, PrintOptions, Registry};

use super::{api, execute, json, options, shop};
use crate::{Api, Budget, CallError, Caller, Message, MessageStream, Options, QueryLimits, Request};

/// Responds to calls as `respond` does, and records them.
pub(super) struct Recorder {
    pool: DescriptorPool,
    registry: Registry,
    calls: Mutex<Vec<(String, Json)>>,
    respond: fn(&str, &Json) -> Result<Json, CallError>,
}

impl Recorder {
    pub(super) fn new(respond: fn(&str, &Json) -> Result<Json, CallError>) -> Arc<Self> {
        let pool = shop::pool();
        Arc::new(Self { registry: Registry::new(&pool), pool, calls: Mutex::default(), respond })
    }

    fn method(&self, path: &str) -> MethodDescriptor {
        let (service, name) = path.strip_prefix('/').unwrap().split_once('/').unwrap();
        self.pool.get_service_by_name(service).unwrap().methods().find(|method| method.name() == name).unwrap()
    }

    fn respond(&self, path: &str, message: &[u8]) -> Result<Bytes, CallError> {
        let method = self.method(path);
        // Each encoded request is one of the method.
        DynamicMessage::decode(method.input(), message).unwrap();
        let mut text = Vec::new();
        let plan = self.registry.message(method.input().full_name()).unwrap();
        plan.to_json(message, &PrintOptions::default(), &Limits::default(), &mut text).unwrap();
        let request: Json = serde_json::from_slice(&text).unwrap();
        self.calls.lock().unwrap().push((method.name().to_owned(), request.clone()));
        let response = (self.respond)(method.name(), &request)?;
        let plan = self.registry.message(method.output().full_name()).unwrap();
        let mut encoded = Vec::new();
        let text = response.to_string();
        plan.to_proto(text.as_bytes(), &ParseOptions::default(), &Limits::default(), &mut encoded).unwrap();
        assert!(DynamicMessage::decode(method.output(), encoded.as_slice()).unwrap().encoded_len() <= encoded.len());
        Ok(encoded.into())
    }

    pub(super) fn calls(&self) -> Vec<(String, Json)> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Caller for Recorder {
    fn call(&self, path: &str, message: Vec<u8>, budget: &Budget) -> BoxFuture<'static, Result<Message, CallError>> {
        let response = self.respond(path, &message).and_then(|bytes| held(bytes, budget));
        async move {
            tokio::task::yield_now().await;
            response
        }
        .boxed()
    }

    fn open(
        &self,
        path: &str,
        message: Vec<u8>,
        budget: &Budget,
    ) -> BoxFuture<'static, Result<MessageStream, CallError>> {
        let (bytes, budget) = (self.respond(path, &message), budget.clone());
        let gone = || Err(failure(14, "stopping"));
        let items = stream::iter([bytes.clone(), bytes, gone()]);
        let messages = items.map(move |item| item.and_then(|bytes| held(bytes, &budget)));
        async move { Ok(messages.boxed()) }.boxed()
    }
}

/// A message that holds its bytes.
pub(super) fn held(bytes: Bytes, budget: &Budget) -> Result<Message, CallError> {
    let mut share = budget.share();
    share.hold(bytes.len())?;
    Ok(Message { bytes, share })
}

pub(super) fn failure(code: i32, message: &str) -> CallError {
    CallError { code, message: message.to_owned(), details: Bytes::new(), reason: None }
}

pub(super) fn shop(options: Options) -> Api {
    api(&shop::pool(), "shop.", options)
}

fn order(id: usize) -> Json {
    json!({
        "orderId": id.to_string(), "small": 1, "unsigned": 4_000_000_000_u32, "big": "-5", "biggest": "18446744073709551615",
        "weight": 1.5, "paid": true, "picture": "AQI=", "state": "STATE_OPEN", "states": ["STATE_OPEN", 7],
        "lines": [{ "name": "a", "gift": { "orderId": "g" } }], "byName": { "b": { "name": "b" } }, "counts": { "3": "4" },
        "createTime": "2026-01-31T12:00:00Z", "duration": "1.500s", "data": { "x": [1, null] }, "note": "n",
        "nothing": {}, "buyerId": format!("p{}", id % 4), "helperIds": ["p1", "missing", "p2"], "soldBy": "p1",
        "odd-name": "odd",
    })
}

pub(super) fn sells(method: &str, request: &Json) -> Result<Json, CallError> {
    Ok(match method {
        "GetOrder" | "Watch" => order(0),
        "ListOrders" => {
            let size = request["pageSize"].as_u64().unwrap_or(2) as usize;
            json!({ "orders": (0..size).map(order).collect::<Vec<_>>(), "nextPageToken": "more", "total": "9" })
        }
        "BatchGetPeople" => {
            let ids = request["personIds"].as_array().unwrap();
            assert!((1..=3).contains(&ids.len()), "the contract allows three ids: {ids:?}");
            let known = ids.iter().filter(|id| *id != "missing");
            json!({ "people": known.map(|id| json!({ "personId": id, "name": format!("name of {}", id.as_str().unwrap()) })).collect::<Vec<_>>() })
        }
        "PutOrder" => json!({ "order": request["order"], "nothing": {} }),
        _ => json!({}),
    })
}

#[tokio::test]
async fn query_returns_each_kind_of_field() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = r#"query($id: String!) { getOrder(orderId: $id) {
        __typename orderId small unsigned big biggest weight paid picture state states lines { name gift { orderId } }
        byName { key value { name } } counts { key value } flags { key } createTime duration data detail note nickname
        post part { number } nothing odd
    } }"#;
    let response = execute(&api, &caller, query, json!({ "id": "0" })).await;
    assert_eq!(
        response,
        json!({ "data": { "getOrder": {
        "__typename": "Order", "orderId": "0", "small": 1, "unsigned": 4_000_000_000_u32, "big": "-5",
        "biggest": "18446744073709551615", "weight": 1.5, "paid": true, "picture": "AQI=", "state": "STATE_OPEN",
        // A value that the contract does not know is left out.
        "states": ["STATE_OPEN"],
        "lines": [{ "name": "a", "gift": { "orderId": "g" } }],
        "byName": [{ "key": "b", "value": { "name": "b" } }], "counts": [{ "key": 3, "value": "4" }], "flags": [],
        "createTime": "2026-01-31T12:00:00Z", "duration": "1.500s", "data": { "x": [1, null] }, "detail": null,
        "note": "n", "nickname": null, "post": null, "part": null, "nothing": {}, "odd": "odd",
    } } })
    );
    assert_eq!(caller.calls(), [("GetOrder".to_owned(), json!({ "orderId": "0" }))]);
}

#[tokio::test]
async fn arguments_become_the_request() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let mutation = r#"mutation { putOrder(updateMask: "big,lines", order: {
        orderId: "7", big: 12, biggest: "13", state: STATE_OPEN, states: [STATE_OPEN], picture: "AQI=", lines: [{ name: "l" }],
        byName: [{ key: "k", value: { name: "v" } }], counts: [{ key: 3, value: "4" }], flags: { key: true, value: STATE_OPEN },
        createTime: "2026-01-31T12:00:00Z", data: { a: [1] }, note: "n", part: { number: 1, parts: [{ number: 2 }] }, odd: "o"
    }) { order { orderId big } nothing } }"#;
    let response = execute(&api, &caller, mutation, json!({})).await;
    assert_eq!(
        response,
        json!({ "data": { "putOrder": { "order": { "orderId": "7", "big": "12" }, "nothing": {} } } })
    );
    let expected = json!({ "updateMask": "big,lines", "order": {
        "orderId": "7", "big": "12", "biggest": "13", "state": "STATE_OPEN", "states": ["STATE_OPEN"], "picture": "AQI=",
        "lines": [{ "name": "l" }], "byName": { "k": { "name": "v" } }, "counts": { "3": "4" },
        "flags": { "true": "STATE_OPEN" }, "createTime": "2026-01-31T12:00:00Z", "data": { "a": [1] }, "note": "n",
        "part": { "number": 1, "parts": [{ "number": 2 }] }, "odd-name": "o",
    } });
    assert_eq!(caller.calls(), [("PutOrder".to_owned(), expected)]);
    for arguments in ["big: \"x\"", "post: \"p\", nothing: {}", "counts: [{ key: 1 }, { key: 1 }]"] {
        let query = format!("mutation {{ putOrder(order: {{ {arguments} }}) {{ nothing }} }}");
        let response = execute(&api, &caller, &query, json!({})).await;
        assert!(response["errors"][0]["message"].is_string() && response["data"]["putOrder"].is_null(), "{response}");
    }
    assert_eq!(caller.calls(), []);
}

#[tokio::test]
async fn pages_are_connections() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = "{ listOrders(first: 3, after: \"t\", state: STATE_OPEN) { total nodes { orderId } pageInfo { endCursor hasNextPage } } }";
    let response = execute(&api, &caller, query, json!({})).await;
    assert_eq!(
        response,
        json!({ "data": { "listOrders": {
        "total": "9", "nodes": [{ "orderId": "0" }, { "orderId": "1" }, { "orderId": "2" }],
        "pageInfo": { "endCursor": "more", "hasNextPage": true },
    } } })
    );
    let request = json!({ "pageSize": 3, "pageToken": "t", "state": "STATE_OPEN" });
    assert_eq!(caller.calls(), [("ListOrders".to_owned(), request)]);
}

#[tokio::test]
async fn references_of_a_list_are_loaded_together() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query =
        "{ listOrders(first: 40) { nodes { buyer { name } helperPersons { personId } soldByPerson { name } } } }";
    let response = execute(&api, &caller, query, json!({})).await;
    let nodes = response["data"]["listOrders"]["nodes"].as_array().unwrap_or_else(|| panic!("{response}"));
    assert_eq!(nodes.len(), 40);
    assert_eq!(
        nodes[39],
        json!({
            "buyer": { "name": "name of p3" }, "helperPersons": [{ "personId": "p1" }, { "personId": "p2" }],
            "soldByPerson": { "name": "name of p1" },
        })
    );
    let calls = caller.calls();
    let batches: Vec<_> = calls.iter().filter(|(name, _)| name == "BatchGetPeople").collect();
    // Four buyers, of whom two help and one sells, and one person who does not exist: in calls of at most three ids.
    assert_eq!((calls.len(), batches.len()), (3, 2), "{calls:?}");
    let ids = batches.iter().flat_map(|(_, request)| request["personIds"].as_array().unwrap());
    let ids: Vec<_> = ids.map(|id| id.as_str().unwrap()).collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (5, 5), "{ids:?}");
}

#[tokio::test]
async fn failed_call_states_its_code_and_reason() {
    let respond = |method: &str, request: &Json| match method {
        "GetOrder" => Err(failure(5, "no such order")),
        _ => sells(method, request),
    };
    let (api, caller) = (shop(options()), Recorder::new(respond));
    let query = "{ getOrder(orderId: \"1\") { orderId } listOrders { total } }";
    let response = execute(&api, &caller, query, json!({})).await;
    // The other field has its value.
    assert_eq!(response["data"], json!({ "getOrder": null, "listOrders": { "total": "9" } }));
    assert_eq!(response["errors"][0]["message"], "no such order");
    assert_eq!(
        (&response["errors"][0]["extensions"]["code"], &response["errors"][0]["path"]),
        (&json!("NOT_FOUND"), &json!(["getOrder"]))
    );
}

#[tokio::test]
async fn subscription_follows_a_stream_to_its_error() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = "subscription { shopWatch { orderId buyer { name } } }";
    let request = Request { query: query.to_owned(), ..Request::default() };
    let prepared = api.prepare(request).unwrap();
    let replies: Vec<_> = api.stream(prepared, caller.clone()).collect().await;
    let message = json!({ "data": { "shopWatch": { "orderId": "0", "buyer": { "name": "name of p0" } } } });
    assert_eq!((json(&replies[0]), json(&replies[1]), replies.len()), (message.clone(), message, 3));
    let last = json(&replies[2]);
    assert_eq!((&last["data"], &last["errors"][0]["path"]), (&json!({ "shopWatch": null }), &json!(["shopWatch"])));
    assert_eq!(last["errors"][0]["extensions"]["code"], "UNAVAILABLE");
}

#[tokio::test]
async fn operations_are_refused_before_a_call() {
    let limits = QueryLimits { root_fields: 2, ..options().limits };
    let (api, caller) = (shop(Options { limits, introspection: false, ..options() }), Recorder::new(sells));
    for (query, code) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ getOrder { orderId } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ getOrder(orderId: 1) { orderId } }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ getOrder(orderId: \"1\") }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { listOrders { total } } query B { listOrders { total } }", "OPERATION_RESOLUTION_FAILURE"),
        ("{ a: listOrders { total } b: listOrders { total } c: listOrders { total } }", "QUERY_TOO_EXPENSIVE"),
        ("{ __schema { types { name } } }", "INTROSPECTION_DISABLED"),
    ] {
        let response = execute(&api, &caller, query, json!({})).await;
        assert_eq!(response["errors"][0]["extensions"]["code"], code, "{query}: {response}");
        assert!(response.get("data").is_none(), "{query}: {response}");
    }
    let deep = format!("{{ getOrder(orderId: {}", "[".repeat(100_000));
    let response = execute(&api, &caller, &deep, json!({})).await;
    assert_eq!(response["errors"][0]["extensions"]["code"], "GRAPHQL_PARSE_FAILED");
    assert_eq!(caller.calls(), []);
}

/// The introspection query that GraphiQL and code generators send.
#[tokio::test]
async fn introspection_describes_the_schema() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = "query IntrospectionQuery { __schema { queryType { name } types { ...FullType } \
        directives { name locations args { ...InputValue } } } } \
        fragment FullType on __Type { kind name description fields(includeDeprecated: true) { name args { ...InputValue } \
        type { ...TypeRef } isDeprecated } inputFields { ...InputValue } interfaces { ...TypeRef } \
        enumValues(includeDeprecated: true) { name } possibleTypes { ...TypeRef } } \
        fragment InputValue on __InputValue { name type { ...TypeRef } defaultValue } \
        fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name \
        ofType { kind name ofType { kind name ofType { kind name } } } } } } } }";
    let response = execute(&api, &caller, query, json!({})).await;
    assert!(response["errors"].is_null(), "{}", response["errors"]);
    let types = response["data"]["__schema"]["types"].as_array().unwrap();
    let names: BTreeSet<_> = types.iter().filter_map(|of| of["name"].as_str()).collect();
    assert!(
        ["Order", "OrderLine", "OrderInput", "ListOrdersConnection", "State", "Int64"]
            .iter()
            .all(|name| names.contains(name))
    );
}
