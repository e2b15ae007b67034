//! Tests which contracts the build rejects, and that the error names the method or field. Uses the build script's own
//! files.

#[path = "../../build/checks.rs"]
mod checks;
#[path = "../../build/contract.rs"]
mod contract;
#[path = "../../build/redact.rs"]
mod redact;

use std::fs;

use prost_reflect::DescriptorPool;

/// A contract with one method: `options` are the method's options, `field` is the only field of its input.
fn pool(options: &str, field: &str) -> DescriptorPool {
    pool_of("SampleResponse", options, field)
}

/// Like [`pool`], with a method that returns a stream.
fn streaming_pool(options: &str) -> DescriptorPool {
    pool_of("stream SampleResponse", options, "")
}

fn pool_of(response: &str, options: &str, field: &str) -> DescriptorPool {
    compile(&tempfile::tempdir().unwrap(), response, options, field)
}

/// Compiles the sample; files in `folder` replace those of the repository.
fn compile(folder: &tempfile::TempDir, response: &str, options: &str, field: &str) -> DescriptorPool {
    let source = format!(
        r#"
        syntax = "proto3";
        package trellis.sample.v1;
        import "buf/validate/validate.proto";
        import "google/api/annotations.proto";
        import "trellis/policy/v1/policy.proto";
        import "trellis/resource/v1/resource.proto";
        import "trellis/text/v1/text.proto";
        service SampleService {{
          rpc Sample(SampleRequest) returns ({response}) {{ {options} }}
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

/// Stands in for the build script's function.
fn rust_path(full_name: &str) -> String {
    full_name.to_owned()
}

const PUBLIC: &str = "option (trellis.policy.v1.method) = {access: {public: {}}};";
const INTERNAL: &str = r#"option (trellis.policy.v1.method) = {access: {internal: {callers: ["auth"]}}};"#;
const HTTP: &str = r#"option (google.api.http) = {get: "/v1/sample"};"#;
const METHOD: &str = "trellis.sample.v1.SampleService.Sample ";

fn refusal(options: &str) -> String {
    contract::verify(&pool(options, "")).expect_err("the contract is rejected")
}

fn unknown_rule(field: &str) -> String {
    checks::generate(&pool("", field)).expect_err("the rule is rejected")
}

#[test]
fn public_and_internal_methods_are_accepted() {
    contract::verify(&pool(&[PUBLIC, HTTP].concat(), "")).unwrap();
    contract::verify(&pool(INTERNAL, "")).unwrap();
}

#[test]
fn method_without_policy_is_rejected() {
    let error = refusal(HTTP);
    assert!(error.contains(METHOD) && error.contains("has no (trellis.policy.v1.method) option"), "{error}");
}

#[test]
fn policy_without_access_is_rejected() {
    let error = refusal(&["option (trellis.policy.v1.method) = {deadline: {seconds: 5}};", HTTP].concat());
    assert!(error.contains(METHOD) && error.contains("without `access`"), "{error}");
    let error = refusal(&["option (trellis.policy.v1.method) = {access: {}};", HTTP].concat());
    assert!(error.contains(METHOD) && error.contains("without `access`"), "{error}");
}

#[test]
fn internal_method_with_http_form_is_rejected() {
    let error = refusal(&[INTERNAL, HTTP].concat());
    assert!(error.contains(METHOD) && error.contains("is internal and has a (google.api.http) form"), "{error}");
}

#[test]
fn internal_method_without_callers_is_rejected() {
    let error = refusal("option (trellis.policy.v1.method) = {access: {internal: {}}};");
    assert!(error.contains(METHOD) && error.contains("names no caller"), "{error}");
}

#[test]
fn public_method_without_http_form_is_rejected() {
    let error = refusal(PUBLIC);
    assert!(error.contains(METHOD) && error.contains("has no (google.api.http) option"), "{error}");
}

#[test]
fn known_rule_generates_a_check() {
    let source = checks::generate(&pool("", "string name = 1 [(buf.validate.field).string.max_len = 9];")).unwrap();
    assert!(source.contains("string_max_len(&self.name, 9"), "{source}");
}

#[test]
fn text_rule_generates_a_check() {
    let field = "string name = 1 [(buf.validate.field).string.(trellis.text.v1.single_line) = true];";
    let source = checks::generate(&pool("", field)).unwrap();
    assert!(source.contains("text::string_single_line(&self.name"), "{source}");
}

#[test]
fn rule_without_generator_is_rejected() {
    for (field, rule) in [
        ("string name = 1 [(buf.validate.field).string.pattern = \"(a|b)\"];", "string.pattern"),
        ("string name = 1 [(buf.validate.field).string.pattern = \"^[a]{1,2}[b]{1,2}$\"];", "string.pattern"),
        ("string name = 1 [(buf.validate.field).string.prefix = \"a\"];", "string.prefix"),
        ("string name = 1 [(buf.validate.field).string.(trellis.text.v1.multi_line) = false];", "multi_line"),
        ("string name = 1 [(buf.validate.field).ignore = IGNORE_ALWAYS];", "ignore"),
        ("oneof either { string name = 1 [(buf.validate.field).string.max_len = 9]; }", "member of a oneof"),
    ] {
        let error = unknown_rule(field);
        assert!(error.starts_with("trellis.sample.v1.SampleRequest.name: ") && error.contains(rule), "{error}");
    }
}

#[test]
fn invalid_limits_are_rejected() {
    let error = |policy: &str, streams: bool| {
        let options = format!("option (trellis.policy.v1.method) = {{access: {{public: {{}}}} {policy}}}; {HTTP}");
        let pool = if streams { streaming_pool(&options) } else { pool(&options, "") };
        contract::verify(&pool).err().unwrap_or_default()
    };
    let minute = "period: {seconds: 60}";
    for (policy, expected) in [
        (format!("rate_limit: {{{minute}}}"), "without `requests`"),
        ("rate_limit: {requests: 1}".to_owned(), "whose `period` is not"),
        ("rate_limit: {requests: 1 period: {seconds: 40000000}}".to_owned(), "whose `period` is not"),
        ("rate_limit: {requests: 2000000 period: {seconds: 1}}".to_owned(), "more than one request per microsecond"),
        (format!("rate_limit: {{requests: 5 {minute} cost: 6}}"), "cost of 6 exceeds its burst of 5"),
        (format!("rate_limit: {{requests: 9 {minute} burst: 2 cost: 3}}"), "cost of 3 exceeds its burst of 2"),
        (format!("rate_limit: {{requests: 9 {minute} burst: 2 kind: RATE_LIMIT_KIND_COUNT}}"), "with a `burst`"),
        (format!("rate_limit: {{requests: 9 {minute} key: RATE_LIMIT_KEY_HEADER}}"), "without the name"),
        (format!("rate_limit: {{requests: 9 {minute} header: \"x-a\"}}"), "has another key"),
        (format!("rate_limit: {{requests: 9 {minute} key: RATE_LIMIT_KEY_HEADER header: \"X-A\"}}"), "lower case"),
        (format!("rate_limit: {{requests: 9 {minute} key: RATE_LIMIT_KEY_API_KEY}}"), "counts only by headers"),
        (format!("rate_limit: {{requests: 9 {minute}}}").repeat(5), "has 5 rate limits; the maximum is 4"),
        ("stream_limit: {streams: 1}".to_owned(), "is not a stream"),
    ] {
        let error = error(&policy, false);
        assert!(error.contains(METHOD) && error.contains(expected), "{policy}: {error}");
    }
    let none = error("stream_limit: {}", true);
    assert!(none.contains(METHOD) && none.contains("of 0 streams"), "{none}");
    let audited = error("audit: true", true);
    assert!(audited.contains(METHOD) && audited.contains("is a stream and has `audit`"), "{audited}");
    let made_up = error("stream_limit: {streams: 1 key: RATE_LIMIT_KEY_API_KEY}", true);
    assert!(made_up.contains("which a client can invent"), "{made_up}");
    let good = "rate_limit: {requests: 9 period: {seconds: 60} burst: 2 cost: 2} \
                rate_limit: {requests: 1000 period: {seconds: 86400} kind: RATE_LIMIT_KIND_COUNT} \
                rate_limit: {requests: 9 period: {seconds: 1} key: RATE_LIMIT_KEY_HEADER header: \"x-tenant\"}";
    assert_eq!(error(good, false), "");
    assert_eq!(error("stream_limit: {streams: 32}", true), "");
}

/// A pool with a changed policy.proto.
fn pool_with_policy(from: &str, to: &str) -> DescriptorPool {
    let folder = tempfile::tempdir().unwrap();
    let ours = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/trellis/policy/v1/policy.proto")).unwrap();
    assert!(ours.contains(from), "policy.proto has no {from:?}");
    fs::create_dir_all(folder.path().join("trellis/policy/v1")).unwrap();
    fs::write(folder.path().join("trellis/policy/v1/policy.proto"), ours.replace(from, to)).unwrap();
    compile(&folder, "SampleResponse", &[PUBLIC, HTTP].concat(), "")
}

#[test]
fn policy_field_without_enforcement_is_rejected() {
    for (from, to, field) in [
        ("message Policy {", "message Policy { bool tracing = 99;", "Policy.tracing"),
        ("message SignedIn {", "message SignedIn { repeated string tenants = 99;", "SignedIn.tenants"),
        ("message RateLimit {", "message RateLimit { Nested nested = 99;", "RateLimit.nested"),
    ] {
        let pool = pool_with_policy(from, &format!("message Nested {{ bool deep = 1; }} {to}"));
        let error = contract::verify(&pool).expect_err("the contract is rejected");
        assert!(error.contains(&format!("trellis.policy.v1.{field} is enforced by no code")), "{error}");
        let is_nested = field.ends_with("nested");
        assert_eq!(error.contains("trellis.policy.v1.Nested.deep is enforced by no code"), is_nested, "{error}");
    }
}

#[test]
fn permission_or_role_without_effect_is_rejected() {
    let error = |from: &str, to: &str| contract::verify(&pool_with_policy(from, to)).err().unwrap_or_default();
    let unused = error("PERMISSION_UNSPECIFIED = 0;", "PERMISSION_UNSPECIFIED = 0; PERMISSION_UNUSED = 99;");
    assert!(unused.contains("PERMISSION_UNUSED is granted by no role"), "{unused}");
    let empty = error("ROLE_UNSPECIFIED = 0;", "ROLE_UNSPECIFIED = 0; ROLE_EMPTY = 99;");
    assert!(empty.contains("ROLE_EMPTY grants no permission"), "{empty}");
}

#[test]
fn step_up_without_effect_is_rejected() {
    let error = |access: &str, step_up: &str| {
        let policy = format!("option (trellis.policy.v1.method) = {{access: {{{access}}} step_up: {{{step_up}}}}};");
        contract::verify(&pool(&format!("{policy} {HTTP}"), "")).err().unwrap_or_default()
    };
    let minutes = "max_age: {seconds: 600}";
    assert_eq!(error("signed_in: {permissions: PERMISSION_ROLES_WRITE}", minutes), "");
    assert!(error("public: {}", minutes).contains("only users can prove who they are"));
    for age in ["", "max_age: {}", "max_age: {nanos: 5}", "max_age: {seconds: 86401}"] {
        assert!(error("signed_in: {}", age).contains("not between a second and a day"), "{age}");
    }
    let none = error("signed_in: {permissions: PERMISSION_UNSPECIFIED}", minutes);
    assert!(none.contains("needs PERMISSION_UNSPECIFIED"), "{none}");
}

#[test]
fn enforced_line_without_policy_field_is_rejected() {
    let pool = pool_with_policy("bool reads_session_cookie", "bool takes_session_cookie");
    let error = contract::verify(&pool).expect_err("the contract is rejected");
    assert!(error.contains("lists Policy.reads_session_cookie, which is not a field"), "{error}");
}

#[test]
fn secret_field_without_debug_redact_is_rejected() {
    let max = "(buf.validate.field).string.max_len = 9";
    for name in ["password", "new_password", "access_token", "api_secrets", "cookie", "email", "text", "title"] {
        let error = |options: &str| {
            let pool = pool(&[PUBLIC, HTTP].concat(), &format!("string {name} = 1 [{options}];"));
            contract::verify(&pool).err().unwrap_or_default()
        };
        assert!(error(max).contains(&format!("SampleRequest.{name} has the name of a secret")), "{}", error(max));
        assert_eq!(error(&format!("{max}, debug_redact = true")), "");
    }
    let page = format!("string page_token = 1 [{max}];");
    contract::verify(&pool(&[PUBLIC, HTTP].concat(), &page)).unwrap();
}

#[test]
fn reference_without_effect_is_rejected() {
    let error = |field: &str, target: &str| {
        let field = format!("{field} = 1 [(trellis.resource.v1.references) = \"{target}\"];");
        contract::verify(&pool(&[PUBLIC, HTTP].concat(), &field)).err().unwrap_or_default()
    };
    let missing = error("string user_id", "trellis.sample.v1.Nothing");
    assert!(missing.contains("no method BatchGet… returns a list of trellis.sample.v1.Nothing"), "{missing}");
    let number = error("bytes user_id", "trellis.sample.v1.SampleRequest");
    assert!(number.contains("SampleRequest.user_id") && number.contains("is no string"), "{number}");
}

#[test]
fn redacted_oneof_member_is_rejected() {
    let field = "oneof either { string password = 1 [debug_redact = true]; }";
    let error = contract::verify(&pool(&[PUBLIC, HTTP].concat(), field)).expect_err("the contract is rejected");
    assert!(error.contains("SampleRequest.password is redacted in a oneof"), "{error}");
}

#[test]
fn generated_debug_omits_redacted_fields() {
    let field = "string password = 1 [debug_redact = true]; int32 size = 2; oneof either { bool on = 3; }";
    let source = redact::generate(&redact::messages(&pool("", field))).unwrap();
    assert!(source.contains(".field(\"size\", &self.size)") && source.contains("&self.either"), "{source}");
    assert!(source.contains(".field(\"password\"") && !source.contains("self.password"), "{source}");
}
