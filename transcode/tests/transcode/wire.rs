//! Binary input as decoders must accept it: any order, repeated fields in pieces, merged messages, unknown fields.

use prost::Message as _;
use transcode::ErrorKind;

use crate::support::{OLD, PROTO3, text, to_json};

/// The encodings of several messages, one behind the other.
fn joined(message: &str, parts: &[&str]) -> Vec<u8> {
    parts.iter().flat_map(|part| text(message, part).encode_to_vec()).collect()
}

#[track_caller]
fn prints(parts: &[&str], json: &str) {
    assert_eq!(to_json(PROTO3, &joined(PROTO3, parts)).unwrap(), json);
}

#[test]
fn the_last_scalar_counts() {
    prints(&["optional_int32: 1", "optional_int32: 2"], r#"{"optionalInt32":2}"#);
    prints(
        &["optional_string: 'a' optional_bool: true", "optional_string: 'b'"],
        r#"{"optionalBool":true,"optionalString":"b"}"#,
    );
    let to_zero = [text(PROTO3, "optional_int32: 1").encode_to_vec(), vec![8, 0]].concat();
    assert_eq!(to_json(PROTO3, &to_zero).unwrap(), "{}");
}

#[test]
fn lists_are_joined_in_the_order_of_the_wire() {
    prints(
        &["repeated_int32: [1, 2]", "repeated_string: 'a'", "repeated_int32: 3", "repeated_string: 'b'"],
        r#"{"repeatedInt32":[1,2,3],"repeatedString":["a","b"]}"#,
    );
}

#[test]
fn packed_and_unpacked_elements_mix() {
    let packed = [0xFA, 0x01, 0x02, 1, 2];
    let unpacked = [0xF8, 0x01, 3];
    let both = [&packed[..], &unpacked, &packed].concat();
    assert_eq!(to_json(PROTO3, &both).unwrap(), r#"{"repeatedInt32":[1,2,3,1,2]}"#);
    // The field unpacked_int32 in packed form.
    assert_eq!(to_json(PROTO3, &[0xCA, 0x05, 0x01, 7]).unwrap(), r#"{"unpackedInt32":[7]}"#);
    assert_eq!(to_json(PROTO3, &[0xFA, 0x01, 0x00]).unwrap(), "{}");
    assert_eq!(to_json(PROTO3, &[0xFA, 0x01, 0x00, 0x08, 0x01]).unwrap(), r#"{"optionalInt32":1}"#);
}

#[test]
fn messages_in_pieces_are_merged_at_all_levels() {
    prints(
        &[
            "recursive_message {optional_int32: 1 recursive_message {repeated_int32: 1 optional_bool: true}}",
            "optional_int64: 5",
            "recursive_message {optional_string: 'x' recursive_message {repeated_int32: 2}}",
            "recursive_message {optional_int32: 2 map_string_string {key: 'k' value: 'v'}}",
        ],
        concat!(
            r#"{"optionalInt64":"5","recursiveMessage":{"optionalInt32":2,"optionalString":"x","#,
            r#""recursiveMessage":{"optionalBool":true,"repeatedInt32":[1,2]},"mapStringString":{"k":"v"}}}"#
        ),
    );
}

#[test]
fn well_known_types_in_pieces_are_merged() {
    prints(
        &["optional_timestamp {seconds: 1}", "optional_timestamp {nanos: 5000000}"],
        r#"{"optionalTimestamp":"1970-01-01T00:00:01.005Z"}"#,
    );
    prints(
        &["optional_field_mask {paths: 'a_b'}", "optional_field_mask {paths: 'c'}"],
        r#"{"optionalFieldMask":"aB,c"}"#,
    );
    prints(&["optional_int32_wrapper {value: 5}", "optional_int32_wrapper {}"], r#"{"optionalInt32Wrapper":5}"#);
    prints(
        &[
            "optional_value {struct_value {fields {key: 'a' value {number_value: 1}}}}",
            "optional_value {struct_value {fields {key: 'b' value {number_value: 2}}}}",
        ],
        r#"{"optionalValue":{"a":1,"b":2}}"#,
    );
    prints(
        &["optional_any {type_url: 'a/google.protobuf.Duration'}", r#"optional_any {value: "\x08\x01"}"#],
        r#"{"optionalAny":{"@type":"a/google.protobuf.Duration","value":"1s"}}"#,
    );
    prints(&["optional_value {number_value: 1}", "optional_value {bool_value: true}"], r#"{"optionalValue":true}"#);
}

#[test]
fn the_last_member_of_a_oneof_counts() {
    prints(&["oneof_uint32: 1", "oneof_string: 'a'"], r#"{"oneofString":"a"}"#);
    prints(
        &["oneof_nested_message {a: 1}", "oneof_nested_message {corecursive {}}"],
        r#"{"oneofNestedMessage":{"a":1,"corecursive":{}}}"#,
    );
    // The number clears the first message.
    prints(
        &["oneof_nested_message {a: 1}", "oneof_uint32: 1", "oneof_nested_message {corecursive {}}"],
        r#"{"oneofNestedMessage":{"corecursive":{}}}"#,
    );
}

#[test]
fn the_last_entry_of_a_key_counts() {
    prints(
        &[
            "map_string_nested_message {key: 'k' value {a: 1}}",
            "map_string_nested_message {key: 'k' value {corecursive {}}}",
        ],
        r#"{"mapStringNestedMessage":{"k":{"corecursive":{}}}}"#,
    );
    let many: Vec<String> = (0..50).map(|n| format!("map_int32_int32 {{key: {} value: {n}}}", n % 20)).collect();
    let parts: Vec<&str> = many.iter().map(String::as_str).collect();
    let json = to_json(PROTO3, &joined(PROTO3, &parts)).unwrap();
    let expected: Vec<String> = (30..50).map(|n| format!("\"{}\":{n}", n % 20)).collect();
    assert_eq!(json, format!("{{\"mapInt32Int32\":{{{}}}}}", expected.join(",")));
}

#[test]
fn entries_may_lack_their_key_or_value() {
    let entry = |content: &[u8]| [&[0xC2, 0x03, content.len() as u8], content].concat();
    assert_eq!(to_json(PROTO3, &entry(&[])).unwrap(), r#"{"mapInt32Int32":{"0":0}}"#);
    assert_eq!(to_json(PROTO3, &entry(&[0x10, 5])).unwrap(), r#"{"mapInt32Int32":{"0":5}}"#);
    assert_eq!(to_json(PROTO3, &entry(&[0x10, 5, 0x08, 1, 0x10, 6, 0x18, 9])).unwrap(), r#"{"mapInt32Int32":{"1":6}}"#);
    // The entry of map_string_nested_message with its value in two pieces.
    let pieces = [0xBA, 0x04, 0x08, 0x12, 0x02, 0x08, 0x01, 0x12, 0x02, 0x12, 0x00];
    assert_eq!(to_json(PROTO3, &pieces).unwrap(), r#"{"mapStringNestedMessage":{"":{"a":1,"corecursive":{}}}}"#);
    assert_eq!(to_json(PROTO3, &[0xBA, 0x04, 0x00]).unwrap(), r#"{"mapStringNestedMessage":{"":{}}}"#);
}

#[test]
fn unknown_fields_are_skipped() {
    let unknown: [&[u8]; 6] = [
        &[0xF0, 0x3F, 0x96, 0x01],
        &[0xF1, 0x3F, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xF2, 0x3F, 2, 0xFF, 0xFF],
        &[0xF3, 0x3F, 0x08, 1, 0x13, 0x14, 0x1A, 1, 0, 0xF4, 0x3F],
        &[0xF5, 0x3F, 1, 2, 3, 4],
        // A known number with another wire type.
        &[0x0A, 1, 0],
    ];
    for bytes in unknown {
        let around = [bytes, &[0x08, 1], bytes].concat();
        assert_eq!(to_json(PROTO3, &around).unwrap(), r#"{"optionalInt32":1}"#, "{bytes:?}");
        let between = [&[0xF8, 0x01, 3], bytes, &[0xF8, 0x01, 4]].concat();
        assert_eq!(to_json(PROTO3, &between).unwrap(), r#"{"repeatedInt32":[3,4]}"#, "{bytes:?}");
    }
}

#[test]
fn numbers_that_a_closed_enum_lacks_are_unknown() {
    let closed = |bytes: &[u8]| to_json(OLD, bytes).unwrap();
    assert_eq!(closed(&[0x40, 2, 0x40, 9]), r#"{"closed":"TWO"}"#);
    assert_eq!(closed(&[0x40, 9]), "{}");
    assert_eq!(closed(&[0x48, 9, 0x48, 1, 0x48, 8]), r#"{"closedList":["ONE"]}"#);
    assert_eq!(closed(&[0x52, 3, 9, 1, 8]), r#"{"closedPacked":["ONE"]}"#);
    assert_eq!(closed(&[0x52, 1, 9]), "{}");
    assert_eq!(closed(&[0x5A, 5, 0x0A, 1, b'k', 0x10, 9]), "{}");
    // The same behind another field, where the fields are sorted.
    assert_eq!(closed(&[0x68, 5, 0x5A, 5, 0x0A, 1, b'k', 0x10, 9, 0x68, 6]), r#"{"number":6}"#);
    assert_eq!(closed(&[0x68, 5, 0x60, 9]), r#"{"number":5}"#);
    // The default of a closed enum is its first value.
    assert_eq!(closed(&[0x5A, 0]), r#"{"closedMap":{"":"ONE"}}"#);
}

#[test]
fn varints_may_be_longer_than_needed() {
    assert_eq!(to_json(PROTO3, &[0x88, 0x80, 0x00, 0x81, 0x80, 0x00]).unwrap(), r#"{"optionalInt32":1}"#);
    // Decoders keep the low 32 bits.
    assert_eq!(to_json(PROTO3, &[0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]).unwrap(), r#"{"optionalInt32":-1}"#);
    assert_eq!(to_json(PROTO3, &[0x68, 0x80, 0x80, 0x01]).unwrap(), r#"{"optionalBool":true}"#);
}

#[test]
fn malformed_bytes_are_refused() {
    for (bytes, offset) in [
        (&[0x08][..], 1),
        (&[0x00, 0x00], 0),
        (&[0x72, 5, b'a'], 2),
        (&[0x61, 1, 2], 1),
        (&[0x0C], 1),
        (&[0x0B, 0x08], 2),
        (&[0x0B], 1),
        (&[0x0B, 0x14], 1),
        (&[0x0F], 0),
        (&[0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01], 1),
        (&[0xFA, 0x01, 0x01, 0x80], 3),
        (&[0x92, 0x01, 0x02, 0x08, 0x80], 4),
    ] {
        let error = to_json(PROTO3, bytes).unwrap_err();
        assert_eq!((error.kind, error.offset), (ErrorKind::Wire, offset), "{bytes:?} {error}");
    }
}

#[test]
fn errors_of_values_name_their_place() {
    let error =
        to_json(PROTO3, &joined(PROTO3, &["repeated_timestamp {} repeated_timestamp {nanos: -1}"])).unwrap_err();
    assert_eq!((error.kind, &*error.path), (ErrorKind::Unrepresentable, "$.repeatedTimestamp[1]"));
    let entry = [0xAA, 0x04, 5, 0x0A, 1, b'k', 0x12, 0];
    let in_string = [&entry[..], &[0xAA, 0x04, 6, 0x0A, 1, b'l', 0x12, 1, 0xFF]].concat();
    let error = to_json(PROTO3, &in_string).unwrap_err();
    assert_eq!((error.kind, &*error.path), (ErrorKind::Unrepresentable, r#"$.mapStringString["l"]"#));
}
