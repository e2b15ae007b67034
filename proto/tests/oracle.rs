//! Compares the generated input checks with Buf's implementation, and tests the rules of the build.
//!
//! `tests/python/oracle.py` writes the cases; `cargo xtask test` runs it and sets TRELLIS_TEST_ORACLE_CASES to its
//! file.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "oracle/build_rules.rs"]
mod build_rules;
#[path = "oracle/redact.rs"]
mod redacted;
#[path = "oracle/text.rs"]
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use proto::validate::check_encoded;
use serde::Deserialize;

/// A message and Buf's result for it.
#[derive(Deserialize)]
struct Case {
    message: String,
    bytes: String,
    valid: bool,
    fields: BTreeSet<String>,
}

#[expect(clippy::disallowed_methods, reason = "the test runner sets the path of the cases")]
fn cases() -> Vec<Case> {
    let path =
        std::env::var("TRELLIS_TEST_ORACLE_CASES").expect("TRELLIS_TEST_ORACLE_CASES is not set: run cargo xtask test");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{path}: {e}: {line}"))).collect()
}

/// The input messages of the contracts' methods.
fn inputs() -> BTreeSet<String> {
    let set = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap();
    let methods = set.file.iter().flat_map(|file| &file.service).flat_map(|service| &service.method);
    methods.map(|method| method.input_type().trim_start_matches('.').to_owned()).collect()
}

/// A description of the case when the generated checks and Buf differ.
fn disagreement(case: &Case) -> Option<String> {
    let bytes = BASE64.decode(&case.bytes).unwrap();
    let Case { message, valid, fields, .. } = case;
    let violations = match check_encoded(message, &bytes) {
        None => return Some(format!("{message}: has no checks")),
        Some(Err(error)) => return Some(format!("{message}: {}: {error}", case.bytes)),
        Some(Ok(violations)) => violations,
    };
    let ours: BTreeSet<String> = violations.iter().map(|violation| violation.field.clone()).collect();
    let same = ours == *fields && ours.is_empty() == *valid;
    (!same).then(|| format!("{message} {:.120}: Buf reports {fields:?}, the checks report {violations:?}", case.bytes))
}

#[test]
fn generated_checks_agree_with_buf() {
    let differences: Vec<String> = cases().iter().filter_map(disagreement).collect();
    assert!(
        differences.is_empty(),
        "{} cases, the first of which:\n{}",
        differences.len(),
        differences[..differences.len().min(20)].join("\n")
    );
}

#[test]
fn every_input_message_occurs_among_the_cases() {
    let mut results: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for case in cases() {
        results.entry(case.message).or_default().insert(case.valid);
    }
    for input in inputs() {
        let seen = results.get(&input).unwrap_or_else(|| panic!("no case of {input}"));
        assert!(seen.contains(&true), "no valid case of {input}");
    }
    let refused = results.values().filter(|seen| seen.contains(&false)).count();
    assert!(refused * 2 > results.len(), "only {refused} messages were ever refused: {results:?}");
}

#[test]
fn response_messages_have_no_checks() {
    assert!(check_encoded("trellis.users.v1.GetUserResponse", &[]).is_none());
}

#[test]
fn undecodable_bytes_are_an_error() {
    assert!(check_encoded("trellis.users.v1.GetUserRequest", &[0xff]).unwrap().is_err());
}
