//! Bodies that are `google.api.HttpBody`.

use super::*;

#[test]
fn bodies_of_bytes_have_any_content_type() {
    let source = r#"syntax = "proto3"; package t; import "google/api/annotations.proto"; import "google/api/httpbody.proto";
        service S {
            rpc Upload(stream google.api.HttpBody) returns (E) { option (google.api.http) = {post: "/up" body: "*"}; }
            rpc Store(R) returns (E) { option (google.api.http) = {put: "/files/{name}" body: "file"}; }
            rpc Download(E) returns (stream google.api.HttpBody) { option (google.api.http) = {get: "/down"}; }
            rpc Collect(stream R) returns (E) { option (google.api.http) = {post: "/collect" body: "*"}; }
        }
        message R { string name = 1; google.api.HttpBody file = 2; }
        message E {}"#;
    let options = Options { message_bytes: Some(7), ..Options::default() };
    let document = document(&methods(&compile(source), &["t.S"]), &options);
    let body = |path: &str, method: &str| document["paths"][path][method]["requestBody"].clone();
    let any = json!({"*/*": {}});
    let whole = json!({"description": "Bytes of any content type, as they are.", "content": any});
    assert_eq!(body("/up", "post"), whole, "all messages of a stream together are not limited");
    assert_eq!(body("/files/{name}", "put")["description"], "Bytes of any content type, as they are. At most 7 bytes.");
    assert_eq!(document["paths"]["/down"]["get"]["responses"]["200"]["content"], any);
    assert!(document["paths"]["/collect"].is_null(), "a stream of JSON has no HTTP form");
}
