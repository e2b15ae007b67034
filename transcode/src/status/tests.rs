use prost_reflect::{DescriptorPool, prost::Message};

use super::*;

/// The details of `google.rpc`, and the well-known types.
fn registry() -> Registry {
    let mut pool = DescriptorPool::global();
    pool.decode_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET).unwrap();
    Registry::new(&pool)
}

fn any(type_url: &str, value: Vec<u8>) -> prost_types::Any {
    prost_types::Any { type_url: type_url.to_owned(), value }
}

fn encoded(details: Vec<prost_types::Any>) -> Vec<u8> {
    tonic_types::pb::Status { code: 3, message: "hidden".into(), details }.encode_to_vec()
}

fn json(status: &Status<'_>) -> String {
    let mut out = Vec::new();
    status.append_json(&registry(), &Limits::default(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn codes_have_their_http_status() {
    let all: Vec<_> = (0..17).map(http_status).collect();
    assert_eq!(all, [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401]);
    for unknown in [-1, 17, i32::MIN, i32::MAX] {
        assert_eq!((http_status(unknown), code_name(unknown)), (500, "UNKNOWN"));
    }
    assert_eq!((code_name(0), code_name(5), code_name(16)), ("OK", "NOT_FOUND", "UNAUTHENTICATED"));
}

#[test]
fn status_without_details_is_short() {
    let status = Status { code: 5, message: "no \"user\"\n", details: b"" };
    assert_eq!(json(&status), r#"{"code":5,"message":"no \"user\"\n"}"#);
    let status = Status { details: &encoded(vec![]), ..status };
    assert_eq!(json(&status), r#"{"code":5,"message":"no \"user\"\n"}"#);
}

#[test]
fn known_details_are_objects_and_others_base64() {
    let info = tonic_types::pb::ErrorInfo { reason: "USER_NOT_FOUND".into(), domain: "d".into(), ..Default::default() };
    let details = encoded(vec![
        any("type.googleapis.com/google.rpc.ErrorInfo", info.encode_to_vec()),
        any("type.googleapis.com/google.rpc.ErrorInfo", vec![]),
        any("type.googleapis.com/google.protobuf.Duration", vec![8, 3]),
        any("type.googleapis.com/t.Unknown", vec![1, 2, 3]),
        any("google.rpc.ErrorInfo", vec![0xFF]),
        any("type.googleapis.com/google.rpc.ErrorInfo", vec![0xFF]),
        any("", vec![]),
    ]);
    let status = Status { code: 5, message: "m", details: &details };
    let expected = [
        r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"USER_NOT_FOUND","domain":"d"}"#,
        r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo"}"#,
        r#"{"@type":"type.googleapis.com/google.protobuf.Duration","value":"3s"}"#,
        r#"{"@type":"type.googleapis.com/t.Unknown","value":"AQID"}"#,
        r#"{"@type":"google.rpc.ErrorInfo","value":"/w=="}"#,
        r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","value":"/w=="}"#,
        r#"{"@type":"","value":""}"#,
    ];
    assert_eq!(json(&status), format!(r#"{{"code":5,"message":"m","details":[{}]}}"#, expected.join(",")));
}

#[test]
fn details_that_do_not_decode_end_the_list() {
    let mut details = encoded(vec![any("a/b", vec![1])]);
    details.extend([0x1A, 0x7F]);
    let status = Status { code: 13, message: "", details: &details };
    assert_eq!(json(&status), r#"{"code":13,"message":"","details":[{"@type":"a/b","value":"AQ=="}]}"#);
    assert_eq!(json(&Status { details: b"\xFF\xFF", ..status }), r#"{"code":13,"message":""}"#);
}

#[test]
fn problem_has_the_members_of_the_rfc() {
    let details = encoded(vec![any("a/b", vec![1])]);
    let mut out = Vec::new();
    let status = Status { code: 8, message: "slow down", details: &details };
    status.append_problem(&registry(), &Limits::default(), &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"slow down","code":"RESOURCE_EXHAUSTED","details":[{"@type":"a/b","value":"AQ=="}]}"#
    );
}
