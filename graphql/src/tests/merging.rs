//! Fields with the same response key are one field, which costs once and calls once.

use std::sync::Arc;

use futures_util::StreamExt as _;
use serde_json::{Value as Json, json};

use super::{
    execute, json,
    operations::{Recorder, sells, shop},
    options,
    responses::error_codes,
};
use crate::{Api, Caller, Options, QueryLimits, Request};

/// Executes an operation that makes as many calls as its analysis counts, besides those of references.
async fn counted(api: &Api, caller: &Arc<Recorder>, query: &str, variables: Json) -> (Json, usize) {
    let variables = variables.as_object().cloned().unwrap_or_default();
    let request = Request { query: query.to_owned(), operation_name: None, variables };
    let prepared = api.prepare(request).unwrap_or_else(|reply| panic!("{query}: {}", json(&reply)));
    let count = prepared.calls();
    let response = json(&api.execute(prepared, Arc::clone(caller) as Arc<dyn Caller>).await);
    let calls = caller.calls();
    let roots = calls.iter().filter(|(name, _)| name != "BatchGetPeople").count();
    assert_eq!(roots, count, "{query}: {calls:?}");
    (response, calls.len())
}

#[tokio::test]
async fn repeated_root_field_is_one_call() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let (query, order) = (
        "{ getOrder(orderId: \"1\") { orderId } getOrder(orderId: \"1\") { small orderId } ...F ... { ...F } } \
                 fragment F on Query { ...G getOrder(orderId: \"1\") { paid } } \
                 fragment G on Query { ... on Query { getOrder(orderId: \"1\") { lines { name } lines { gift { orderId } name } } } }",
        json!({ "orderId": "0", "small": 1, "lines": [{ "name": "a", "gift": { "orderId": "g" } }], "paid": true }),
    );
    let (response, calls) = counted(&api, &caller, query, json!({})).await;
    assert_eq!((&response, calls), (&json!({ "data": { "getOrder": order } }), 1));
    // The members stand in the order in which the operation selects them first.
    let text = response.to_string();
    assert!(text.find("orderId") < text.find("small") && text.find("lines") < text.find("paid"), "{text}");
}

#[tokio::test]
async fn aliases_are_calls_of_their_own() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = "{ a: getOrder(orderId: \"1\") { orderId } b: getOrder(orderId: \"2\") { t: __typename } \
                 a: getOrder(orderId: \"1\") { x: orderId } b: getOrder(orderId: \"2\") { t: __typename } }";
    let (response, calls) = counted(&api, &caller, query, json!({})).await;
    let data = json!({ "a": { "orderId": "0", "x": "0" }, "b": { "t": "Order" } });
    assert_eq!((response, calls), (json!({ "data": data }), 2));
}

/// The arguments of merged fields may be in any order, and may be variables.
#[tokio::test]
async fn equal_arguments_are_merged() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = "query($n: Int) { listOrders(first: $n, after: \"t\") { total } listOrders(after: \"t\", first: $n) \
                 { nodes { orderId } pageInfo { endCursor } pageInfo { hasNextPage } } }";
    let (response, calls) = counted(&api, &caller, query, json!({ "n": 1 })).await;
    let page = json!({ "endCursor": "more", "hasNextPage": true });
    let list = json!({ "total": "9", "nodes": [{ "orderId": "0" }], "pageInfo": page });
    assert_eq!((response, calls), (json!({ "data": { "listOrders": list } }), 1));
}

#[tokio::test]
async fn excluded_fields_make_no_calls() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = "query($with: Boolean!, $without: Boolean = true) { \
                 getOrder(orderId: \"1\") @include(if: $with) { orderId } ...F @skip(if: $without) listOrders { total } } \
                 fragment F on Query { getOrder(orderId: \"1\") { small } ping: getOrder(orderId: \"3\") { paid } }";
    for (variables, data, count) in [
        (json!({ "with": false }), json!({ "listOrders": { "total": "9" } }), 1),
        (json!({ "with": true }), json!({ "getOrder": { "orderId": "0" }, "listOrders": { "total": "9" } }), 2),
        (
            json!({ "with": true, "without": false }),
            json!({
                "getOrder": { "orderId": "0", "small": 1 }, "ping": { "paid": true },
                "listOrders": { "total": "9" },
            }),
            3,
        ),
    ] {
        let (response, calls) = counted(&api, &caller, query, variables).await;
        assert_eq!((response, calls), (json!({ "data": data }), count));
    }
}

#[tokio::test]
async fn repeated_references_are_loaded_once() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = "{ getOrder(orderId: \"1\") { buyer { name } ...F soldByPerson { personId } } other: getOrder(orderId: \"2\") \
                 { ...F } } fragment F on Order { buyer { personId } helperPersons { name } }";
    let (response, calls) = counted(&api, &caller, query, json!({})).await;
    let helpers = json!([{ "name": "name of p1" }, { "name": "name of p2" }]);
    let data = json!({
        "getOrder": {
            "buyer": { "name": "name of p0", "personId": "p0" }, "helperPersons": helpers, "soldByPerson": { "personId": "p1" },
        },
        "other": { "buyer": { "personId": "p0" }, "helperPersons": helpers },
    });
    // Four ids, with one of no person, in calls of at most three.
    assert_eq!((response, calls), (json!({ "data": data }), 4));
}

#[tokio::test]
async fn mutations_merge_their_fields_and_keep_their_order() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = "mutation { b: putOrder(updateMask: \"b\") { nothing } a: putOrder(updateMask: \"a\") { nothing } \
                 ...F } fragment F on Mutation { b: putOrder(updateMask: \"b\") { order { orderId } } ping }";
    let prepared = api.prepare(Request { query: query.to_owned(), ..Request::default() }).unwrap();
    assert_eq!(prepared.calls(), 3);
    let response = json(&api.execute(prepared, caller.clone()).await);
    assert_eq!(response["data"]["b"], json!({ "nothing": {}, "order": null }), "{response}");
    let calls: Vec<_> = caller.calls().iter().map(|(_, request)| request["updateMask"].clone()).collect();
    assert_eq!(calls, [json!("b"), json!("a"), Json::Null]);
}

#[tokio::test]
async fn subscription_selects_one_merged_field() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = "subscription { ...F shopWatch { orderId } } fragment F on Subscription { shopWatch { small } }";
    let prepared = api.prepare(Request { query: query.to_owned(), ..Request::default() }).unwrap();
    assert_eq!(prepared.calls(), 1);
    let replies: Vec<_> = api.stream(prepared, caller.clone()).map(|reply| json(&reply)).collect().await;
    assert_eq!(replies[0], json!({ "data": { "shopWatch": { "small": 1, "orderId": "0" } } }));
    assert_eq!(caller.calls().len(), 1);
    for query in [
        "subscription { shopWatch { orderId } stockWatch { number } }",
        "subscription { shopWatch @skip(if: true) { orderId } }",
        "subscription { __typename }",
        "subscription { a: shopWatch { orderId } ...F } fragment F on Subscription { b: shopWatch { orderId } }",
    ] {
        let response = execute(&api, &caller, query, json!({})).await;
        assert!(response.get("data").is_none(), "{query}: {response}");
        assert!(error_codes(&response).iter().all(|code| **code == "GRAPHQL_VALIDATION_FAILED"), "{query}: {response}");
    }
}

#[tokio::test]
async fn conflicting_fields_are_refused() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    for query in [
        "{ getOrder(orderId: \"1\") { orderId } getOrder(orderId: \"2\") { orderId } }",
        "{ getOrder(orderId: \"1\") { orderId } ...F } fragment F on Query { getOrder(orderId: \"2\") { orderId } }",
        "{ a: getOrder(orderId: \"1\") { orderId } ... { a: listOrders { total } } }",
        "{ listOrders { total } listOrders(first: 1) { total } }",
        "{ getOrder(orderId: \"1\") { a: orderId } getOrder(orderId: \"1\") { a: small } }",
        "{ getOrder(orderId: \"1\") { lines { n: name } ... { lines { n: gift { orderId } } } } }",
        "query($a: Int, $b: Int) { listOrders(first: $a) { total } listOrders(first: $b) { total } }",
        "mutation { putOrder(updateMask: \"a\") { nothing } putOrder(updateMask: \"b\") { nothing } }",
    ] {
        let response = execute(&api, &caller, query, json!({ "a": 1, "b": 1 })).await;
        assert!(error_codes(&response).iter().all(|code| **code == "GRAPHQL_VALIDATION_FAILED"), "{query}: {response}");
        assert!(response.get("data").is_none() && !error_codes(&response).is_empty(), "{query}: {response}");
    }
    assert_eq!(caller.calls(), []);
}

/// A merged field costs once, and one that is left out costs nothing.
#[tokio::test]
async fn limits_count_what_is_executed() {
    let limited = |limits| shop(Options { limits, ..options() });
    let caller = Recorder::new(sells);
    let limits = options().limits;
    let refused = async |limits: QueryLimits, query: &str| {
        let response = execute(&limited(limits), &caller, query, json!({})).await;
        response["errors"][0]["message"].as_str().map(str::to_owned)
    };
    let repeated = format!("{{ {} }}", "listOrders { total nodes { buyer { name } } } ".repeat(6));
    // A call, a reference and three fields.
    assert_eq!(refused(QueryLimits { complexity: 23, root_fields: 1, ..limits }, &repeated).await, None);
    let message = refused(QueryLimits { complexity: 22, ..limits }, &repeated).await.unwrap();
    assert!(message.contains("complexity of 23; the limit is 22 (gateway.graphql.complexity)"), "{message}");
    let skipped =
        "{ listOrders { total } getOrder(orderId: \"1\") @skip(if: true) { lines { gift { lines { name } } } } }";
    assert_eq!(refused(QueryLimits { complexity: 11, root_fields: 1, depth: 2, ..limits }, skipped).await, None);
    for (query, key) in [
        ("{ a: listOrders { total } b: listOrders { total } }", "root_fields"),
        ("{ listOrders { nodes { orderId } } }", "depth"),
    ] {
        let message = refused(QueryLimits { root_fields: 1, depth: 2, ..limits }, query).await.unwrap();
        assert!(message.contains(&format!("(gateway.graphql.{key})")), "{query}: {message}");
    }
    // Selections that are merged take time, too.
    let many = format!("{{ {} }}", "listOrders { total } ".repeat(60));
    let message = refused(QueryLimits { complexity: 11, ..limits }, &many).await.unwrap();
    assert!(message.contains("120 times; the limit is 110, 10 times gateway.graphql.complexity"), "{message}");
}
