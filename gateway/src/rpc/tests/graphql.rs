//! Requests for GraphQL, which count as calls besides those that they make.

use std::sync::atomic::Ordering::SeqCst;

use serde_json::Value;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::harness::{Fixture, Headers};

const JSON: &str = "application/json";
/// Makes no call.
const TYPE: &str = "{\"query\": \"{ __typename }\"}";
const GZIPPED: (&str, &str) = ("content-encoding", "gzip");

#[tokio::test]
async fn graphql_request_is_checked_and_limited() {
    let fixture = Fixture::start().await;
    let cases: [(&str, &Headers, &str, u16, &str, usize); 9] = [
        (JSON, &[], TYPE, 200, "", 1),
        (JSON, &[], "{", 400, "BAD_REQUEST", 1),
        ("text/plain", &[], TYPE, 415, "UNSUPPORTED_MEDIA_TYPE", 1),
        (JSON, &[("accept", "text/html")], TYPE, 406, "NOT_ACCEPTABLE", 1),
        (JSON, &[("content-type", JSON)], TYPE, 400, "HEADER_REPEATED", 0),
        (JSON, &[("grpc-timeout", "1S"), ("grpc-timeout", "2S")], TYPE, 400, "HEADER_REPEATED", 0),
        (JSON, &[("authorization", "a"), ("authorization", "b")], TYPE, 400, "HEADER_REPEATED", 0),
        (JSON, &[("content-encoding", "lzma")], TYPE, 415, "ENCODING_UNSUPPORTED", 1),
        (JSON, &[GZIPPED], TYPE, 400, "BODY_MALFORMED", 1),
    ];
    for (content_type, headers, body, status, code, decisions) in cases {
        let counted = fixture.limiter.decisions.load(SeqCst);
        let received = fixture.send(("POST", "/graphql"), content_type, headers, body).await;
        let json: Value = serde_json::from_slice(&received.body).unwrap();
        let stated = json["errors"][0]["extensions"]["code"].as_str().unwrap_or_default();
        assert_eq!((received.http.as_u16(), stated), (status, code), "{headers:?} {json}");
        assert_eq!(fixture.limiter.decisions.load(SeqCst) - counted, decisions, "{headers:?}");
        assert_eq!(received.head.contains_key("ratelimit"), decisions == 1, "{headers:?}");
        assert_eq!(received.head.contains_key("accept-encoding"), code == "ENCODING_UNSUPPORTED");
    }
    fixture.limiter.refuses.store(true, SeqCst);
    let refused = fixture.send(("POST", "/graphql"), JSON, &[], TYPE).await;
    assert_eq!((refused.http.as_u16(), &refused.head["retry-after"]), (429, &"7".parse().unwrap()));
}

#[tokio::test]
async fn graphql_body_over_the_limit_is_not_awaited() {
    let fixture = Fixture::start().await;
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    let head = b"POST /graphql HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
        content-length: 99999999\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 413");
}

#[tokio::test]
async fn mutation_as_events_sets_its_cookie() {
    let fixture = Fixture::start().await;
    let body = "{\"query\": \"mutation { refreshToken { __typename } }\"}";
    let headers: &Headers = &[("accept", "text/event-stream"), ("x-reply", "cookie")];
    let received = fixture.send(("POST", "/graphql"), JSON, headers, body).await;
    let text = String::from_utf8_lossy(&received.body);
    assert_eq!(received.head.get("set-cookie"), Some(&"a=1".parse().unwrap()), "{text}");
    assert!(text.ends_with("event: complete\ndata:\n\n"), "{text}");
}

#[tokio::test]
async fn headers_of_the_connection_do_not_reach_calls() {
    let fixture = Fixture::start().await;
    let body = "{\"query\": \"{ getJwks { __typename } }\"}";
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: x-local\r\nx-local: 1\r\nx-other: 1\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 12]).await.unwrap();
    let seen = fixture.last_seen();
    assert_eq!((seen.contains_key("x-local"), seen.contains_key("x-other")), (false, true), "{seen:?}");
}
