//! The generated input checks against Buf's own implementation of the rules, and the rules of the build itself.
//!
//! `tests/python/oracle.py` writes the cases; `cargo xtask test` runs it and names its file in
//! TRELLIS_TEST_ORACLE_CASES.
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

/// A message and what Buf says of it.
#[derive(Deserialize)]
struct Case {
    message: String,
    bytes: String,
    valid: bool,
    fields: BTreeSet<String>,
}

#[expect(clippy::disallowed_methods, reason = "the test runner says where the cases are")]
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

/// What our checks say where Buf says something else.
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
    (!same).then(|| format!("{message} {:.120}: Buf says {fields:?}, we say {violations:?}", case.bytes))
}

#[test]
fn our_checks_say_what_buf_says() {
    let wrong: Vec<String> = cases().iter().filter_map(disagreement).collect();
    assert!(
        wrong.is_empty(),
        "{} cases, the first of which:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

#[test]
fn every_input_message_occurs_among_the_cases() {
    let mut verdicts: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for case in cases() {
        verdicts.entry(case.message).or_default().insert(case.valid);
    }
    for input in inputs() {
        let seen = verdicts.get(&input).unwrap_or_else(|| panic!("no case of {input}"));
        assert!(seen.contains(&true), "no valid case of {input}");
    }
    let refused = verdicts.values().filter(|seen| seen.contains(&false)).count();
    assert!(refused * 2 > verdicts.len(), "only {refused} messages were ever refused: {verdicts:?}");
}

#[test]
fn what_is_no_input_has_no_checks() {
    assert!(check_encoded("trellis.users.v1.GetUserResponse", &[]).is_none());
}

#[test]
fn bytes_that_are_no_message_are_an_error_not_a_verdict() {
    assert!(check_encoded("trellis.users.v1.GetUserRequest", &[0xff]).unwrap().is_err());
}
