//! Introspection: the same responses as those of async-graphql's executor.

use async_graphql::Request;
use serde_json::{Value as Json, json};
use transcode::Registry;

use super::{
    execute, methods,
    operations::{Recorder, sells, shop},
    options, shop as contract,
};
use crate::{Source, schema};

const QUERIES: [&str; 11] = [
    "{ __schema { description queryType { name kind } mutationType { name } subscriptionType { fields { name } } } }",
    "{ __schema { types { kind name description specifiedByURL isOneOf } directives { name isRepeatable locations \
     args { name type { name } defaultValue } } } }",
    "{ __schema { types { name fields { name isDeprecated } } } }",
    "{ __schema { types { name fields(includeDeprecated: true) { name isDeprecated deprecationReason description \
     args { name type { kind ofType { name } } } } } } }",
    "{ __type(name: \"Order\") { fields { name type { kind name ofType { kind name ofType { kind name ofType { kind name \
     description } } } } } } }",
    "{ __type(name: \"OrderInput\") { inputFields { name type { name ofType { name } } defaultValue } fields { name } \
     interfaces { name } possibleTypes { name } } }",
    "{ __type(name: \"State\") { enumValues { name description isDeprecated } } a: __type(name: \"Nope\") { name } }",
    "{ __type(name: \"Order\") { fields { type { ofType { enumValues { name } isOneOf } } } } }",
    "{ a: __schema { __typename t: types { __typename n: name n2: name } } __type(name: \"Part\") { ...F ...F } } \
     fragment F on __Type { name kind }",
    "query($name: String!, $all: Boolean = true) { __type(name: $name) { fields(includeDeprecated: $all) { name } } }",
    "{ __typename __type(name: \"__Type\") { name fields { name } } }",
];

#[tokio::test]
async fn introspection_is_that_of_the_executor() {
    let pool = contract::pool();
    let registry = Registry::new(&pool);
    let source = Source { prefix: None, registry: &registry, methods: methods(&pool, "shop.") };
    let schema = schema::build(&[source]).unwrap().schema;
    let (api, caller) = (shop(options()), Recorder::new(sells));
    let variables = json!({ "name": "Order" });
    for query in QUERIES {
        let variables = if query.contains('$') { variables.clone() } else { json!({}) };
        let ours = execute(&api, &caller, query, variables.clone()).await;
        let request = Request::new(query).variables(async_graphql::Variables::from_json(variables));
        let theirs = schema.execute(request).await;
        assert!(theirs.errors.is_empty(), "{query}: {:?}", theirs.errors);
        let theirs: Json = serde_json::from_str(&serde_json::to_string(&theirs.data).unwrap()).unwrap();
        assert_eq!(ours, json!({ "data": theirs }), "{query}");
    }
    assert_eq!(caller.calls(), []);
}
