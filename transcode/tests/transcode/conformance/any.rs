//! `google.protobuf.Any`.

use super::{Case, Message, ParseError, Required};

pub(super) const CASES: &[Case] = &[
    (
        Required,
        "Any",
        Message(
            r#"{"optionalAny": {"@type": "type.googleapis.com/transcode.test.proto3.AllTypes", "optionalInt32": 12345}}"#,
            "optional_any: {[type.googleapis.com/transcode.test.proto3.AllTypes] {optional_int32: 12345}}",
        ),
    ),
    (
        Required,
        "AnyNested",
        Message(
            r#"{"optionalAny": {"@type": "type.googleapis.com/google.protobuf.Any",
                "value": {"@type": "type.googleapis.com/transcode.test.proto3.AllTypes", "optionalInt32": 12345}}}"#,
            "optional_any: {[type.googleapis.com/google.protobuf.Any] {
                [type.googleapis.com/transcode.test.proto3.AllTypes] {optional_int32: 12345}}}",
        ),
    ),
    (
        Required,
        "AnyUnorderedTypeTag",
        Message(
            r#"{"optionalAny": {"optionalInt32": 12345, "@type": "type.googleapis.com/transcode.test.proto3.AllTypes"}}"#,
            "optional_any: {[type.googleapis.com/transcode.test.proto3.AllTypes] {optional_int32: 12345}}",
        ),
    ),
    (
        Required,
        "AnyWithInt32ValueWrapper",
        Message(
            r#"{"optionalAny": {"@type": "type.googleapis.com/google.protobuf.Int32Value", "value": 12345}}"#,
            "optional_any: {[type.googleapis.com/google.protobuf.Int32Value] {value: 12345}}",
        ),
    ),
    (
        Required,
        "AnyWithDuration",
        Message(
            r#"{"optionalAny": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1.5s"}}"#,
            "optional_any: {[type.googleapis.com/google.protobuf.Duration] {seconds: 1 nanos: 500000000}}",
        ),
    ),
    (
        Required,
        "AnyWithTimestamp",
        Message(
            r#"{"optionalAny": {"@type": "type.googleapis.com/google.protobuf.Timestamp", "value": "1970-01-01T00:00:00Z"}}"#,
            "optional_any: {[type.googleapis.com/google.protobuf.Timestamp] {seconds: 0 nanos: 0}}",
        ),
    ),
    (
        Required,
        "AnyWithFieldMask",
        Message(
            r#"{"optionalAny": {"@type": "type.googleapis.com/google.protobuf.FieldMask", "value": "foo,barBaz"}}"#,
            r#"optional_any: {[type.googleapis.com/google.protobuf.FieldMask] {paths: ["foo", "bar_baz"]}}"#,
        ),
    ),
    (
        Required,
        "AnyWithStruct",
        Message(
            r#"{"optionalAny": {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {"foo": 1}}}"#,
            r#"optional_any: {[type.googleapis.com/google.protobuf.Struct] {
                fields: {key: "foo" value: {number_value: 1}}}}"#,
        ),
    ),
    (
        Required,
        "AnyWithValueForJsonObject",
        Message(
            r#"{"optionalAny": {"@type": "type.googleapis.com/google.protobuf.Value", "value": {"foo": 1}}}"#,
            r#"optional_any: {[type.googleapis.com/google.protobuf.Value] {
                struct_value: {fields: {key: "foo" value: {number_value: 1}}}}}"#,
        ),
    ),
    (
        Required,
        "AnyWithValueForInteger",
        Message(
            r#"{"optionalAny": {"@type": "type.googleapis.com/google.protobuf.Value", "value": 1}}"#,
            "optional_any: {[type.googleapis.com/google.protobuf.Value] {number_value: 1}}",
        ),
    ),
    (
        Required,
        "AnyWktRepresentationWithEmptyTypeAndValue",
        ParseError(r#"{"optionalAny": {"@type": "", "value": ""}}"#),
    ),
    (
        Required,
        "AnyWktRepresentationWithBadType",
        ParseError(r#"{"optionalAny": {"@type": "not_a_url", "value": ""}}"#),
    ),
    (Required, "AnyWithNoType", Message(r#"{"optionalAny": {}}"#, "optional_any: {}")),
    (Required, "AnyNull", Message(r#"{"optionalAny": null}"#, "")),
    (
        Required,
        "AnyEmpty",
        Message(
            r#"{"optionalAny": {"@type": "type.googleapis.com/google.protobuf.Empty"}}"#,
            "optional_any: {[type.googleapis.com/google.protobuf.Empty] {}}",
        ),
    ),
];
