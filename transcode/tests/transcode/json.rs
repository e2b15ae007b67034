//! The JSON form beyond the conformance suite: options, well-known types, names, and errors.

use prost::Message as _;
use transcode::{ErrorKind, ParseOptions, PrintOptions};

use crate::generate::Random;
use crate::support::{
    OLD, PROTO2, PROTO3, assert_equal, decode, is_equal, text, to_json, to_json_with, to_proto, to_proto_with,
};

#[track_caller]
fn printed(message: &str, expected: &str) -> String {
    to_json(message, &text(message, expected).encode_to_vec()).unwrap()
}

#[track_caller]
fn parsed(message: &str, json: &str, expected: &str) {
    let proto = to_proto(message, json).unwrap();
    assert_equal(&decode(message, &proto), &text(message, expected), json);
}

#[track_caller]
fn refused(message: &str, json: &str, kind: ErrorKind, place: &str, offset: usize) {
    let error = to_proto(message, json).unwrap_err();
    assert_eq!((error.kind, &*error.path, error.offset), (kind, place, offset), "{error}");
}

#[test]
fn errors_name_the_place_and_the_byte() {
    refused(
        PROTO3,
        r#"{"repeatedNestedMessage":[{},{"a":"x"}]}"#,
        ErrorKind::Value,
        "$.repeatedNestedMessage[1].a",
        34,
    );
    refused(
        PROTO3,
        r#"{"mapStringNestedEnum":{"a\tb":"X"}}"#,
        ErrorKind::Unknown,
        r#"$.mapStringNestedEnum["a\tb"]"#,
        31,
    );
    refused(PROTO3, r#"{"recursiveMessage":{"nope":1}}"#, ErrorKind::Unknown, "$.recursiveMessage.nope", 21);
    refused(PROTO3, r#"{"optionalInt32":1,"optional_int32":1}"#, ErrorKind::Duplicate, "$.optional_int32", 19);
    refused(PROTO3, r#"{"mapStringString":{"a":"","a":""}}"#, ErrorKind::Duplicate, r#"$.mapStringString["a"]"#, 27);
    refused(PROTO3, r#"{"oneofBool":true,"oneofString":""}"#, ErrorKind::Duplicate, "$.oneofString", 18);
    refused(PROTO3, r#"{} {}"#, ErrorKind::Syntax, "$", 3);
    refused(PROTO3, "", ErrorKind::Syntax, "$", 0);
    let error = to_proto(PROTO3, r#"{"optionalInt32":300000000000}"#).unwrap_err();
    let message = "$.optionalInt32: expected a 32-bit integer: the number is out of range (byte 17)";
    assert_eq!(error.to_string(), message);
}

#[test]
fn errors_do_not_repeat_long_input() {
    let long = "x".repeat(10_000);
    for json in [
        format!(r#"{{"{long}":1}}"#),
        format!(r#"{{"optionalNestedEnum":"{long}"}}"#),
        format!(r#"{{"mapStringNestedEnum":{{"{long}":"{long}"}}}}"#),
        format!(r#"{{"optionalAny":{{"@type":"a/{long}"}}}}"#),
        format!(r#"{{"optionalTimestamp":"{long}"}}"#),
    ] {
        let error = to_proto(PROTO3, json).unwrap_err().to_string();
        assert!(error.len() < 250, "{error}");
    }
    let deep = format!("{}1{}", r#"{"recursiveMessage":"#.repeat(90), "}".repeat(90));
    let error = to_proto(PROTO3, deep).unwrap_err();
    assert!(error.path.len() < 600, "{}", error.path);
}

#[test]
fn defaults_are_printed_on_request() {
    let options = PrintOptions { always_print_fields_with_no_presence: true, ..PrintOptions::default() };
    let json = to_json_with(PROTO3, b"\x08\x07", &options).unwrap();
    assert!(json.starts_with(r#"{"optionalInt32":7,"optionalInt64":"0","optionalUint32":0"#), "{json}");
    for member in [
        r#""optionalBool":false"#,
        r#""optionalString":"""#,
        r#""optionalBytes":"""#,
        r#""optionalDouble":0"#,
        r#""optionalNestedEnum":"FOO""#,
        r#""repeatedInt32":[]"#,
        r#""mapStringString":{}"#,
        r#""optionalNullValue":null"#,
    ] {
        assert!(json.contains(member), "{member}: {json}");
    }
    for absent in ["presentInt32", "oneofUint32", "optionalNestedMessage", "optionalInt32Wrapper", "recursiveMessage"] {
        assert!(!json.contains(absent), "{absent}: {json}");
    }
    assert_eq!(to_proto(PROTO3, &json).unwrap(), b"\x08\x07");
    let nested = to_json_with("transcode.test.proto3.AllTypes.NestedMessage", b"\x12\x00", &options).unwrap();
    assert!(nested.starts_with(r#"{"a":0,"corecursive":{"optionalInt32":0,"#), "{nested}");
}

#[test]
fn names_and_numbers_are_printed_on_request() {
    let proto = text(PROTO3, "optional_nested_enum: BAR optional_null_value: NULL_VALUE").encode_to_vec();
    let options =
        PrintOptions { preserve_proto_field_names: true, always_print_enums_as_ints: true, ..PrintOptions::default() };
    assert_eq!(to_json_with(PROTO3, &proto, &options).unwrap(), r#"{"optional_nested_enum":1}"#);
}

#[test]
fn unknown_members_are_ignored_on_request() {
    let options = ParseOptions { ignore_unknown_fields: true };
    let json = br#"{"x":[{"y":"\n"},1e400],"packedNestedEnum":["NO","BAR"],"unpackedNestedEnum":["BAZ","NO"],
        "mapStringNestedEnum":{"a":"NO","b":"BAR"},"oneofEnum":"NO","oneofBool":true}"#;
    let proto = to_proto_with(PROTO3, json, &options).unwrap();
    let expected = "packed_nested_enum: [BAR] unpacked_nested_enum: [BAZ]
        map_string_nested_enum: {key: 'b' value: BAR} oneof_bool: true";
    assert!(is_equal(&decode(PROTO3, &proto), &text(PROTO3, expected)));
    for malformed in
        [r#"{"x":[1,]}"#, r#"{"x":"\ud800"}"#, r#"{"x":01}"#, r#"{"x":}"#, r#"{"x":{"a" 1}}"#, r#"{"x":[}"#]
    {
        let error = to_proto_with(PROTO3, malformed.as_bytes(), &options).unwrap_err();
        assert_ne!(error.kind, ErrorKind::Unknown, "{malformed}");
    }
}

#[test]
fn custom_names_are_escaped() {
    assert_eq!(printed(PROTO3, "renamed: 5"), r#"{"other \"name\"":5}"#);
    parsed(PROTO3, r#"{"other \"name\"":5}"#, "renamed: 5");
    parsed(PROTO3, r#"{"renamed":5}"#, "renamed: 5");
}

#[test]
fn strings_escape_only_what_json_requires() {
    let json = printed(PROTO3, r#"optional_string: "\"\\/\b\f\n\r\t\x01\x1f\x7f<>\xe2\x80\xa8""#);
    assert_eq!(json, "{\"optionalString\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\u{7f}<>\u{2028}\"}");
}

#[test]
fn map_keys_of_all_types_are_read_and_printed() {
    for (json, message) in [
        (r#"{"mapInt32Int32":{"-5":6}}"#, "map_int32_int32: {key: -5 value: 6}"),
        (r#"{"mapInt64Int64":{"-5":"6"}}"#, "map_int64_int64: {key: -5 value: 6}"),
        (r#"{"mapUint32Uint32":{"4294967295":6}}"#, "map_uint32_uint32: {key: 4294967295 value: 6}"),
        (
            r#"{"mapUint64Uint64":{"18446744073709551615":"6"}}"#,
            "map_uint64_uint64: {key: 18446744073709551615 value: 6}",
        ),
        (r#"{"mapSint32Sint32":{"-5":-6}}"#, "map_sint32_sint32: {key: -5 value: -6}"),
        (r#"{"mapSint64Sint64":{"-5":"-6"}}"#, "map_sint64_sint64: {key: -5 value: -6}"),
        (r#"{"mapFixed32Fixed32":{"4294967295":6}}"#, "map_fixed32_fixed32: {key: 4294967295 value: 6}"),
        (r#"{"mapFixed64Fixed64":{"5":"6"}}"#, "map_fixed64_fixed64: {key: 5 value: 6}"),
        (r#"{"mapSfixed32Sfixed32":{"-5":-6}}"#, "map_sfixed32_sfixed32: {key: -5 value: -6}"),
        (r#"{"mapSfixed64Sfixed64":{"-5":"-6"}}"#, "map_sfixed64_sfixed64: {key: -5 value: -6}"),
        (r#"{"mapInt32Double":{"0":0.5}}"#, "map_int32_double: {key: 0 value: 0.5}"),
        (r#"{"mapBoolBool":{"true":false}}"#, "map_bool_bool: {key: true value: false}"),
        (r#"{"mapStringBytes":{"":"AQ=="}}"#, r#"map_string_bytes: {key: "" value: "\x01"}"#),
        (
            r#"{"mapStringTimestamp":{"t":"1970-01-01T00:00:01Z"}}"#,
            "map_string_timestamp: {key: 't' value: {seconds: 1}}",
        ),
        (r#"{"mapStringValue":{"v":null}}"#, "map_string_value: {key: 'v' value: {null_value: NULL_VALUE}}"),
    ] {
        assert_eq!(printed(PROTO3, message), json);
        parsed(PROTO3, json, message);
    }
    refused(PROTO3, r#"{"mapInt32Int32":{"1":2,"1.0":3}}"#, ErrorKind::Duplicate, r#"$.mapInt32Int32["1.0"]"#, 24);
    refused(PROTO3, r#"{"mapBoolBool":{"1":true}}"#, ErrorKind::Value, r#"$.mapBoolBool["1"]"#, 16);
    refused(PROTO3, r#"{"mapInt32Int32":{" 1":2}}"#, ErrorKind::Value, r#"$.mapInt32Int32[" 1"]"#, 18);
}

#[test]
fn many_keys_of_a_map_are_compared_too() {
    let entries = |last: &str| -> String {
        let keys: Vec<String> =
            (0..100).map(|n| format!("\"k{n}\":\"\"")).chain([format!("\"{last}\":\"\"")]).collect();
        format!("{{\"mapStringString\":{{{}}}}}", keys.join(","))
    };
    to_proto(PROTO3, entries("other")).unwrap();
    let error = to_proto(PROTO3, entries("k42")).unwrap_err();
    assert_eq!((error.kind, &*error.path), (ErrorKind::Duplicate, r#"$.mapStringString["k42"]"#));
}

#[test]
fn any_holds_every_message() {
    let url = "type.googleapis.com/google.protobuf";
    for json in [
        format!(r#"{{"optionalAny":{{"@type":"{url}.StringValue","value":"x"}}}}"#),
        format!(r#"{{"optionalAny":{{"@type":"{url}.Value","value":null}}}}"#),
        format!(r#"{{"optionalAny":{{"@type":"{url}.ListValue","value":[1]}}}}"#),
        format!(r#"{{"optionalAny":{{"@type":"{url}.Timestamp","value":"1970-01-01T00:00:00Z"}}}}"#),
        format!(r#"{{"optionalAny":{{"@type":"{url}.Any","value":{{}}}}}}"#),
        r#"{"optionalAny":{"@type":"x/y/transcode.test.proto3.AllTypes"}}"#.to_owned(),
    ] {
        assert_eq!(to_json(PROTO3, &to_proto(PROTO3, &json).unwrap()).unwrap(), json);
    }
    parsed(
        PROTO3,
        r#"{"optionalAny":{"value":"1.5s","@type":"type.googleapis.com/google.protobuf.Duration"}}"#,
        "optional_any: {[type.googleapis.com/google.protobuf.Duration] {seconds: 1 nanos: 500000000}}",
    );
    let at = |json, kind, path, offset| refused(PROTO3, json, kind, path, offset);
    at(r#"{"optionalAny":{"optionalInt32":1}}"#, ErrorKind::Value, "$.optionalAny", 16);
    at(r#"{"optionalAny":{"@type":"a/no.Such"}}"#, ErrorKind::Unknown, "$.optionalAny.@type", 24);
    at(r#"{"optionalAny":{"@type":"a/google.protobuf.Duration"}}"#, ErrorKind::Value, "$.optionalAny", 52);
    at(
        r#"{"optionalAny":{"@type":"a/google.protobuf.Empty","@type":"a/google.protobuf.Empty"}}"#,
        ErrorKind::Duplicate,
        "$.optionalAny.@type",
        50,
    );
    at(
        r#"{"optionalAny":{"@type":"a/google.protobuf.Duration","value":"1s","value":"1s"}}"#,
        ErrorKind::Duplicate,
        "$.optionalAny.value",
        66,
    );
    at(r#"{"optionalAny":{"@type":"a/google.protobuf.Empty","x":1}}"#, ErrorKind::Unknown, "$.optionalAny.x", 50);
    let unknown = text(PROTO3, r#"optional_any: {type_url: "a/no.Such" value: "x"}"#).encode_to_vec();
    assert_eq!(to_json(PROTO3, &unknown).unwrap_err().kind, ErrorKind::Unknown);
    let bare = text(PROTO3, r#"optional_any: {value: "x"}"#).encode_to_vec();
    assert_eq!(to_json(PROTO3, &bare).unwrap_err().kind, ErrorKind::Unrepresentable);
}

#[test]
fn field_masks_of_all_fields_are_accepted() {
    parsed(PROTO3, r#"{"optionalFieldMask":"*"}"#, r#"optional_field_mask: {paths: "*"}"#);
    assert_eq!(printed(PROTO3, r#"optional_field_mask: {paths: "*"}"#), r#"{"optionalFieldMask":"*"}"#);
    refused(PROTO3, r#"{"optionalFieldMask":"a,,b"}"#, ErrorKind::Value, "$.optionalFieldMask", 21);
}

#[test]
fn values_without_content_are_null() {
    assert_eq!(printed(PROTO3, "repeated_value: [{}, {number_value: 1}]"), r#"{"repeatedValue":[null,1]}"#);
    assert_eq!(printed(PROTO3, "optional_struct: {}"), r#"{"optionalStruct":{}}"#);
    assert_eq!(printed(PROTO3, "repeated_list_value: [{}]"), r#"{"repeatedListValue":[[]]}"#);
    parsed(PROTO3, r#"{"repeatedValue":[null]}"#, "repeated_value: {null_value: NULL_VALUE}");
}

#[test]
fn all_floating_point_numbers_survive() {
    let mut random = Random::new(3);
    for _ in 0..20_000 {
        let bits = random.next();
        if !f64::from_bits(bits).is_nan() && bits << 1 != 0 {
            let proto = [&[0x61], &bits.to_le_bytes()[..]].concat();
            assert_eq!(to_proto(PROTO3, to_json(PROTO3, &proto).unwrap()).unwrap(), proto);
        }
        let bits = bits as u32;
        if !f32::from_bits(bits).is_nan() && bits << 1 != 0 {
            let proto = [&[0x5D], &bits.to_le_bytes()[..]].concat();
            assert_eq!(to_proto(PROTO3, to_json(PROTO3, &proto).unwrap()).unwrap(), proto);
        }
    }
}

#[test]
fn negative_zero_is_kept() {
    let proto = to_proto(PROTO3, r#"{"optionalDouble":-0,"optionalFloat":-0.0,"optionalInt32":-0}"#).unwrap();
    assert_eq!(to_json(PROTO3, &proto).unwrap(), r#"{"optionalDouble":-0,"optionalFloat":-0}"#);
}

#[test]
fn groups_and_extensions_are_converted() {
    let message = r#"Data {group_int32: 1 inner {needed: 2 Data {}}} Item {name: "a"} Item {} needed: 3
        [transcode.test.old.extension_int32]: 4 [transcode.test.old.extension_strings]: "b""#;
    let json = concat!(
        r#"{"data":{"groupInt32":1,"inner":{"data":{},"needed":2}},"item":[{"name":"a"},{}],"needed":3,"#,
        r#""[transcode.test.old.extension_int32]":4,"[transcode.test.old.extension_strings]":["b"]}"#
    );
    assert_eq!(printed(OLD, message), json);
    parsed(OLD, json, message);
}

#[test]
fn required_fields_are_left_to_the_receiver() {
    assert_eq!(to_proto(OLD, "{}").unwrap(), b"");
    assert_eq!(to_json(OLD, b"").unwrap(), "{}");
}

#[test]
fn proto2_fields_keep_their_zeros() {
    parsed(PROTO2, r#"{"optionalInt32":0,"optionalString":""}"#, "optional_int32: 0 optional_string: ''");
    assert_eq!(printed(PROTO2, "optional_int32: 0"), r#"{"optionalInt32":0}"#);
}

#[test]
fn closed_enums_refuse_other_numbers() {
    refused(OLD, r#"{"closed":3}"#, ErrorKind::Unknown, "$.closed", 10);
    parsed(OLD, r#"{"closed":2,"closedList":["ONE",2]}"#, "closed: TWO closed_list: [ONE, TWO]");
    parsed(PROTO3, r#"{"optionalNestedEnum":77}"#, "optional_nested_enum: 77");
}
