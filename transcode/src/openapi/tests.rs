mod bytes;

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
    super::document(&forms(&table(methods), &Terms::default()), options)
}

fn table(methods: &[MethodDescriptor]) -> RouteTable {
    let registry = Registry::new(methods[0].parent_pool());
    RouteTable::build(methods.iter().map(|method| (&registry, method.clone()))).unwrap()
}

fn forms<'a>(table: &'a RouteTable, terms: &Terms) -> Vec<Form<'a>> {
    table.bindings().iter().map(|binding| Form { binding, terms: terms.clone() }).collect()
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
    assert_eq!(ids.len(), table(&methods(&contracts(true), &SERVICES)).bindings().len());
}

#[test]
fn operation_states_its_permissions_and_the_age_of_the_proof() {
    let document = of_contracts();
    let suspend = &document["paths"]["/v1/admin/accounts/{user_id}:suspend"]["post"];
    assert_eq!(suspend["security"], json!([{"bearer": ["accounts.suspend"]}]));
    assert_eq!((&suspend["x-roles"], &suspend["x-step-up-max-age-seconds"]), (&json!(["admin"]), &json!(600)));
    assert!(suspend["responses"]["403"].is_object(), "{suspend}");
    let read = &document["paths"]["/v1/admin/accounts/{user_id}"]["get"];
    assert_eq!((&read["x-roles"], &read["x-step-up-max-age-seconds"]), (&json!(["support", "admin"]), &Value::Null));
    let profile = &document["paths"]["/v1/users/{user_id}"]["get"];
    assert_eq!((&profile["security"], &profile["x-roles"]), (&json!([{"bearer": []}]), &Value::Null));
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
    let query = json!({"type": "string", "maxLength": 64, "pattern": "^[^\\u0000]*$"});
    assert_eq!(
        (&operation["parameters"][2]["schema"], &operation["parameters"][2]["example"]),
        (&query, &json!("ada love"))
    );
    assert_eq!(operation["requestBody"], Value::Null);
    let ok = &operation["responses"]["200"]["content"]["application/json"]["schema"];
    assert_eq!(*ok, json!({"$ref": "#/components/schemas/trellis.users.v1.ListUsersResponse"}));
    assert!(operation["responses"]["default"].is_null(), "the contract states the errors");
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
    assert_eq!(settings["schema"]["additionalProperties"], false, "the message of a response is open");
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
fn streams_are_lines_or_events() {
    let document = of_contracts();
    let content = &document["paths"]["/v1/conversations:subscribe"]["post"]["responses"]["200"]["content"];
    let items = |form: &str| content[form]["schema"]["items"]["oneOf"].clone();
    let message = json!({"$ref": "#/components/schemas/trellis.messaging.v1.SubscribeResponse"});
    assert_eq!(items("application/x-ndjson")[0]["properties"]["result"], message);
    assert_eq!(items("application/x-ndjson")[1]["required"], json!(["error"]));
    assert_eq!(items("text/event-stream")[0]["properties"]["data"]["contentSchema"], message);
    assert_eq!(items("text/event-stream")[1]["properties"]["event"]["const"], "end");
    assert!(content["application/json"].is_null());
}

#[test]
fn errors_are_those_that_can_occur() {
    let document = of_contracts();
    let has = |path: &str, method: &str, status: &str| document["paths"][path][method]["responses"][status].is_object();
    for (path, method, status, expected) in [
        ("/v1/auth/jwks", "get", "401", false),
        ("/v1/auth:signIn", "post", "401", true),
        ("/v1/auth:signUp", "post", "409", true),
        ("/v1/users/{user_id}", "get", "401", true),
        ("/v1/users/{user_id}", "get", "404", true),
        ("/v1/users/{user_id}", "get", "304", true),
        ("/v1/users/{user_id}", "patch", "304", false),
        ("/v1/users/{user_id}", "patch", "403", true),
        ("/v1/users", "get", "404", false),
        ("/v1/conversations:subscribe", "post", "503", true),
    ] {
        assert_eq!(has(path, method, status), expected, "{method} {path} {status}");
    }
    let names = document["components"]["responses"].as_object().unwrap();
    for reference in all(&document, "$ref").into_iter().filter_map(|path| path.strip_prefix("#/components/responses/"))
    {
        assert!(names.contains_key(reference), "{reference}");
    }
}

/// What the server adds to a form.
#[test]
fn terms_become_headers_and_responses() {
    let source = r#"syntax = "proto3"; package t; import "google/api/annotations.proto";
        service S { rpc A(R) returns (R) { option (google.api.http) = {patch: "/v1/{etag}" body: "*"}; } }
        message R { string request_id = 1; string etag = 2; }"#;
    let methods = methods(&compile(source), &["t.S"]);
    let registry = Registry::new(methods[0].parent_pool());
    let table = RouteTable::build(methods.iter().map(|method| (&registry, method.clone()))).unwrap();
    let terms = Terms {
        needs_user: Some(true),
        reads_cookie: true,
        idempotency_key: Some("request_id".into()),
        if_match: true,
        has_etag: true,
        is_open: true,
        states_status: true,
    };
    let options = Options { message_bytes: Some(7), ..Options::default() };
    let operation = super::document(&forms(&table, &terms), &options)["paths"]["/v1/{etag}"]["patch"].clone();
    let names: Vec<_> = operation["parameters"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["etag", "Idempotency-Key", "If-Match"]);
    for status in ["401", "403", "412", "2XX", "3XX", "default"] {
        assert!(operation["responses"][status].is_object(), "{status}");
    }
    assert!(operation["responses"]["200"]["headers"]["ETag"].is_object());
    assert_eq!(operation["security"], json!([{"bearer": []}]));
    assert_eq!(operation["requestBody"]["description"], "At most 7 bytes, as JSON and as protobuf.");
    let plain = super::document(&forms(&table, &Terms::default()), &Options::default());
    let plain = &plain["paths"]["/v1/{etag}"]["patch"];
    assert_eq!(plain["parameters"].as_array().unwrap().len(), 1);
    for status in ["401", "403", "412", "2XX", "3XX", "default"] {
        assert!(plain["responses"][status].is_null(), "{status}");
    }
}

#[test]
fn each_request_with_a_body_has_an_example() {
    let document = of_contracts();
    let sign_up =
        &document["paths"]["/v1/auth:signUp"]["post"]["requestBody"]["content"]["application/json"]["example"];
    let expected = json!({"email": "ada@example.org", "password": "correct horse battery staple", "handle": "ada",
        "displayName": "Ada Lovelace"});
    assert_eq!(*sign_up, expected);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if let Some(body) = operation["requestBody"].as_object() {
                assert!(body["content"]["application/json"]["example"].is_object(), "{method} {path}");
            }
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            for parameter in parameters.iter().filter(|parameter| parameter["required"] == true) {
                assert!(!parameter["example"].is_null(), "{method} {path} {}", parameter["name"]);
            }
        }
    }
}

#[test]
fn rules_of_each_kind_become_keywords() {
    let source = r#"syntax = "proto3"; package t; import "google/api/annotations.proto"; import "buf/validate/validate.proto";
        service S { rpc A(R) returns (E) { option (google.api.http) = {post: "/v1" body: "*"}; } }
        enum Kind { NONE = 0; ONE = 1; TWO = 2; }
        message E {}
        message R {
            string prefixed = 1 [(buf.validate.field).string = {prefix: "a.", contains: "+", not_contains: "-"}];
            string both = 2 [(buf.validate.field).string = {pattern: "^[a-z]*$", contains: "x"}];
            string excluded = 3 [(buf.validate.field).string.not_in = "root"];
            bytes key = 4 [(buf.validate.field).bytes = {min_len: 4, max_len: 6}];
            int64 big = 5 [(buf.validate.field).int64 = {gte: 1, lte: 9}];
            Kind kind = 6 [(buf.validate.field).enum.in = 1];
            string text = 7 [(buf.validate.field).string = {min_bytes: 1, max_bytes: 9}];
            float real = 8;
            oneof way { option (buf.validate.oneof).required = true; string mail = 9; string call = 10; }
        }"#;
    let document = document(&methods(&compile(source), &["t.S"]), &Options::default());
    let schema = &document["components"]["schemas"]["t.R"];
    let of = |name: &str| &schema["properties"][name];
    assert_eq!(of("prefixed")["pattern"], r"^a\.[^\-]*\+[^\-]*$");
    assert_eq!(
        (&of("both")["pattern"], &of("both")["allOf"]),
        (&json!("^[a-z]*$"), &json!([{"pattern": r"^[\s\S]*x[\s\S]*$"}]))
    );
    assert_eq!(of("excluded")["not"], json!({"enum": ["root"]}));
    assert_eq!((&of("key")["minLength"], &of("key")["maxLength"]), (&json!(6), &json!(8)));
    assert_eq!((&of("big")["pattern"], &of("big")["x-maximum"]), (&json!("^[1-9][0-9]{0,19}$"), &json!("9")));
    assert_eq!(*of("kind"), json!({"$ref": "#/components/schemas/t.Kind", "enum": ["ONE"]}));
    assert_eq!((&of("text")["maxLength"], &of("text")["x-max-bytes"]), (&json!(9), &json!(9)));
    assert_eq!(of("real")["anyOf"][1]["enum"], json!(["NaN", "Infinity", "-Infinity"]));
    assert_eq!(schema["required"], json!(["prefixed", "both", "key", "big", "text"]));
    assert_eq!(schema["allOf"], json!([{"oneOf": [{"required": ["mail"]}, {"required": ["call"]}]}]));
    assert_eq!(schema["additionalProperties"], false);
    assert!(
        document["components"]["schemas"]["t.E"]["additionalProperties"].is_null(),
        "a later service may add fields"
    );
    // A required text with a prefix has no example, and so neither has the request. A command has a guess.
    assert!(document["paths"]["/v1"]["post"]["requestBody"]["content"]["application/json"]["example"].is_null());
    let command = samples::request(&compile(source).get_message_by_name("t.R").unwrap(), &["kind".to_owned()]);
    let expected = json!({"prefixed": "a.example", "both": "ada", "key": "AQIDAQ==", "big": "1", "text": "example",
        "mail": "example", "kind": "ONE"});
    assert_eq!(command, expected);
}

#[test]
fn descriptors_without_comments_suffice() {
    let pool = contracts(false);
    let methods = methods(&pool, &SERVICES);
    let document = document(&methods, &Options::default());
    assert_eq!(all(&document, "operationId").len(), table(&methods).bindings().len());
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
    assert_eq!(
        schema["counts"]["additionalProperties"],
        json!({"type": "string", "format": "int64", "pattern": "^(0|-?[1-9][0-9]{0,18})$"})
    );
    assert_eq!(schema["all"], json!({"type": "array", "items": {"$ref": "#/components/schemas/t.R"}}));
    assert_eq!(schema["big"], json!({"type": "string", "format": "uint64", "pattern": "^(0|[1-9][0-9]{0,19})$"}));
}

#[test]
fn errors_are_a_status_or_a_problem_document() {
    let document = of_contracts();
    let schema = |response: &str, form: &str| {
        let reference = &document["components"]["responses"][response]["content"][form]["schema"]["$ref"];
        document.pointer(reference.as_str().unwrap().strip_prefix('#').unwrap()).unwrap()
    };
    for response in ["NotFound", "InvalidRequest", "Error"] {
        let types = |form: &str, name: &str| schema(response, form)["properties"][name]["type"].clone();
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
}

#[test]
fn document_describes_only_the_given_bindings() {
    let methods = methods(&contracts(false), &SERVICES);
    let registry = Registry::new(methods[0].parent_pool());
    let table = RouteTable::build(methods.iter().map(|method| (&registry, method.clone()))).unwrap();
    let one = super::document(&forms(&table, &Terms::default())[..1], &Options::default());
    assert_eq!((one["paths"].as_object().unwrap().len(), one["tags"].as_array().unwrap().len()), (1, 1));
    let none = super::document(&[], &Options::default());
    assert_eq!((&none["paths"], &none["tags"]), (&json!({}), &json!([])));
}
