//! What responses contain besides the values of fields: errors, empty objects, and the limit of their size.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use serde_json::{Value as Json, json};
use transcode::Limits;

use super::{
    execute, json,
    operations::{Recorder, failure, sells, shop},
    options,
};
use crate::{Budget, CallError, Caller, Message, MessageStream, Options, Request};

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
    let fields: String = (0..1_000).map(|n| format!("{}{n} ", "a".repeat(2_000))).collect();
    let response = execute(&api, &caller, &format!("{{ listOrders {{ {fields} }} }}"), json!({})).await;
    assert_eq!(error_codes(&response).len(), 20);
    assert!(response.to_string().len() < 30_000, "{}", response.to_string().len());
}

/// Errors repeat the beginning of a name, and state what is wrong behind it.
#[tokio::test]
async fn long_names_are_shortened_in_errors() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let long = "a".repeat(10_000);
    for (document, problem) in [
        (format!("{{ {long}(: 1) }}"), "expected name"),
        (format!("query($a: {long}) {{ listOrders(first: $a) {{ total }} }}"), "does not have"),
        (format!("query(${long}: Int!) {{ listOrders(first: ${long}) {{ total }} }}"), "has no value"),
        (format!("{{ ...{long} }}"), "there is no fragment"),
        (format!("{{ listOrders {{ total }} }} fragment {long} on Query {{ listOrders {{ total }} }}"), "is not used"),
    ] {
        let response = execute(&api, &caller, &document, json!({})).await;
        let message = response["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(problem) && message.len() < 250, "{message}");
    }
    let named = Request {
        query: "query A { listOrders { total } }".to_owned(),
        operation_name: Some(long),
        ..Request::default()
    };
    let refused = json(&api.prepare(named).unwrap_err());
    let message = refused["errors"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("the document has no operation") && message.len() < 100, "{message}");
}

/// Messages that are nested too deeply for JSON are no matter of the budget.
#[tokio::test]
async fn nesting_is_no_lack_of_room() {
    let respond = |_: &str, _: &Json| {
        let parts = (0..8).fold(json!({ "number": 1 }), |part, _| json!({ "parts": [part] }));
        Ok(json!({ "part": parts }))
    };
    let caller = Recorder::new(respond);
    let conversion = Limits { depth: 6, ..Limits::default() };
    let api = shop(Options { conversion, response_bytes: 10_000, ..options() });
    let response = execute(&api, &caller, "{ getOrder(orderId: \"1\") { part { number } } }", json!({})).await;
    let extensions = &response["errors"][0]["extensions"];
    assert_eq!(extensions, &json!({ "code": "RESOURCE_EXHAUSTED", "reason": "JSON_UNAVAILABLE" }), "{response}");
}

#[tokio::test]
async fn request_that_is_too_large_has_its_reason() {
    let caller = Recorder::new(sells);
    let conversion = Limits { output: 20, ..Limits::default() };
    let api = shop(Options { conversion, ..options() });
    let query = format!("{{ getOrder(orderId: \"{}\") {{ orderId }} }}", "1".repeat(30));
    let response = execute(&api, &caller, &query, json!({})).await;
    let extensions = &response["errors"][0]["extensions"];
    assert_eq!(extensions, &json!({ "code": "RESOURCE_EXHAUSTED", "reason": "MESSAGE_TOO_LARGE" }), "{response}");
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
