use http::{
    StatusCode,
    header::{ETAG, IF_NONE_MATCH},
};
use http_body_util::BodyExt as _;
use serde_json::Value;
use transcode::Registry;

use super::*;
use crate::test_contracts::compile;

const PATH: &str = "/openapi.json";

/// A document of the second of two forms: the first one is hidden.
fn documents() -> OpenApi {
    let pool = compile(
        r#"syntax = "proto3"; package t; import "google/api/annotations.proto";
           service S { rpc A(R) returns (R) { option (google.api.http) = {get: "/v1/{a}"}; }
                       rpc B(R) returns (R) { option (google.api.http) = {get: "/v2/{a}"}; } }
           message R { string a = 1; }"#,
    );
    let registry = Registry::new(&pool);
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let table = Arc::new(RouteTable::build(methods.map(|method| (&registry, method))).unwrap());
    let mut all = OpenApi::default();
    let options = Options { title: "T".to_owned(), ..Options::default() };
    all.add(PATH.to_owned(), options.clone(), &table, vec![(1, Terms::default())]);
    all.add("/openapi/none.json".to_owned(), options, &table, Vec::new());
    all
}

fn respond(all: &OpenApi, method: Method, stored: Option<&HeaderValue>) -> Response<Full<Bytes>> {
    let headers = stored.map(|tag| (IF_NONE_MATCH, tag.clone())).into_iter().collect();
    all.respond(&method, PATH, &headers, &Compression::default()).unwrap()
}

#[tokio::test]
async fn document_lists_only_forms_that_requests_reach() {
    let all = documents();
    let body = respond(&all, Method::GET, None).into_body().collect().await.unwrap().to_bytes();
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["paths"].as_object().unwrap().keys().collect::<Vec<_>>(), ["/v2/{a}"]);
    let none = all.respond(&Method::GET, "/openapi/none.json", &HeaderMap::new(), &Compression::default());
    assert!(none.is_none(), "it has no forms");
}

#[test]
fn stored_document_is_not_sent_again() {
    let all = documents();
    let tag = respond(&all, Method::GET, None).headers()[ETAG].clone();
    assert_eq!(respond(&documents(), Method::GET, None).headers()[ETAG], tag, "the same document has the same tag");
    let weak = HeaderValue::try_from(format!("\"x\", W/{}", tag.to_str().unwrap())).unwrap();
    for stored in [&tag, &weak, &HeaderValue::from_static("*")] {
        for method in [Method::GET, Method::HEAD] {
            let response = respond(&all, method, Some(stored));
            assert_eq!((response.status(), &response.headers()[ETAG]), (StatusCode::NOT_MODIFIED, &tag));
            assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        }
    }
    assert_eq!(respond(&all, Method::GET, Some(&HeaderValue::from_static("\"x\""))).status(), StatusCode::OK);
}

#[test]
fn document_takes_only_get_and_head() {
    let all = documents();
    assert_eq!(respond(&all, Method::HEAD, None).status(), StatusCode::OK);
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let response = respond(&all, method, None);
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "GET, HEAD");
    }
}

#[tokio::test]
async fn index_lists_documents_with_forms() {
    let all = documents();
    let list = || all.respond(&Method::GET, "/openapi", &HeaderMap::new(), &Compression::default()).unwrap();
    let response = list();
    assert!(all.index.get().is_some(), "it is made once");
    let index: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(index, json!({"documents": [{"title": "T", "path": PATH}]}));
    assert!(OpenApi::default().respond(&Method::GET, "/openapi", &HeaderMap::new(), &Compression::default()).is_none());
}
