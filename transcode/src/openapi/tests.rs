use std::collections::BTreeSet;

use prost_reflect::MethodDescriptor;

use super::*;
use crate::{Registry, http_rule::RouteTable, test_contracts::compile};

/// The project's contracts.
fn contracts(with_comments: bool) -> DescriptorPool {
    let mut compiler = protox::Compiler::new(["../proto", "../proto/third_party"]).unwrap();
    compiler.include_imports(true).include_source_info(with_comments);
    let names = ["auth", "messaging", "users"];
    compiler.open_files(names.map(|name| format!("trellis/{name}/v1/{name}.proto"))).unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

const SERVICES: [&str; 3] =
    ["trellis.auth.v1.AuthService", "trellis.messaging.v1.MessagingService", "trellis.users.v1.UsersService"];

fn methods(pool: &DescriptorPool, services: &[&str]) -> Vec<MethodDescriptor> {
    let services = services.iter().filter_map(|name| pool.get_service_by_name(name));
    services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// The document of the HTTP forms of methods.
fn document(methods: &[MethodDescriptor], options: &Options) -> Value {
    let registry = Registry::new(methods[0].parent_pool());
    let table = RouteTable::build(methods.iter().map(|method| (&registry, method.clone()))).unwrap();
    super::document(&table.bindings().iter().collect::<Vec<_>>(), options)
}

fn of_contracts() -> Value {
    let options =
        Options { title: "Trellis".into(), servers: vec!["https://example.com".into()], ..Options::default() };
    document(&methods(&contracts(true), &SERVICES), &options)
}

/// The values of all members with a name, anywhere in a document.
fn members<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            if key == name {
                found.push(value);
            }
            members(value, name, found);
        }),
        Value::Array(array) => array.iter().for_each(|value| members(value, name, found)),
        _ => {}
    }
}

fn all<'a>(document: &'a Value, name: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    members(document, name, &mut found);
    found.into_iter().filter_map(Value::as_str).collect()
}

#[test]
fn head_names_the_api() {
    let document = of_contracts();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"], json!({"title": "Trellis", "version": "1"}));
    assert_eq!(document["servers"], json!([{"url": "https://example.com"}]));
    assert_eq!(document["tags"][2]["name"], "trellis.users.v1.UsersService");
    assert!(
        document["tags"][2]["description"].as_str().unwrap().starts_with("Manages public profiles: what other users")
    );
}

#[test]
fn references_and_ids_are_consistent() {
    let document = of_contracts();
    let references = all(&document, "$ref");
    assert!(references.len() > 50);
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    let ids = all(&document, "operationId");
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len());
    assert_eq!(ids.len(), 37);
}

#[test]
fn path_parameters_are_those_of_the_path() {
    let document = of_contracts();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
            let names: BTreeSet<_> = in_path.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect();
            let parts = path.split('{').skip(1).map(|part| part.split('}').next().unwrap().to_owned());
            assert_eq!(names, parts.collect(), "{method} {path}");
        }
    }
}

#[test]
fn operation_of_a_query_is_complete() {
    let document = of_contracts();
    let operation = &document["paths"]["/v1/users"]["get"];
    assert_eq!(operation["operationId"], "UsersService_ListUsers");
    assert_eq!(operation["tags"], json!(["trellis.users.v1.UsersService"]));
    assert_eq!(operation["summary"], "Lists or searches the directory");
    assert!(operation["description"].as_str().unwrap().starts_with("The operator configures whom it shows"));
    assert_eq!(operation["security"], json!([{"bearer": []}]));
    assert_eq!(operation["x-rate-limit"], json!([{"requests": 300, "periodSeconds": 60}]));
    let parameter = &operation["parameters"][0];
    assert_eq!((&parameter["name"], &parameter["in"]), (&json!("pageSize"), &json!("query")));
    assert_eq!(parameter["schema"], json!({"type": "integer", "format": "int32", "minimum": 0, "maximum": 100}));
    assert_eq!(operation["parameters"][2]["schema"], json!({"type": "string", "maxLength": 64}));
    assert_eq!(operation["requestBody"], Value::Null);
    let ok = &operation["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(*ok, json!({"$ref": "#/components/schemas/trellis.users.v1.ListUsersResponse"}));
    assert_eq!(operation["responses"]["default"], json!({"$ref": "#/components/responses/Error"}));
}

#[test]
fn public_method_needs_no_credential() {
    let document = of_contracts();
    let operation = &document["paths"]["/v1/auth/jwks"]["get"];
    assert_eq!(operation["security"], json!([]));
    assert_eq!(operation["x-rate-limit"][0]["key"], "RATE_LIMIT_KEY_ADDRESS");
}

#[test]
fn path_variables_leave_the_body() {
    let document = of_contracts();
    let send = &document["paths"]["/v1/conversations/{conversation_id}/messages"]["post"];
    assert_eq!(send["parameters"][0]["schema"], json!({"type": "string", "format": "uuid"}));
    let body = &send["requestBody"]["content"]["application/json"]["schema"];
    assert!(body["properties"]["text"].is_object());
    assert!(body["properties"]["conversationId"].is_null());
    let update = &document["paths"]["/v1/users/{user.user_id}"];
    assert_eq!(update, &Value::Null, "one path has one list of names");
    let update = &document["paths"]["/v1/users/{user_id}"]["patch"];
    assert_eq!(update["parameters"][0]["name"], "user_id");
    assert_eq!(update["parameters"][1]["name"], "updateMask");
    let body = &update["requestBody"]["content"]["application/json"]["schema"];
    assert!(body["properties"]["displayName"].is_object());
    assert!(body["properties"]["userId"].is_null() && body["required"].is_null());
    let settings = &document["paths"]["/v1/messagingSettings"]["patch"]["requestBody"]["content"]["application/json"];
    assert_eq!(settings["schema"], json!({"$ref": "#/components/schemas/trellis.messaging.v1.Settings"}));
}

#[test]
fn rules_and_comments_become_schemas() {
    let document = of_contracts();
    let user = &document["components"]["schemas"]["trellis.users.v1.User"];
    assert_eq!(user["description"], "The public profile of a user.");
    assert_eq!(
        user["properties"]["handle"],
        json!({
            "anyOf": [{"type": "string", "pattern": "^[a-z][a-z0-9_]{2,29}$"}, {"const": ""}],
            "description": "The unique public name.",
        })
    );
    assert_eq!(user["properties"]["createTime"]["format"], "date-time");
    assert_eq!(user["required"], json!(["userId"]));
    let batch = &document["paths"]["/v1/users:batchGet"]["get"]["parameters"][0];
    assert_eq!(batch["required"], true);
    assert_eq!(
        batch["schema"],
        json!({"type": "array", "items": {"type": "string", "format": "uuid"}, "minItems": 1, "maxItems": 100})
    );
}

#[test]
fn streams_have_their_content_type() {
    let document = of_contracts();
    let content = &document["paths"]["/v1/conversations:subscribe"]["post"]["responses"]["200"]["content"];
    assert!(content["application/x-ndjson"].is_object());
}

#[test]
fn descriptors_without_comments_suffice() {
    let pool = contracts(false);
    let document = document(&methods(&pool, &SERVICES), &Options::default());
    assert_eq!(all(&document, "operationId").len(), 37);
    assert!(document["paths"]["/v1/users"]["get"]["summary"].is_null());
}

#[test]
fn paths_with_several_segments_have_a_parameter_for_each() {
    let source = r#"syntax = "proto3"; package t; import "google/api/annotations.proto";
        service S {
            rpc A(R) returns (R) { option (google.api.http) = {get: "/v1/{name=shelves/*/books/*}:read"
                additional_bindings {get: "/v1/files/{name=**}"} additional_bindings {custom: {kind: "LINK" path: "/l"}}}; }
        }
        message R { string name = 1; R inner = 2; map<string, int64> counts = 3; repeated R all = 4; uint64 big = 5; }"#;
    let document = document(&methods(&compile(source), &["t.S"]), &Options::default());
    let names = |operation: &Value, place: &str| {
        let parameters = operation["parameters"].as_array().unwrap().iter().filter(|one| one["in"] == place);
        parameters.map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let read = &document["paths"]["/v1/shelves/{name_2}/books/{name_4}:read"]["get"];
    assert_eq!(names(read, "path"), ["name_2", "name_4"]);
    // Recursion ends, and 64-bit integers are numbers in a query.
    assert_eq!(names(read, "query")[..3], ["inner.name", "inner.inner.name", "inner.inner.inner.name"]);
    assert_eq!(names(read, "query").last().unwrap(), "big");
    let file = &document["paths"]["/v1/files/{name}"]["get"];
    assert_eq!(file["operationId"], "S_A_2");
    assert!(file["parameters"][0]["description"].as_str().unwrap().contains("several segments"));
    assert_eq!(document["paths"].as_object().unwrap().len(), 2);
    let schema = &document["components"]["schemas"]["t.R"]["properties"];
    assert_eq!(schema["inner"], json!({"$ref": "#/components/schemas/t.R"}));
    assert_eq!(schema["counts"]["additionalProperties"], json!({"type": "string", "format": "int64"}));
    assert_eq!(schema["all"], json!({"type": "array", "items": {"$ref": "#/components/schemas/t.R"}}));
    assert_eq!(schema["big"], json!({"type": "string", "format": "uint64"}));
}

#[test]
fn errors_are_a_status_or_a_problem_document() {
    let document = of_contracts();
    let content = &document["components"]["responses"]["Error"]["content"];
    assert_eq!(
        content.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["application/json", "application/problem+json"]
    );
    let types = |form: &str, name: &str| content[form]["schema"]["properties"][name]["type"].clone();
    for (name, of_status, of_problem) in [
        ("code", json!("integer"), json!("string")),
        ("message", json!("string"), Value::Null),
        ("title", Value::Null, json!("string")),
        ("details", json!("array"), json!("array")),
    ] {
        assert_eq!(types("application/json", name), of_status, "{name}");
        assert_eq!(types("application/problem+json", name), of_problem, "{name}");
    }
}

#[test]
fn document_describes_only_the_given_bindings() {
    let methods = methods(&contracts(false), &SERVICES);
    let registry = Registry::new(methods[0].parent_pool());
    let table = RouteTable::build(methods.iter().map(|method| (&registry, method.clone()))).unwrap();
    let one = super::document(&[&table.bindings()[0]], &Options::default());
    assert_eq!((one["paths"].as_object().unwrap().len(), one["tags"].as_array().unwrap().len()), (1, 1));
    let none = super::document(&[], &Options::default());
    assert_eq!((&none["paths"], &none["tags"]), (&json!({}), &json!([])));
}
