//! Fields of a message by path: request bodies, response bodies, path variables and query parameters of HTTP bindings.

use transcode::{ErrorKind, FieldPathError, Limits, ParseOptions, PrintOptions, TranscodeError};

use crate::support::{OLD, PROTO3, assert_equal, decode, plan, text, to_json, to_proto};

fn append(out: &mut Vec<u8>, path: &str, text: &str) -> Result<(), TranscodeError> {
    plan(PROTO3).field_path(path).unwrap().append_text(text, out)
}

#[track_caller]
fn assert_message(proto: &[u8], expected: &str) {
    assert_equal(&decode(PROTO3, proto), &text(PROTO3, expected), "");
}

#[test]
fn paths_resolve_by_both_names() {
    for path in ["recursive_message.optional_int32", "recursiveMessage.optionalInt32"] {
        let path = plan(PROTO3).field_path(path).unwrap();
        assert_eq!(path.names().collect::<Vec<_>>(), ["recursive_message", "optional_int32"]);
    }
    let error = |path| plan(PROTO3).field_path(path).unwrap_err();
    for path in ["", "nope", "recursive_message.", "recursive_message.nope", ".optional_int32"] {
        assert!(matches!(error(path), FieldPathError::UnknownField { .. }), "{path}");
    }
    for path in ["optional_int32.a", "repeated_nested_message.a", "map_string_string.key", "optional_timestamp.seconds"]
    {
        assert!(matches!(error(path), FieldPathError::NotAMessage { .. }), "{path}");
    }
}

#[test]
fn paths_know_the_kind_of_their_field() {
    let is = |path| {
        let path = plan(PROTO3).field_path(path).unwrap();
        (path.is_list(), path.accepts_text(), path.is_string())
    };
    assert_eq!(is("optional_string"), (false, true, true));
    assert_eq!(is("repeated_string"), (true, true, true));
    assert_eq!(is("optional_string_wrapper"), (false, true, true));
    assert_eq!(is("optional_int32_wrapper"), (false, true, false));
    assert_eq!(is("optional_timestamp"), (false, true, false));
    for path in ["recursive_message", "map_string_string", "optional_struct", "optional_any", "optional_value"] {
        assert_eq!(is(path), (false, false, false), "{path}");
    }
}

#[test]
fn text_of_every_kind_is_appended() {
    let mut out = Vec::new();
    for (path, text) in [
        ("optional_int32", "-7"),
        ("optional_int64", "9007199254740993"),
        ("optional_uint32", "1e2"),
        ("optional_sint64", "-1"),
        ("optional_fixed32", "5"),
        ("optional_float", "1.5"),
        ("optional_double", "NaN"),
        ("optional_bool", "true"),
        ("optional_string", "a\"\\ é"),
        ("optional_bytes", "-_8"),
        ("optional_nested_enum", "BAR"),
        ("repeated_int32", "1"),
        ("repeated_int32", "2"),
        ("repeated_string", ""),
        ("repeated_nested_enum", "2"),
        ("recursive_message.recursive_message.optional_bool", "true"),
        ("recursive_message.optional_int32", "3"),
        ("optional_int32_wrapper", "0"),
        ("optional_string_wrapper", "x"),
        ("optional_timestamp", "1970-01-01T00:00:01Z"),
        ("optional_duration", "1.5s"),
        ("optional_field_mask", "a,bC"),
        ("repeated_duration", "1s"),
    ] {
        append(&mut out, path, text).unwrap();
    }
    assert_message(
        &out,
        r#"optional_int32: -7 optional_int64: 9007199254740993 optional_uint32: 100 optional_sint64: -1
            optional_fixed32: 5 optional_float: 1.5 optional_double: nan optional_bool: true
            optional_string: "a\"\\ é" optional_bytes: "\xfb\xff" optional_nested_enum: BAR repeated_int32: [1, 2]
            repeated_string: "" repeated_nested_enum: BAZ
            recursive_message {optional_int32: 3 recursive_message {optional_bool: true}}
            optional_int32_wrapper {} optional_string_wrapper {value: "x"} optional_timestamp {seconds: 1}
            optional_duration {seconds: 1 nanos: 500000000} optional_field_mask {paths: "a" paths: "b_c"}
            repeated_duration {seconds: 1}"#,
    );
}

#[test]
fn text_replaces_the_value_of_the_body() {
    let body = r#"{"optionalInt32":5,"optionalInt32Wrapper":5,"optionalTimestamp":"2001-01-01T00:00:00.5Z","oneofString":"x",
        "optionalString":"x","recursiveMessage":{"optionalInt32":5,"optionalBool":true}}"#;
    let mut out = to_proto(PROTO3, body).unwrap();
    for (path, text) in [
        ("optional_int32", "0"),
        ("optional_int32_wrapper", "0"),
        ("optional_timestamp", "1970-01-01T00:00:00Z"),
        ("oneof_bool", "false"),
        ("optional_string", ""),
        ("recursive_message.optional_int32", "0"),
    ] {
        append(&mut out, path, text).unwrap();
    }
    let json = concat!(
        r#"{"recursiveMessage":{"optionalBool":true},"oneofBool":false,"optionalInt32Wrapper":0,"#,
        r#""optionalTimestamp":"1970-01-01T00:00:00Z"}"#
    );
    assert_eq!(to_json(PROTO3, &out).unwrap(), json);
}

#[test]
fn text_that_does_not_fit_is_refused() {
    for (path, text, kind) in [
        ("optional_int32", "x", ErrorKind::Value),
        ("optional_int32", "", ErrorKind::Value),
        ("optional_int32", "2147483648", ErrorKind::Value),
        ("optional_bool", "1", ErrorKind::Value),
        ("optional_bytes", "!", ErrorKind::Value),
        ("optional_nested_enum", "NOPE", ErrorKind::Unknown),
        ("recursive_message.optional_duration", "1", ErrorKind::Value),
        ("optional_timestamp", "today", ErrorKind::Value),
        ("optional_field_mask", "a-b", ErrorKind::Value),
        ("recursive_message", "{}", ErrorKind::Value),
        ("map_string_string", "{}", ErrorKind::Value),
        ("optional_value", "1", ErrorKind::Value),
    ] {
        let mut out = b"before".to_vec();
        let error = append(&mut out, path, text).unwrap_err();
        assert_eq!((error.kind, &out[..]), (kind, &b"before"[..]), "{path} {error}");
        assert_eq!(error.path, format!("$.{path}"));
    }
}

#[test]
fn text_in_groups_is_appended() {
    let mut out = Vec::new();
    plan(OLD).field_path("data.inner.data.groupInt32").unwrap().append_text("5", &mut out).unwrap();
    assert_eq!(to_json(OLD, &out).unwrap(), r#"{"data":{"inner":{"data":{"groupInt32":5}}}}"#);
}

fn body(path: &str, json: &str) -> Result<Vec<u8>, TranscodeError> {
    let mut out = Vec::new();
    let path = plan(PROTO3).field_path(path).unwrap();
    path.to_proto(json.as_bytes(), &ParseOptions::default(), &Limits::default(), &mut out).map(|()| out)
}

#[test]
fn a_body_may_be_one_field() {
    assert_message(&body("optional_int32", " 5 ").unwrap(), "optional_int32: 5");
    assert_message(&body("repeated_string", r#"["a","b"]"#).unwrap(), "repeated_string: ['a', 'b']");
    assert_message(&body("map_int32_int32", r#"{"1":2}"#).unwrap(), "map_int32_int32 {key: 1 value: 2}");
    let nested = body("recursive_message.recursive_message", r#"{"optionalBool":true}"#).unwrap();
    assert_message(&nested, "recursive_message {recursive_message {optional_bool: true}}");
    assert_message(&body("optional_value", "null").unwrap(), "optional_value {null_value: NULL_VALUE}");
    for absent in ["recursive_message", "recursive_message.optional_int32"] {
        assert_eq!(body(absent, "null").unwrap(), b"", "{absent}");
    }
    let error = body("recursive_message.recursive_message", r#"{"optionalBool":1}"#).unwrap_err();
    assert_eq!((&*error.path, error.offset), ("$.recursiveMessage.recursiveMessage.optionalBool", 16));
    assert_eq!(body("optional_int32", "5 6").unwrap_err().kind, ErrorKind::Syntax);
    let long = format!(r#"{{"optionalString":"{}"}}"#, "x".repeat(1000));
    let expected = format!("recursive_message {{recursive_message {{optional_string: '{}'}}}}", "x".repeat(1000));
    assert_message(&body("recursive_message.recursive_message", &long).unwrap(), &expected);
}

fn response(path: &str, message: &str) -> String {
    use prost::Message as _;
    let proto = text(PROTO3, message).encode_to_vec();
    let mut out = Vec::new();
    let path = plan(PROTO3).field_path(path).unwrap();
    path.to_json(&proto, &PrintOptions::default(), &Limits::default(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_response_body_may_be_one_field() {
    assert_eq!(response("optional_int64", "optional_int64: 5 optional_int32: 1"), "\"5\"");
    assert_eq!(response("repeated_int32", "repeated_int32: [1, 2]"), "[1,2]");
    assert_eq!(response("map_int32_int32", "map_int32_int32 {key: 1 value: 2}"), r#"{"1":2}"#);
    let message = "recursive_message {recursive_message {optional_bool: true}}";
    assert_eq!(response("recursive_message.recursive_message", message), r#"{"optionalBool":true}"#);
    assert_eq!(response("recursive_message.recursive_message.optional_bool", message), "true");
    for (path, json) in [
        ("optional_int64", "\"0\""),
        ("optional_string", "\"\""),
        ("optional_nested_enum", "\"FOO\""),
        ("repeated_int32", "[]"),
        ("map_int32_int32", "{}"),
        ("recursive_message", "null"),
        ("optional_timestamp", "null"),
        ("recursive_message.optional_bool", "false"),
    ] {
        assert_eq!(response(path, ""), json, "{path}");
    }
}
