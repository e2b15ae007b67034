//! The bytes that an operation may hold.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures_util::StreamExt as _;
use serde_json::{Value as Json, json};

use super::{
    execute, json,
    operations::{Recorder, sells, shop},
    options,
    responses::error_codes,
};
use crate::{Api, Options, Request};

fn with_bytes(response_bytes: usize) -> Api {
    shop(Options { response_bytes, ..options() })
}

fn reasons(response: &Json) -> Vec<&Json> {
    response["errors"].as_array().into_iter().flatten().map(|error| &error["extensions"]["reason"]).collect()
}

fn orders(first: usize) -> String {
    format!("{{ listOrders(first: {first}) {{ nodes {{ a: orderId b: orderId c: orderId }} }} }}")
}

#[tokio::test]
async fn response_is_bounded() {
    let (api, caller) = (with_bytes(30_000), Recorder::new(sells));
    let within = execute(&api, &caller, &orders(10), json!({})).await;
    assert!(within["errors"].is_null(), "{within}");
    let beyond = execute(&api, &caller, &orders(1_000), json!({})).await;
    assert_eq!(
        (reasons(&beyond), &beyond["data"]),
        (vec![&json!("RESPONSE_TOO_LARGE")], &json!({ "listOrders": null }))
    );
    let message = beyond["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("30000 bytes (gateway.graphql.response_bytes)"), "{message}");
    // The names of the response count, too: the call is within the limit, and the response is not.
    let fields: String = ('a'..='f').map(|letter| format!("{}: orderId ", letter.to_string().repeat(128))).collect();
    let long = format!("{{ listOrders(first: 20) {{ nodes {{ {fields} }} }} }}");
    let response = execute(&api, &caller, &long, json!({})).await;
    assert_eq!(
        (reasons(&response), &response["data"]),
        (vec![&json!("RESPONSE_TOO_LARGE")], &Json::Null),
        "{response}"
    );
}

/// A call beyond the budget fails, and the others keep their values.
#[tokio::test]
async fn calls_of_an_operation_share_one_budget() {
    let caller = Recorder::new(sells);
    let query = "{ a: listOrders(first: 20) { total } b: listOrders(first: 20) { total } c: getOrder(orderId: \"1\") { orderId } }";
    let enough = execute(&with_bytes(60_000), &caller, query, json!({})).await;
    assert!(enough["errors"].is_null(), "{enough}");
    let short = execute(&with_bytes(26_000), &caller, query, json!({})).await;
    assert_eq!(reasons(&short), [&json!("RESPONSE_TOO_LARGE")], "{short}");
    let [a, b, c] = ["a", "b", "c"].map(|key| !short["data"][key].is_null());
    assert!(a != b && c, "{short}");
}

#[tokio::test]
async fn copies_of_map_entries_count_toward_the_response() {
    let respond = |_: &str, _: &Json| Ok(json!({ "byName": { "a": { "name": "n".repeat(1_000) } } }));
    let (api, caller) = (with_bytes(7_000), Recorder::new(respond));
    let query = |aliases: usize| {
        let fields: String = (0..aliases).map(|n| format!("m{n}: byName {{ value {{ name }} }} ")).collect();
        format!("{{ getOrder(orderId: \"1\") {{ {fields} }} }}")
    };
    assert_eq!(error_codes(&execute(&api, &caller, &query(2), json!({})).await).len(), 0);
    assert_eq!(error_codes(&execute(&api, &caller, &query(8), json!({})).await), ["RESOURCE_EXHAUSTED"]);
}

#[tokio::test]
async fn introspection_counts_toward_the_response() {
    let (api, caller) = (with_bytes(1_000), Recorder::new(sells));
    let response = execute(&api, &caller, "{ __schema { types { name description } } }", json!({})).await;
    assert_eq!(error_codes(&response), ["RESOURCE_EXHAUSTED"]);
    assert!(response.to_string().len() < 1_000 && response["data"].is_null(), "{response}");
}

#[tokio::test]
async fn each_event_of_a_subscription_has_the_whole_budget() {
    let fields: String = (0..30).map(|n| format!("a{n}: orderId ")).collect();
    let replies = async |response_bytes| {
        let query = format!("subscription {{ shopWatch {{ {fields} buyer {{ name }} }} }}");
        let api = with_bytes(response_bytes);
        let prepared = api.prepare(Request { query, ..Request::default() }).unwrap();
        api.stream(prepared, Recorder::new(sells)).map(|reply| json(&reply)).collect::<Vec<_>>().await
    };
    // Two events that fit one by one, and the error of the stream.
    let within = replies(2_500).await;
    assert_eq!((within.len(), error_codes(&within[1]).len()), (3, 0), "{within:?}");
    // A response beyond the limit is the last one.
    let beyond = replies(1_300).await;
    assert_eq!((beyond.len(), reasons(&beyond[0])), (1, vec![&json!("RESPONSE_TOO_LARGE")]), "{beyond:?}");
}

/// A later call of a mutation is not made if the response is full.
#[tokio::test]
async fn mutation_stops_when_its_response_is_too_large() {
    let (api, caller) = (with_bytes(10_000), Recorder::new(sells));
    let put = |key: &str, order: &str| {
        format!("{key}: putOrder(order: {{ note: \"{order}\" }}) {{ order {{ a: note b: note c: note d: note }} }} ")
    };
    let small = execute(&api, &caller, &format!("mutation {{ {} {} }}", put("a", "x"), put("b", "y")), json!({})).await;
    assert_eq!((caller.calls().len(), error_codes(&small).len()), (2, 0), "{small}");
    let large = "x".repeat(2_000);
    let query = format!("mutation {{ {} {} }}", put("a", &large), put("b", "y"));
    let response = execute(&api, &caller, &query, json!({})).await;
    assert_eq!((caller.calls().len(), reasons(&response)), (1, vec![&json!("RESPONSE_TOO_LARGE")]), "{response}");
}

/// The message of a panic reaches the operator, and the client gets an error.
#[tokio::test]
async fn panic_of_a_call_fails_the_operation() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let respond = |method: &str, request: &Json| match method {
        "GetOrder" => panic!("on purpose"),
        _ => sells(method, request),
    };
    let on_panic = |message: &str| {
        assert_eq!(message, "on purpose");
        PANICS.fetch_add(1, SeqCst);
    };
    let (api, caller) = (shop(Options { on_panic, ..options() }), Recorder::new(respond));
    let response = execute(&api, &caller, "{ getOrder(orderId: \"1\") { orderId } }", json!({})).await;
    assert_eq!((error_codes(&response), PANICS.load(SeqCst)), (vec![&json!("INTERNAL")], 1), "{response}");
    assert!(!response.to_string().contains("purpose"), "{response}");
}
