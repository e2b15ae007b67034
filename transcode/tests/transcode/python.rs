//! Compares with Google's protobuf for Python.
//!
//! `tests/python/transcode_oracle.py` writes the cases; `cargo xtask test` runs it and sets TRELLIS_TEST_TRANSCODE_CASES to
//! its file.

use std::{collections::BTreeSet, fs};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use transcode::PrintOptions;

use crate::{
    reflect::json_value,
    support::{PROTO2, PROTO3, assert_equal, decode, is_equal, to_json, to_json_with, to_proto},
};

/// A line of the file: a message with its JSON, or a JSON text with its message.
#[derive(Deserialize)]
struct Line {
    syntax: String,
    bytes: Option<String>,
    json: Option<String>,
    defaults: Option<String>,
    input: Option<String>,
}

impl Line {
    fn message(&self) -> &'static str {
        if self.syntax == "proto2" { PROTO2 } else { PROTO3 }
    }

    fn decoded(&self) -> Option<Vec<u8>> {
        self.bytes.as_ref().map(|bytes| BASE64.decode(bytes).unwrap())
    }
}

#[expect(clippy::disallowed_methods, reason = "the test runner sets the path of the cases")]
fn lines() -> Vec<Line> {
    let path = std::env::var("TRELLIS_TEST_TRANSCODE_CASES")
        .expect("TRELLIS_TEST_TRANSCODE_CASES is not set: run cargo xtask test");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{path}: {e}: {line}"))).collect()
}

#[test]
fn messages_print_as_with_google_protobuf() {
    let defaults = PrintOptions { always_print_fields_with_no_presence: true, ..PrintOptions::default() };
    let mut compared = 0;
    for line in lines().iter().filter(|line| line.input.is_none()) {
        let (message, proto) = (line.message(), line.decoded().unwrap());
        for (theirs, ours) in
            [(&line.json, to_json(message, &proto)), (&line.defaults, to_json_with(message, &proto, &defaults))]
        {
            let Some(theirs) = theirs else { continue };
            let ours = ours.unwrap_or_else(|e| panic!("{e}: {theirs}"));
            assert_eq!(json_value(&ours), json_value(theirs));
            let back = to_proto(message, theirs).unwrap_or_else(|e| panic!("{e}: {theirs}"));
            assert_equal(&decode(message, &back), &decode(message, &proto), theirs);
            compared += 1;
        }
    }
    assert!(compared > 500, "{compared}");
}

const INTEGERS: &[&str] = &[
    "optionalInt32",
    "optionalInt64",
    "optionalUint32",
    "optionalUint64",
    "optionalSint32",
    "optionalSint64",
    "optionalFixed32",
    "optionalFixed64",
    "optionalSfixed32",
    "optionalSfixed64",
    "presentInt32",
    "optionalInt32Wrapper",
    "optionalInt64Wrapper",
    "optionalUint32Wrapper",
];
const FLOATS: &[&str] = &["optionalFloat", "optionalDouble", "optionalFloatWrapper"];
const ENUMS: &[&str] = &["optionalNestedEnum", "oneofNullValue", "optionalNullValue"];

/// Where Google's library for Python differs from the JSON mapping: the reason, the fields, and the values.
const DIFFERENCES: &[(&str, &[&str], &[&str])] = &[
    ("Python's syntax of numbers in strings", INTEGERS, &[r#""01""#, r#""+1""#, r#""1_0""#]),
    ("a number that underflows is zero, and thus an integer", INTEGERS, &["1e-400"]),
    (
        "Python's syntax of numbers in strings, and booleans as numbers",
        FLOATS,
        &[r#"" 1""#, r#""1 ""#, r#""01""#, r#""+1""#, r#""1_0""#, r#""inf""#, "true", "false"],
    ),
    (
        "the largest float is compared as a rounded double",
        &["optionalFloat", "optionalFloatWrapper"],
        &["3.4028235e38"],
    ),
    (
        "numbers of enum values in strings, truncated, or beyond 32 bits",
        ENUMS,
        &[
            "1e-400",
            r#""01""#,
            r#""+1""#,
            r#""1_0""#,
            r#"" 1""#,
            r#""1 ""#,
            "true",
            "false",
            "1.5",
            "0.1",
            "4294967296",
            "-9223372036854775808",
            r#""0""#,
            r#""1""#,
            r#""-1""#,
        ],
    ),
    (
        "numbers of enum values beyond 32 bits",
        &["optionalNestedEnum"],
        &["4294967295", "9223372036854775807", "9007199254740993", r#""9223372036854775807""#],
    ),
    (
        "characters outside of base64 are skipped",
        &["optionalBytes", "optionalBytesWrapper"],
        &[
            r#""\ud83d\ude01""#,
            r#""é""#,
            r#""!""#,
            r#""1970-01-01T00:00:00Z""#,
            r#""9999-12-31T23:59:59Z""#,
            r#""1.5s""#,
            r#""-0.5s""#,
        ],
    ),
    ("empty values as messages without fields", &["optionalNestedMessage", "optionalEmpty"], &[r#""""#, "[]"]),
    ("infinity in a Value", &["optionalValue"], &["1e400", "-1e400"]),
    (
        "paths of a field mask that are no names",
        &["optionalFieldMask"],
        &[
            r#""01""#,
            r#""+1""#,
            r#"" 1""#,
            r#""1 ""#,
            r#""\ud83d\ude01""#,
            r#""é""#,
            r#""!""#,
            r#""0""#,
            r#""1""#,
            r#""-1""#,
            r#""1970-01-01T00:00:00Z""#,
            r#""9999-12-31T23:59:59Z""#,
            r#""1.5s""#,
            r#""-0.5s""#,
            r#""9223372036854775807""#,
            r#""1.0""#,
            r#""1e2""#,
            r#""1.5""#,
            r#""0x1""#,
            r#""18446744073709551615""#,
            r#""18446744073709551616""#,
            r#""-Infinity""#,
            r#""a\"b""#,
            r#""AQI=""#,
            r#""+/8""#,
            r#""2001-02-03T04:05:06.789+01:30""#,
            r#""1970-01-01T00:00:00""#,
            r#""1s""#,
        ],
    ),
];

/// The texts of [`DIFFERENCES`].
fn differing() -> BTreeSet<String> {
    let text = |field: &&str, value: &&str| format!("{{\"{field}\": {value}}}");
    let texts = |(_, fields, values): &(_, &[&str], &[&str])| -> Vec<String> {
        fields.iter().flat_map(|field| values.iter().map(move |value| text(field, value))).collect()
    };
    DIFFERENCES.iter().flat_map(texts).collect()
}

#[test]
fn texts_parse_as_with_google_protobuf() {
    let known = differing();
    let mut differences = Vec::new();
    for line in &lines() {
        let Some(input) = &line.input else { continue };
        let ours = to_proto(line.message(), input);
        let is_same = match (&ours, line.decoded()) {
            (Ok(ours), Some(theirs)) => is_equal(&decode(line.message(), ours), &decode(line.message(), &theirs)),
            (Err(_), None) => true,
            _ => false,
        };
        if is_same == known.contains(input) {
            let theirs = if line.bytes.is_some() { "accepts" } else { "refuses" };
            differences.push(format!("{input}: Google's library {theirs} it; here: {ours:?}"));
        }
    }
    assert!(differences.is_empty(), "{} texts:\n{}", differences.len(), differences.join("\n"));
}
