//! Rules that no request could fill, and rules that conflict.

use super::*;

const MESSAGES: &str = r#"
    message Request { string name = 1; Inner inner = 2; repeated string tags = 3; map<string, string> labels = 4;
        google.protobuf.Timestamp time = 5; google.protobuf.StringValue nick = 6; int32 count = 7; bytes data = 8;
        repeated Inner inners = 9; }
    message Inner { repeated string tags = 1; string id = 2; Inner inner = 3; }
    message Response { string text = 1; }
    message Empty {}"#;

fn errors(methods_source: &str) -> String {
    let pool = compile(&format!("service S {{ {methods_source} }} {MESSAGES}"));
    build(&[&pool]).map(|_| ()).unwrap_err().to_string()
}

fn error(rule: &str) -> String {
    errors(&format!("rpc M(Request) returns (Response) {{ option (google.api.http) = {{{rule}}}; }}"))
}

#[test]
fn rule_without_meaning_is_refused() {
    for (rule, expected) in [
        ("body: \"*\"", "has no path: set get, put, post, delete, patch or custom"),
        ("get: \"/v1/x/\"", "the path `/v1/x/` of `google.api.http`: a segment is empty"),
        ("get: \"\"", "begins with `/`"),
        ("custom: {kind: \"\" path: \"/v1\"}", "`custom.kind` is \"\": set an HTTP method"),
        ("custom: {kind: \"A B\" path: \"/v1\"}", "`custom.kind` is \"A B\""),
        (
            "get: \"/a\" additional_bindings {get: \"/b\" additional_bindings {get: \"/c\"}}",
            "an additional binding of `google.api.http` has additional bindings: move them",
        ),
        ("get: \"/v1/{nmae}\"", "the path variable `nmae`: t.Request has no field `nmae`: use one of `name`, `inner`"),
        ("get: \"/v1/{inner.x}\"", "t.Inner has no field `x`: use one of `tags`, `id`, `inner`"),
        ("get: \"/v1/{name.x}\"", "`name` is not a message, so it has no fields"),
        ("get: \"/v1/{tags}\"", "`tags` is repeated, and a path holds one value"),
        ("get: \"/v1/{labels}\"", "`labels` is repeated"),
        ("get: \"/v1/{inners.id}\"", "`inners` is repeated"),
        ("get: \"/v1/{inner}\"", "`inner`: it is a message: name a field of it, such as `inner.id`"),
        ("get: \"/v1/{time}\"", "`time`: it is a message: move it to the query or the body"),
        ("get: \"/v1/{time.seconds}\"", "the path variable `time.seconds`: the field \"time\" of t.Request"),
        ("get: \"/v1/{count=**}\"", "`count`: it captures several segments, and is not a string"),
        ("get: \"/v1/{data=a/*}\"", "`data`: it captures several segments, and is not a string"),
        ("get: \"/v1\" body: \"*\"", "a GET request has no body: remove `body`"),
        ("custom: {kind: \"HEAD\" path: \"/v1\"} body: \"*\"", "a HEAD request has no body"),
        ("post: \"/v1\" body: \"nmae\"", "`body`: t.Request has no field `nmae`: use one of `name`"),
        ("post: \"/v1\" body: \"inner.id\"", "`inner.id` is a field of a field"),
        ("post: \"/v1/{name}\" body: \"name\"", "the field `name` is both a path variable and the body"),
        ("get: \"/v1\" response_body: \"x\"", "`response_body`: t.Response has no field `x`: use one of `text`"),
        ("get: \"/v1\" response_body: \"text.x\"", "is a field of a field"),
    ] {
        let error = error(rule);
        assert!(error.starts_with("t.S.M: ") && error.contains(expected), "{rule}: {error}");
    }
}

#[test]
fn deep_variables_are_refused() {
    let deep = |names: usize| format!("get: \"/v1/{{{}id}}\"", "inner.".repeat(names));
    assert!(error(&deep(16)).contains("more than 16 names"));
}

#[test]
fn message_without_fields_is_named() {
    let error = errors("rpc M(Empty) returns (Empty) { option (google.api.http) = {get: \"/v1/{x}\"}; }");
    assert_eq!(error, "t.S.M: the path variable `x`: t.Empty has no field `x`: it has none");
}

#[test]
fn all_faults_are_listed() {
    let error = errors(
        r#"rpc A(Request) returns (Response) { option (google.api.http) = {get: "/{x}"}; }
        rpc B(Request) returns (Response) { option (google.api.http) = {get: "/v1/{name}"}; }
        rpc C(Request) returns (Response) { option (google.api.http) = {get: "/{y}"}; }
        rpc D(Request) returns (Response) { option (google.api.http) = {get: "/v1/{count=*}"}; }
        rpc E(Request) returns (Response) { option (google.api.http) = {put: "/v1/{count}"}; }"#,
    );
    let lines: Vec<_> = error.lines().collect();
    assert!(lines[0].starts_with("t.S.A: ") && lines[1].starts_with("t.S.C: "), "{error}");
    let conflict =
        "t.S.D: GET /v1/{count=*} matches the same requests as GET /v1/{name} of t.S.B: change one of the paths";
    assert_eq!(lines[2..], [conflict]);
}

#[test]
fn method_without_a_rule_has_no_binding() {
    let pool = compile(&format!("service S {{ rpc M(Request) returns (Response); }} {MESSAGES}"));
    assert!(table(&pool).bindings().is_empty());
}

#[test]
fn methods_of_several_pools_share_a_table() {
    let pool = |service: &str, path: &str| {
        compile(&format!(
            "service {service} {{ rpc M(Request) returns (Response) {{
                option (google.api.http) = {{get: \"{path}/{{name}}\"}}; }} }} {MESSAGES}"
        ))
    };
    let (first, second, same) = (pool("S", "/a"), pool("T", "/b"), pool("U", "/a"));
    let table = build(&[&first, &second]).unwrap();
    assert_eq!(request(&table, "GET /b/x?count=2", "").unwrap().1, r#"{"name":"x","count":2}"#);
    let error = build(&[&first, &second, &same]).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with("t.U.M: ") && error.contains("of t.S.M"), "{error}");
}
