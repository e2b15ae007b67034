//! What the build refuses, and that it names the offender. The checks are the build script's own files.

#[path = "../../build/checks.rs"]
mod checks;
#[path = "../../build/contract.rs"]
mod contract;

use std::fs;

use prost_reflect::DescriptorPool;

/// A contract with one method: `options` are the method's, `rules` the rules of its input's only field.
fn pool(options: &str, field: &str) -> DescriptorPool {
    let folder = tempfile::tempdir().unwrap();
    let source = format!(
        r#"
        syntax = "proto3";
        package trellis.sample.v1;
        import "buf/validate/validate.proto";
        import "google/api/annotations.proto";
        import "trellis/policy/v1/policy.proto";
        service SampleService {{
          rpc Sample(SampleRequest) returns (SampleResponse) {{ {options} }}
        }}
        message SampleRequest {{ {field} }}
        message SampleResponse {{}}
        "#
    );
    fs::write(folder.path().join("sample.proto"), source).unwrap();
    let home = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let third_party = concat!(env!("CARGO_MANIFEST_DIR"), "/third_party");
    let roots = [folder.path().to_str().unwrap(), home, third_party];
    let mut compiler = protox::Compiler::new(roots).unwrap();
    compiler.include_imports(true).open_files(["sample.proto"]).unwrap();
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
}

const PUBLIC: &str = "option (trellis.policy.v1.method) = {access: {public: {}}};";
const INTERNAL: &str = r#"option (trellis.policy.v1.method) = {access: {internal: {callers: ["auth"]}}};"#;
const HTTP: &str = r#"option (google.api.http) = {get: "/v1/sample"};"#;
const METHOD: &str = "trellis.sample.v1.SampleService.Sample ";

fn refusal(options: &str) -> String {
    contract::verify(&pool(options, "")).expect_err("the contract is refused")
}

fn unknown_rule(field: &str) -> String {
    checks::generate(&pool("", field)).expect_err("the rule is refused")
}

#[test]
fn a_public_and_an_internal_method_are_accepted() {
    contract::verify(&pool(&[PUBLIC, HTTP].concat(), "")).unwrap();
    contract::verify(&pool(INTERNAL, "")).unwrap();
}

#[test]
fn a_method_without_a_policy_is_named() {
    let said = refusal(HTTP);
    assert!(said.contains(METHOD) && said.contains("has no (trellis.policy.v1.method) option"), "{said}");
}

#[test]
fn a_policy_without_access_is_named() {
    let said = refusal(&["option (trellis.policy.v1.method) = {deadline: {seconds: 5}};", HTTP].concat());
    assert!(said.contains(METHOD) && said.contains("without `access`"), "{said}");
    let said = refusal(&["option (trellis.policy.v1.method) = {access: {}};", HTTP].concat());
    assert!(said.contains(METHOD) && said.contains("without `access`"), "{said}");
}

#[test]
fn an_internal_method_with_an_http_form_is_named() {
    let said = refusal(&[INTERNAL, HTTP].concat());
    assert!(said.contains(METHOD) && said.contains("is internal and has a (google.api.http) form"), "{said}");
}

#[test]
fn an_internal_method_without_callers_is_named() {
    let said = refusal("option (trellis.policy.v1.method) = {access: {internal: {}}};");
    assert!(said.contains(METHOD) && said.contains("names no caller"), "{said}");
}

#[test]
fn a_public_method_without_an_http_form_is_named() {
    let said = refusal(PUBLIC);
    assert!(said.contains(METHOD) && said.contains("has no (google.api.http) option"), "{said}");
}

#[test]
fn a_known_rule_becomes_a_check() {
    let source = checks::generate(&pool("", "string name = 1 [(buf.validate.field).string.max_len = 9];")).unwrap();
    assert!(source.contains("string_max_len(&self.name, 9"), "{source}");
}

#[test]
fn a_rule_without_a_generator_names_its_field() {
    for (field, rule) in [
        ("string name = 1 [(buf.validate.field).string.pattern = \"(a|b)\"];", "string.pattern"),
        ("string name = 1 [(buf.validate.field).string.pattern = \"^[a]{1,2}[b]{1,2}$\"];", "string.pattern"),
        ("string name = 1 [(buf.validate.field).string.prefix = \"a\"];", "string.prefix"),
        ("string name = 1 [(buf.validate.field).ignore = IGNORE_ALWAYS];", "ignore"),
        ("oneof either { string name = 1 [(buf.validate.field).string.max_len = 9]; }", "member of a oneof"),
    ] {
        let said = unknown_rule(field);
        assert!(said.starts_with("trellis.sample.v1.SampleRequest.name: ") && said.contains(rule), "{said}");
    }
}
