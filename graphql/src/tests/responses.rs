//! What responses contain besides the values of fields: errors, empty objects, and the limit of their size.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use serde_json::{Value as Json, json};

use super::{
    execute, json,
    operations::{Recorder, failure, sells, shop},
    options,
};
use crate::{Budget, CallError, Caller, Message, MessageStream, Request};

pub(super) fn error_codes(response: &Json) -> Vec<&Json> {
    let errors = response["errors"].as_array().into_iter().flatten();
    errors.map(|error| &error["extensions"]["code"]).collect()
}

#[tokio::test]
async fn each_response_of_a_subscription_has_its_errors() {
    let respond = |method: &str, request: &Json| match method {
        "BatchGetPeople" => Err(failure(5, "no people")),
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

/// Counts the calls at the same time.
struct Counter {
    caller: Arc<dyn Caller>,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Caller for Counter {
    fn call(&self, path: &str, message: Vec<u8>, budget: &Budget) -> BoxFuture<'static, Result<Message, CallError>> {
        let (response, open, most) = (self.caller.call(path, message, budget), self.open.clone(), self.most.clone());
        async move {
            most.fetch_max(open.fetch_add(1, SeqCst) + 1, SeqCst);
            let response = response.await;
            open.fetch_sub(1, SeqCst);
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
        self.caller.open(path, message, budget)
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
