//! What responses contain besides the values of fields: errors, empty objects, and the limit of their size.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use serde_json::{Value as Json, json};

use super::{
    execute, json,
    operations::{Recorder, sells, shop},
    options,
};
use crate::{CallError, Caller, MessageStream, Options, Request};

fn error_codes(response: &Json) -> Vec<&Json> {
    let errors = response["errors"].as_array().into_iter().flatten();
    errors.map(|error| &error["extensions"]["code"]).collect()
}

#[tokio::test]
async fn each_response_of_a_subscription_has_its_errors() {
    let respond = |method: &str, request: &Json| match method {
        "BatchGetPeople" => Err(CallError { code: 5, message: "no people".to_owned(), details: Bytes::new() }),
        _ => sells(method, request),
    };
    let (api, caller) = (shop(options()), Recorder::new(respond));
    let query = "subscription { shopWatch { orderId buyer { name } } }".to_owned();
    let prepared = api.prepare(Request { query, ..Request::default() }).unwrap();
    let replies: Vec<_> = api.stream(prepared, caller).map(|reply| json(&reply)).collect().await;
    for reply in &replies[..2] {
        assert_eq!(reply["data"], json!({ "shopWatch": { "orderId": "0", "buyer": null } }));
        assert_eq!(error_codes(reply), ["NOT_FOUND"], "{reply}");
        assert_eq!(reply["errors"][0]["path"], json!(["shopWatch", "buyer"]));
    }
    assert_eq!(error_codes(&replies[2]), ["UNAVAILABLE"], "{replies:?}");
}

#[tokio::test]
async fn objects_without_included_fields_are_empty() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    for (query, data) in [
        ("{ getOrder(orderId: \"1\") { lines { name @skip(if: true) } } }", json!({ "getOrder": { "lines": [{}] } })),
        ("{ getOrder(orderId: \"1\") { orderId @include(if: false) } }", json!({ "getOrder": {} })),
        ("{ getOrder(orderId: \"1\") @skip(if: true) { orderId } }", json!({})),
        ("mutation { ping @skip(if: true) }", json!({})),
        (
            "{ getOrder(orderId: \"1\") { ...F ... @skip(if: true) { small } } } \
             fragment F on Order { orderId @skip(if: true) ... on Order { paid @include(if: false) } }",
            json!({ "getOrder": {} }),
        ),
        (
            "{ getOrder(orderId: \"1\") { __typename @include(if: true) paid @skip(if: false) } }",
            json!({ "getOrder": { "__typename": "Order", "paid": true } }),
        ),
        ("{ __type(name: \"Order\") { name @skip(if: true) } }", json!({ "__type": {} })),
        ("{ __type(name: \"Order\") { name @skip(if: true) kind } }", json!({ "__type": { "kind": "OBJECT" } })),
    ] {
        let response = execute(&api, &caller, query, json!({})).await;
        assert_eq!(response, json!({ "data": data }), "{query}");
    }
    let query = "query($with: Boolean!) { getOrder(orderId: \"1\") { lines { name @include(if: $with) } } }";
    for (with, line) in [(true, json!({ "name": "a" })), (false, json!({}))] {
        let response = execute(&api, &caller, query, json!({ "with": with })).await;
        assert_eq!(response, json!({ "data": { "getOrder": { "lines": [line] } } }));
    }
}

#[tokio::test]
async fn refusals_are_bounded() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let arguments: String = (0..1_000).map(|n| format!("{}{n}: 1 ", "a".repeat(2_000))).collect();
    let response = execute(&api, &caller, &format!("{{ listOrders({arguments}) {{ total }} }}"), json!({})).await;
    assert_eq!(error_codes(&response).len(), 20);
    assert!(response.to_string().len() < 30_000, "{}", response.to_string().len());
}

#[tokio::test]
async fn introspection_counts_toward_the_response() {
    let small = Options { response_bytes: 1_000, ..options() };
    let (api, caller) = (shop(small), Recorder::new(sells));
    let response = execute(&api, &caller, "{ __schema { types { name description } } }", json!({})).await;
    assert_eq!(error_codes(&response), ["RESOURCE_EXHAUSTED"]);
    assert!(response.to_string().len() < 1_000 && response["data"].is_null(), "{response}");
}

#[tokio::test]
async fn nulls_keep_their_place_in_a_list() {
    let respond = |_: &str, _: &Json| {
        Ok(json!({
            "weights": [1, "NaN", 3], "values": [null, 1, { "a": null }], "none": null, "shares": { "a": "Infinity" },
        }))
    };
    let (api, caller) = (shop(options()), Recorder::new(respond));
    let query = "{ getOrder(orderId: \"1\") { weights values none shares { key value } } }";
    let response = execute(&api, &caller, query, json!({})).await;
    let order = json!({
        "weights": [1, null, 3], "values": [null, 1, { "a": null }], "none": null,
        "shares": [{ "key": "a", "value": null }],
    });
    assert_eq!(response, json!({ "data": { "getOrder": order } }));
}

#[tokio::test]
async fn copies_of_map_entries_count_toward_the_response() {
    let respond = |_: &str, _: &Json| Ok(json!({ "byName": { "a": { "name": "n".repeat(1_000) } } }));
    let small = Options { response_bytes: 5_000, ..options() };
    let (api, caller) = (shop(small), Recorder::new(respond));
    let query = |aliases: usize| {
        let fields: String = (0..aliases).map(|n| format!("m{n}: byName {{ key }} ")).collect();
        format!("{{ getOrder(orderId: \"1\") {{ {fields} }} }}")
    };
    assert_eq!(error_codes(&execute(&api, &caller, &query(2), json!({})).await).len(), 0);
    assert_eq!(error_codes(&execute(&api, &caller, &query(8), json!({})).await), ["RESOURCE_EXHAUSTED"]);
}

#[tokio::test]
async fn subscription_ends_with_a_response_beyond_the_limit() {
    let small = Options { response_bytes: 1_500, ..options() };
    let (api, caller) = (shop(small), Recorder::new(sells));
    let fields: String = (0..30).map(|n| format!("a{n}: orderId ")).collect();
    let query = format!("subscription {{ shopWatch {{ {fields} }} }}");
    let prepared = api.prepare(Request { query, ..Request::default() }).unwrap();
    let replies: Vec<_> = api.stream(prepared, caller).map(|reply| json(&reply)).collect().await;
    assert_eq!(replies.len(), 1, "{replies:?}");
    assert_eq!(replies[0]["errors"][0]["extensions"]["reason"], "RESPONSE_TOO_LARGE");
}

/// Counts the calls at the same time.
struct Counter {
    caller: Arc<dyn Caller>,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Caller for Counter {
    fn call(&self, path: &str, message: Vec<u8>) -> BoxFuture<'static, Result<Bytes, CallError>> {
        let (response, open, most) = (self.caller.call(path, message), self.open.clone(), self.most.clone());
        async move {
            most.fetch_max(open.fetch_add(1, SeqCst) + 1, SeqCst);
            let response = response.await;
            open.fetch_sub(1, SeqCst);
            response
        }
        .boxed()
    }

    fn open(&self, path: &str, message: Vec<u8>) -> BoxFuture<'static, Result<MessageStream, CallError>> {
        self.caller.open(path, message)
    }
}

#[tokio::test]
async fn references_are_loaded_by_four_calls_at_a_time() {
    let respond = |method: &str, request: &Json| match method {
        "GetOrder" => Ok(json!({ "helperIds": (0..60).map(|id| format!("h{id}")).collect::<Vec<_>>() })),
        _ => sells(method, request),
    };
    let recorder = Recorder::new(respond);
    let counter = Counter { caller: recorder.clone(), open: Arc::default(), most: Arc::default() };
    let (api, counter) = (shop(options()), Arc::new(counter));
    let query = "{ getOrder(orderId: \"1\") { helperPersons { name } } }";
    let response = execute(&api, &counter, query, json!({})).await;
    assert_eq!(response["data"]["getOrder"]["helperPersons"].as_array().map(Vec::len), Some(60), "{response}");
    assert_eq!((recorder.calls().len(), counter.most.load(SeqCst)), (21, 4));
}

/// The calls of a response with more references than an operation may have are not made.
#[tokio::test]
async fn number_of_references_is_bounded() {
    let respond = |method: &str, request: &Json| match method {
        "GetOrder" => Ok(json!({ "helperIds": (0..10_001).map(|id| format!("h{id}")).collect::<Vec<_>>() })),
        _ => sells(method, request),
    };
    let (api, caller) = (shop(options()), Recorder::new(respond));
    let query = "{ getOrder(orderId: \"1\") { helperPersons { name } } }";
    let response = execute(&api, &caller, query, json!({})).await;
    assert_eq!((error_codes(&response), caller.calls().len()), (vec![&json!("RESOURCE_EXHAUSTED")], 1), "{response}");
}
