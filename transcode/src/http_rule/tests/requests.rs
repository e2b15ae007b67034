//! Requests and responses: the path, the query and the body together.

use super::*;
use crate::{Limits, PrintOptions};

const SOURCE: &str = r#"
    service S {
        rpc Whole(Request) returns (Response) { option (google.api.http) = {post: "/whole/{name}/{user.age}" body: "*"}; }
        rpc User(Request) returns (Response) { option (google.api.http) = {
            patch: "/users/{user.id}" body: "user" response_body: "user"}; }
        rpc List(Request) returns (Response) { option (google.api.http) = {
            put: "/list/{name=**}" body: "tags" response_body: "names"}; }
        rpc Text(Request) returns (Response) { option (google.api.http) = {put: "/text" body: "name"}; }
        rpc Get(Request) returns (Response) { option (google.api.http) = {get: "/get/{name}/{kind}/{on}/{user.data}"}; }
        rpc Any(Request) returns (Response) { option (google.api.http) = {custom: {kind: "*" path: "/any"} body: "*"}; }
    }
    enum Kind { KIND_UNSPECIFIED = 0; KIND_A = 1; }
    message Request { string name = 1; User user = 2; repeated string tags = 3; Kind kind = 4; bool on = 5; }
    message User { string id = 1; string title = 2; int32 age = 3; bytes data = 4; }
    message Response { User user = 1; repeated string names = 2; }"#;

#[test]
fn parts_are_joined() {
    let table = table(&compile(SOURCE));
    for (line, body, json) in [
        ("POST /whole/a/7", "{}", r#"{"name":"a","user":{"age":7}}"#),
        ("POST /whole/a/7", "", r#"{"name":"a","user":{"age":7}}"#),
        ("POST /whole/a/7", " \r\n", r#"{"name":"a","user":{"age":7}}"#),
        (
            "POST /whole/a/7",
            r#"{"user":{"title":"t"},"tags":["x"]}"#,
            r#"{"name":"a","user":{"title":"t","age":7},"tags":["x"]}"#,
        ),
        (
            "PATCH /users/7?name=n&tags=x",
            r#"{"title":"t"}"#,
            r#"{"name":"n","user":{"id":"7","title":"t"},"tags":["x"]}"#,
        ),
        (
            "PUT /list/a/b%2Fc%20d?user.age=3",
            r#"["x","y"]"#,
            r#"{"name":"a/b%2Fc d","user":{"age":3},"tags":["x","y"]}"#,
        ),
        ("PUT /list", "[]", "{}"),
        ("PUT /text", r#""hello""#, r#"{"name":"hello"}"#),
        ("GET /get/a%2Fb/KIND_A/true/aGk", "", r#"{"name":"a/b","user":{"data":"aGk="},"kind":"KIND_A","on":true}"#),
        ("HEAD /get/a/1/false/aGk%3D", "", r#"{"name":"a","user":{"data":"aGk="},"kind":"KIND_A"}"#),
        ("BREW /any", r#"{"on":true}"#, r#"{"on":true}"#),
    ] {
        assert_eq!(request(&table, line, body).map(|(_, json)| json).as_deref(), Ok(json), "{line}");
    }
}

#[test]
fn path_wins_over_the_body() {
    let table = table(&compile(SOURCE));
    let body = r#"{"name":"other","user":{"age":9,"title":"t"}}"#;
    assert_eq!(request(&table, "POST /whole/a/7", body).unwrap().1, r#"{"name":"a","user":{"title":"t","age":7}}"#);
    // Zero too: otherwise the body could name another resource than the path.
    assert_eq!(request(&table, "POST /whole/a/0", body).unwrap().1, r#"{"name":"a","user":{"title":"t"}}"#);
    let body = r#"{"id":"9","title":"t"}"#;
    assert_eq!(request(&table, "PATCH /users/7", body).unwrap().1, r#"{"user":{"id":"7","title":"t"}}"#);
    assert_eq!(request(&table, "PUT /list", "[]").unwrap().1, "{}");
}

#[test]
fn requests_that_do_not_fit_are_refused() {
    let table = table(&compile(SOURCE));
    for (line, body, error) in [
        ("GET /get/a/1/true/aGk", "{}", "this request takes no body"),
        ("GET /get/a/KIND_B/true/aGk", "", "the path variable `kind`: "),
        ("GET /get/a/1/yes/aGk", "", "the path variable `on`: "),
        ("GET /get/a/1/true/a", "", "the path variable `user.data`: "),
        ("GET /get/%zz/1/true/aGk", "", "the path variable `name`: a `%` has no two"),
        ("GET /get/%C0%AF/1/true/aGk", "", "the path variable `name`: it is not UTF-8"),
        ("POST /whole/a/7.5", "{}", "the path variable `user.age`: "),
        ("POST /whole/a/7", "[]", "the body: $"),
        ("POST /whole/a/7", "{} {}", "the body: $"),
        ("POST /whole/a/7", r#"{"nmae":1}"#, "the body: $"),
        ("PATCH /users/7", r#"{},"name":"x""#, "the body: $"),
        ("POST /whole/a/7?tags=x", "{}", "the query parameter `tags`: it is a part of the body"),
    ] {
        let found = request(&table, line, body).unwrap_err();
        assert!(found.starts_with(error), "{line}: {found}");
    }
}

#[test]
fn errors_name_the_field_and_leave_the_output() {
    let table = table(&compile(SOURCE));
    let field = |method: &str, path: &str, query: &str, body: &str| {
        let Lookup::Found(found) = table.find(method, path) else { panic!("{path}") };
        let mut out = b"before".to_vec();
        let error =
            found.append_request(Some(query), body.as_bytes(), &RequestOptions::default(), &mut out).unwrap_err();
        assert_eq!(out, b"before");
        error.field().map(str::to_owned)
    };
    assert_eq!(field("POST", "/whole/a/x", "", "").as_deref(), Some("user.age"));
    assert_eq!(field("GET", "/get/a/1/true/aGk", "x.y=1", "").as_deref(), Some("x.y"));
    assert_eq!(field("POST", "/whole/a/7", "", r#"{"user":{"age":"x"}}"#).as_deref(), Some("user.age"));
    assert_eq!(field("POST", "/whole/a/7", "", "{").as_deref(), None);
}

#[test]
fn variables_are_shown_decoded() {
    let table = table(&compile(SOURCE));
    let Lookup::Found(found) = table.find("PUT", "/list/a/b%20c") else { panic!() };
    let variables: Vec<_> =
        found.variables().map(Result::unwrap).map(|(name, value)| (name, value.into_owned())).collect();
    assert_eq!(variables, [("name", "a/b c".to_owned())]);
    assert_eq!(found.binding.method().name(), "List");
}

#[test]
fn response_body_is_the_whole_message_or_a_field() {
    let pool = compile(SOURCE);
    let table = table(&pool);
    let respond = |method: &str, message: &[u8]| {
        let binding = table.bindings().iter().find(|binding| binding.method().name() == method).unwrap();
        let mut out = Vec::new();
        binding.append_response(message, &PrintOptions::default(), &Limits::default(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    // user { id: "7" }, names: "a", user { title: "t" }
    let message = b"\x0A\x03\x0A\x017\x12\x01a\x0A\x03\x12\x01t";
    assert_eq!(respond("Whole", message), r#"{"user":{"id":"7","title":"t"},"names":["a"]}"#);
    assert_eq!(respond("User", message), r#"{"id":"7","title":"t"}"#);
    assert_eq!(respond("List", message), r#"["a"]"#);
    assert_eq!(respond("List", b""), "[]");
    assert_eq!(respond("User", b""), "null");
}

#[test]
fn http_bodies_are_flagged() {
    let pool = compile(
        r#"service S {
            rpc Upload(Request) returns (Response) { option (google.api.http) = {post: "/up/{name}" body: "file"}; }
            rpc Raw(google.api.HttpBody) returns (google.api.HttpBody) { option (google.api.http) = {
                post: "/raw" body: "*"}; }
            rpc Download(Request) returns (google.api.HttpBody) { option (google.api.http) = {get: "/down/{name}"}; }
            rpc Field(Request) returns (Response) { option (google.api.http) = {get: "/f" response_body: "file"}; }
        }
        message Request { string name = 1; google.api.HttpBody file = 7; }
        message Response { google.api.HttpBody file = 3; }"#,
    );
    let table = table(&pool);
    let flags: Vec<_> =
        table.bindings().iter().map(|binding| (binding.request_http_body(), binding.response_http_body())).collect();
    let body = |field| Some(HttpBody { field });
    assert_eq!(flags, [(body(Some(7)), None), (body(None), body(None)), (None, body(None)), (None, body(Some(3))),]);
    assert_eq!((HttpBody::CONTENT_TYPE, HttpBody::DATA), (1, 2));
}
