//! The cases of Google's conformance suite for JSON, under the names of the suite, which are also those of the README.
//!
//! The suite sends each valid input twice: for protobuf output and for JSON output. Both must encode the expected message.

#[path = "conformance/any.rs"]
mod any;
#[path = "conformance/names.rs"]
mod names;
#[path = "conformance/numbers.rs"]
mod numbers;
#[path = "conformance/strings.rs"]
mod strings;
#[path = "conformance/times.rs"]
mod times;
#[path = "conformance/values.rs"]
mod values;
#[path = "conformance/well_known.rs"]
mod well_known;

use prost::Message as _;
use transcode::ParseOptions;

use crate::support::{OLD, PROTO2, PROTO3, decode, is_equal, text, to_json, to_proto, to_proto_with};
use Expected::{Ignored, Json, Message, NoJson, ParseError, Printed};
use Level::{Recommended, Required};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Required,
    Recommended,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Expected {
    /// The JSON input is the message in text format.
    Message(&'static str, &'static str),
    /// The same, with unknown fields ignored.
    Ignored(&'static str, &'static str),
    ParseError(&'static str),
    /// The message in text format has no JSON form.
    NoJson(&'static str),
    /// The JSON input becomes this JSON output.
    Json(&'static str, &'static str),
    /// The binary input becomes this JSON output.
    Printed(&'static [u8], &'static str),
}

/// A case: its level, its name in the suite, and what is expected.
pub(crate) type Case = (Level, &'static str, Expected);

/// The problem of a case, if it fails.
fn problem(message: &str, expected: Expected) -> Option<String> {
    match expected {
        Message(json, expected) => valid(message, json, expected, false),
        Ignored(json, expected) => valid(message, json, expected, true),
        ParseError(json) => to_proto(message, json).ok().map(|_| "the input is accepted".to_owned()),
        NoJson(input) => {
            let printed = to_json(message, &text(message, input).encode_to_vec());
            printed.ok().map(|json| format!("the message is printed: {json}"))
        }
        Json(json, expected) => {
            let printed = to_proto(message, json).and_then(|proto| to_json(message, &proto));
            (printed.as_deref() != Ok(expected)).then(|| format!("{printed:?}"))
        }
        Printed(proto, expected) => {
            let printed = to_json(message, proto);
            (printed.as_deref() != Ok(expected)).then(|| format!("{printed:?}"))
        }
    }
}

fn valid(message: &str, json: &str, expected: &str, ignore_unknown_fields: bool) -> Option<String> {
    let expected = text(message, expected);
    let options = ParseOptions { ignore_unknown_fields };
    let proto = match to_proto_with(message, json.as_bytes(), &options) {
        Ok(proto) => proto,
        Err(e) => return Some(e.to_string()),
    };
    if !is_equal(&decode(message, &proto), &expected) {
        return Some(format!("protobuf output: {}", decode(message, &proto).to_text_format()));
    }
    let printed = match to_json(message, &expected.encode_to_vec()) {
        Ok(printed) => printed,
        Err(e) => return Some(e.to_string()),
    };
    match to_proto(message, &printed) {
        Ok(again) if is_equal(&decode(message, &again), &expected) => None,
        other => Some(format!("JSON output: {printed} {other:?}")),
    }
}

/// Cases for both versions of the language, and cases for proto3 only.
const BOTH: [&[Case]; 4] = [names::CASES, numbers::CASES, values::CASES, strings::CASES];
const PROTO3_ONLY: [&[Case]; 5] =
    [any::CASES, times::TIMESTAMPS, times::DURATIONS, values::PROTO3_CASES, well_known::CASES];
/// Cases for proto2 only: of the message with all types, and of the one with extensions.
const PROTO2_ONLY: [(&str, Case); 2] = [
    (PROTO2, (Required, "StoresDefaultPrimitive.Validator", Json(r#"{"FieldName13": 0}"#, r#"{"FieldName13":0}"#))),
    (
        OLD,
        (
            Recommended,
            "FieldNameExtension.Validator",
            Json(r#"{"[transcode.test.old.extension_int32]": 1}"#, r#"{"[transcode.test.old.extension_int32]":1}"#),
        ),
    ),
];

/// The full names and the problems of all cases.
fn results() -> Vec<(String, Option<String>)> {
    let both = BOTH.into_iter().flatten().flat_map(|case| [("Proto2", PROTO2, case), ("Proto3", PROTO3, case)]);
    let proto3 = PROTO3_ONLY.into_iter().flatten().map(|case| ("Proto3", PROTO3, case));
    let proto2 = PROTO2_ONLY.iter().map(|(message, case)| ("Proto2", *message, case));
    let all = both.chain(proto3).chain(proto2);
    all.map(|(syntax, message, (level, name, expected))| {
        let level = if *level == Required { "Required" } else { "Recommended" };
        let direction = match expected {
            Printed(..) => ".ProtobufInput",
            NoJson(_) => "",
            _ => ".JsonInput",
        };
        (format!("{level}.{syntax}{direction}.{name}"), problem(message, *expected))
    })
    .collect()
}

#[test]
fn all_cases_of_the_conformance_suite_pass() {
    let failed: Vec<_> = results().into_iter().filter_map(|(name, problem)| Some((name, problem?))).collect();
    assert!(failed.is_empty(), "{} cases fail:\n{}", failed.len(), {
        let lines: Vec<_> = failed.iter().map(|(name, problem)| format!("{name}: {problem}")).collect();
        lines.join("\n")
    });
}

#[test]
fn the_readme_lists_all_cases() {
    let readme = include_str!("../../CONFORMANCE.md");
    let mut names: Vec<String> = results().into_iter().map(|(name, _)| format!("- {name}")).collect();
    names.sort();
    let listed: Vec<&str> = readme.lines().filter(|line| line.starts_with("- Re")).collect();
    assert_eq!(listed, names, "CONFORMANCE.md lists other cases. The cases are:\n{}", names.join("\n"));
}
