//! Variables and arguments: valid ones become requests, and all others are refused without a call.

use serde_json::{Value as Json, json};

use super::{
    execute,
    operations::{Recorder, sells, shop},
    options,
    responses::error_codes,
};
use crate::{Options, QueryLimits, Request};

/// Documents that validation of async-graphql accepts, or does not survive.
#[tokio::test]
async fn malformed_documents_are_refused() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let list = "{ listOrders(first: $a) { total } }";
    let put = "{ putOrder(order: $a) { nothing } }";
    let documents = [
        format!("query($a: [Nope!]! = [\"x\"]) {list}"),
        format!("query($a: Nope = 1) {list}"),
        format!("query($a: [[[Nope]]] = [[[1]]]) {list}"),
        format!("query($a: Order) {list}"),
        format!("query($a: [Query!]! = []) {list}"),
        format!("query($a: __Type) {list}"),
        format!("query($a: {}Int{}) {list}", "[".repeat(40), "]".repeat(40)),
        format!("query($a: Int = \"x\") {list}"),
        format!("query($a: Int = 1.5) {list}"),
        format!("query($a: Int = 3000000000) {list}"),
        format!("query($a: Int = STATE_OPEN) {list}"),
        format!("query($a: Int! = null) {list}"),
        format!("query($a: Int, $a: Int) {list}"),
        "query($a: State = STATE_NONE) { listOrders(state: $a) { total } }".to_owned(),
        "query($a: State = 1) { listOrders(state: $a) { total } }".to_owned(),
        "query($a: State = {}) { listOrders(state: $a) { total } }".to_owned(),
        format!("mutation($a: OrderInput = {{ nope: 1 }}) {put}"),
        format!("mutation($a: OrderInput = 5) {put}"),
        format!("mutation($a: OrderInput = [{{}}]) {put}"),
        format!("mutation($a: OrderInput = {{ lines: [{{ name: 1 }}] }}) {put}"),
        format!("mutation($a: OrderInput = {{ byName: [{{ value: {{}} }}] }}) {put}"),
        "mutation { putOrder(order: { nope: 1 }) { nothing } }".to_owned(),
        "mutation { putOrder(order: 5) { nothing } }".to_owned(),
        "mutation($n: String) { putOrder(order: { nope: 1, note: $n }) { nothing } }".to_owned(),
        "mutation { putOrder(order: { small: \"1\" }) { nothing } }".to_owned(),
        "query($a: Int) { listOrders(first: $b) { total } }".to_owned(),
        "query($a: Int) { listOrders { total } }".to_owned(),
        "query($a: String) { listOrders(first: $a) { total } }".to_owned(),
        "{ listOrders(nope: 1) { total } }".to_owned(),
        "{ listOrders { total(nope: 1) } }".to_owned(),
        "{ listOrders { total { nope } } }".to_owned(),
        "{ listOrders { __typename(nope: 1) } }".to_owned(),
        "{ listOrders { __typename { nope } } }".to_owned(),
        "{ listOrders @nope { total } }".to_owned(),
        "{ listOrders @deprecated { total } }".to_owned(),
        "{ listOrders @skip { total } }".to_owned(),
        "{ listOrders @skip(if: \"x\") { total } }".to_owned(),
        "{ listOrders @skip(if: $a) { total } }".to_owned(),
        "query($a: Boolean) { listOrders @skip(if: $a) { total } }".to_owned(),
        "{ listOrders @skip(if: true) @skip(if: true) { total } }".to_owned(),
        "{ __typename @nope(if: $a) ...F } fragment F on Query { __typename @include(if: $b) }".to_owned(),
        "{ listOrders { total __typename @nope } }".to_owned(),
        "{ __typename @deprecated }".to_owned(),
        "{ listOrders { total __typename @skip } }".to_owned(),
        "{ __typename @skip(if: false, nope: 1) }".to_owned(),
        "{ __typename @skip(if: false) @skip(if: false) }".to_owned(),
        "query($a: Int!) { __typename @skip(if: $a) }".to_owned(),
        "{ listOrders { total } ... @skip(if: true) { __typename(a: 1) } }".to_owned(),
        "{ ...Nope }".to_owned(),
        "{ ...F } fragment F on Query { ...G } fragment G on Query { listOrders { total } ...F }".to_owned(),
        "{ ...F } fragment F on Nope { listOrders { total } }".to_owned(),
        "{ ...F } fragment F on OrderInput { small }".to_owned(),
        "{ ...F } fragment F on State { small }".to_owned(),
        "{ ... on Order { small } }".to_owned(),
        "{ ... on Nope { small } }".to_owned(),
        "{ __schema { nope } }".to_owned(),
        "{ __type { name } }".to_owned(),
        "{ __type(name: 1) { name } }".to_owned(),
        "{ _service { sdl } _entities(representations: []) { __typename } }".to_owned(),
        "mutation { __schema { types { name } } }".to_owned(),
        "mutation { __typename { a } }".to_owned(),
        "subscription { __schema { types { name } } }".to_owned(),
        "query A { listOrders { total } } query B($a: [Nope!]! = [\"x\"]) { listOrders { total } }".to_owned(),
    ];
    for document in &documents {
        let response = execute(&api, &caller, document, json!({})).await;
        let codes = error_codes(&response);
        assert!(!codes.is_empty() && response.get("data").is_none(), "{document}: {response}");
        let is_expected =
            |code: &&Json| matches!(code.as_str(), Some("GRAPHQL_VALIDATION_FAILED" | "QUERY_TOO_EXPENSIVE"));
        assert!(codes.iter().all(is_expected), "{document}: {response}");
    }
    assert_eq!(caller.calls(), []);
}

#[tokio::test]
async fn directives_on_typename_use_their_variables() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = "query($a: Boolean!) { __typename @skip(if: $a) listOrders { t: __typename @include(if: $a) total } }";
    for (skips, data) in [
        (true, json!({ "listOrders": { "t": "ListOrdersConnection", "total": "9" } })),
        (false, json!({ "__typename": "Query", "listOrders": { "total": "9" } })),
    ] {
        let response = execute(&api, &caller, query, json!({ "a": skips })).await;
        assert_eq!(response, json!({ "data": data }));
    }
    // Also where no further level may follow: the arguments are the last one.
    let depth = crate::nesting::MOST - 2;
    let deepest = format!("{}{{ __typename @skip(if: false) }}{}", "{ ... ".repeat(depth), " }".repeat(depth));
    let response = execute(&api, &caller, &deepest, json!({})).await;
    assert_eq!(response, json!({ "data": { "__typename": "Query" } }));
}

#[tokio::test]
async fn strings_may_have_all_escapes_of_the_specification() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    for (literal, id) in [(r"\ud83d\ude00", "😀"), (r"\u{1F600}\u{41}", "😀A"), (r#"a\"\u00e4"#, "a\"ä")] {
        let query = format!("{{ getOrder(orderId: \"{literal}\") {{ orderId }} }}");
        let response = execute(&api, &caller, &query, json!({})).await;
        assert!(response["errors"].is_null(), "{query}: {response}");
        assert_eq!(caller.calls(), [("GetOrder".to_owned(), json!({ "orderId": id }))]);
    }
    let response = execute(&api, &caller, r#"{ getOrder(orderId: "\ud83d") { orderId } }"#, json!({})).await;
    let message = response["errors"][0]["message"].as_str().unwrap();
    assert!(message.starts_with("line 1, column 22: "), "{message}");
    assert_eq!(caller.calls(), []);
}

/// A running operation holds what its document names.
#[test]
fn undeclared_variables_are_dropped() {
    let api = shop(options());
    let query = "query($n: Int = 7) { listOrders(first: $n) { total } }".to_owned();
    let variables = json!({ "n": 54321, "other": "undeclared", "more": { "undeclared": [1] } });
    let variables = variables.as_object().cloned().unwrap();
    let prepared = api.prepare(Request { query, operation_name: None, variables }).unwrap();
    let held = format!("{prepared:?}");
    assert!(held.contains("54321") && !held.contains("undeclared"), "{held}");
}

#[tokio::test]
async fn variables_must_have_their_types() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = "query($id: String!, $n: Int, $state: State) { getOrder(orderId: $id) { orderId } \
                 listOrders(first: $n, state: $state) { total } }";
    let put = "mutation($o: OrderInput!) { putOrder(order: $o) { nothing } }";
    let part = |part: Json| json!({ "o": { "part": { "number": 1, "parts": [part] } } });
    for (query, variables, at) in [
        (query, json!({}), "`$id` of the type String! has no value"),
        (query, json!({ "id": null }), "`$id`: String! is not null"),
        (query, json!({ "id": 1 }), "`$id`: a value of the type String"),
        (query, json!({ "id": ["1"] }), "`$id`: a value of the type String"),
        (query, json!({ "id": "1", "n": 1.5 }), "`$n`: a value of the type Int"),
        (query, json!({ "id": "1", "n": 2_147_483_648_u64 }), "`$n`: a value of the type Int"),
        (query, json!({ "id": "1", "state": "NOPE" }), "`$state`: State has no value `NOPE`"),
        (query, json!({ "id": "1", "state": 1 }), "`$state`: a value of the type State"),
        (put, json!({ "o": 1 }), "`$o`: a value of the type OrderInput"),
        (put, json!({ "o": { "nope": 1 } }), "`$o`: OrderInput has no field `nope`"),
        (put, part(json!({ "numbers": 1 })), "`$o` at .part.parts[0]: PartInput has no field `numbers`"),
        (put, part(json!({ "number": "1" })), "`$o` at .part.parts[0].number: a value of the type Int"),
        (put, json!({ "o": { "counts": [{ "value": 1 }] } }), "`$o` at .counts[0].key: a value of the type Int!"),
    ] {
        let response = execute(&api, &caller, query, variables.clone()).await;
        let message = response["errors"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(at), "{variables}: {response}");
        assert_eq!(error_codes(&response), ["GRAPHQL_VALIDATION_FAILED"], "{variables}");
    }
    assert_eq!(caller.calls(), []);
}

#[tokio::test]
async fn defaults_and_absent_variables_follow_the_specification() {
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let query = "query($n: Int = 4, $s: State = STATE_OPEN, $t: String) { listOrders(first: $n, after: $t, state: $s) { total } }";
    for (variables, request) in [
        (json!({}), json!({ "pageSize": 4, "state": "STATE_OPEN" })),
        (json!({ "n": null, "s": "STATE_UNSPECIFIED", "t": "t", "other": [1] }), json!({ "pageToken": "t" })),
        (json!({ "n": 5, "s": null }), json!({ "pageSize": 5 })),
    ] {
        let response = execute(&api, &caller, query, variables).await;
        assert!(response["errors"].is_null(), "{response}");
        assert_eq!(caller.calls(), [("ListOrders".to_owned(), request)]);
    }
    // A single value stands for a list, also within a variable; a variable without a value is not part of an object.
    let put = "mutation($o: OrderInput!, $n: String, $m: String = \"m\") { putOrder(order: $o) { nothing } \
               other: putOrder(order: { note: $n, post: $m, lines: { name: $m } }) { nothing } }";
    let response = execute(&api, &caller, put, json!({ "o": { "states": "STATE_OPEN" } })).await;
    assert!(response["errors"].is_null(), "{response}");
    let requests: Vec<_> = caller.calls().into_iter().map(|(_, request)| request["order"].clone()).collect();
    let other = json!({ "post": "m", "lines": [{ "name": "m" }] });
    assert_eq!(requests, [json!({ "states": ["STATE_OPEN"] }), other]);
}

/// A variable counts at each place where it is used.
#[tokio::test]
async fn arguments_are_bounded_with_their_variables() {
    let limits = QueryLimits { argument_bytes: 10_000, ..options().limits };
    let (api, caller) = (shop(Options { limits, ..options() }), Recorder::new(sells));
    let uses = |n: usize, kind: &str| {
        let lines = "{ name: $v } ".repeat(n);
        format!("mutation($v: String{kind}) {{ putOrder(order: {{ lines: [{lines}] }}) {{ nothing }} }}")
    };
    let text = |length: usize| json!({ "v": "x".repeat(length) });
    let code = async |query: &str, variables: Json| {
        let response = execute(&api, &caller, query, variables).await;
        assert!(
            response["errors"].is_null()
                || response["errors"][0]["message"].as_str().unwrap().contains("argument_bytes")
        );
        error_codes(&response).first().map(|code| (*code).clone())
    };
    let too_large = Some(json!("ARGUMENTS_TOO_LARGE"));
    assert_eq!(code(&uses(2, ""), text(4_000)).await, None);
    assert_eq!(code(&uses(3, ""), text(4_000)).await, too_large);
    assert_eq!(code(&uses(3, &format!(" = \"{}\"", "x".repeat(4_000))), json!({})).await, too_large);
    assert_eq!(code(&uses(1, ""), json!({ "v": "x", "other": vec![0; 400] })).await, too_large);
    let spread = format!(
        "mutation($v: String) {{ a: putOrder(order: {{ note: $v }}) {{ nothing }} {} }} fragment F on Mutation \
         {{ b: putOrder(order: {{ note: $v }}) {{ nothing }} }}",
        "...F ".repeat(2)
    );
    assert_eq!(code(&spread, text(2_500)).await, None);
    assert_eq!(code(&spread, text(4_000)).await, too_large);
    let literal = format!("mutation {{ putOrder(order: {{ note: \"{}\" }}) {{ nothing }} }}", "x".repeat(10_000));
    assert_eq!(code(&literal, json!({})).await, too_large);
}
