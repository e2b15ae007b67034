//! Calls whose authorization service decides, or whose upstream states HTTP controls.

use super::{
    harness::{DECIDE, EXTERNAL, Fixture, GRPC, Headers},
    *,
};

/// A client cannot pass by an authorization service with a deadline of its own, also where the gateway fails open.
#[tokio::test]
async fn deadline_of_a_client_is_no_decision() {
    for fail_open in [true, false] {
        let fixture = Fixture::with(|config, upstream| {
            config.authorization.to = upstream.clone();
            config.authorization.fail_open = fail_open;
            config.authorization.timeout.0 = Duration::from_millis(400);
        })
        .await;
        // The connections exist, so that nothing but the decision delays a call.
        let late = fixture.call(EXTERNAL, GRPC, &[]).await;
        assert_eq!(late.status().0, if fail_open { Code::Ok } else { Code::Unavailable });
        assert_eq!(fixture.seen.lock().len(), usize::from(fail_open));
        for timeout in ["20m", "1m", "50u"] {
            let short = fixture.call(EXTERNAL, GRPC, &[("grpc-timeout", timeout)]).await;
            assert_eq!(short.status().0, Code::DeadlineExceeded, "{timeout}");
        }
        assert_eq!(fixture.seen.lock().len(), usize::from(fail_open), "a call without a decision is not forwarded");
    }
}

/// A gateway whose upstream may state the status and headers of HTTP.
async fn controlled(test: &str) -> Fixture {
    let contract = "syntax = \"proto3\"; package acme.v1;
         import \"google/api/annotations.proto\"; import \"google/api/httpbody.proto\";
         message Text { string kind = 1; string text = 2; }
         service Shop {
           rpc Read(Text) returns (Text) { option (google.api.http) = { get: \"/shop/read\" }; }
           rpc Download(Text) returns (stream google.api.HttpBody) {
             option (google.api.http) = { get: \"/shop/download\" }; }
         }";
    let file = std::env::temp_dir().join(format!("gateway-{test}-{}.bin", std::process::id()));
    std::fs::write(&file, crate::test_contracts::encoded(contract)).unwrap();
    let fixture = Fixture::with(|config, _| {
        config.external.get_mut("acme").unwrap().descriptors = file.to_str().unwrap().to_owned();
        config.http_controls = vec!["acme".to_owned()];
        config.compression.least_bytes = 32;
    })
    .await;
    std::fs::remove_file(&file).unwrap();
    fixture
}

#[tokio::test]
async fn compression_follows_http_controls() {
    let fixture = controlled("compression").await;
    let no_transform = ("x-set-header-cache-control", "public, no-transform");
    let cases: [(&Headers, u16, &str); 6] = [
        (&[], 200, "gzip"),
        (&[("x-set-status", "201")], 201, "gzip"),
        (&[("x-set-status", "302"), ("x-set-header-location", "/a")], 302, ""),
        (&[("x-set-status", "204")], 204, ""),
        (&[("x-set-status", "206"), ("x-set-header-content-range", "bytes 0-62/100")], 206, ""),
        (&[no_transform], 200, ""),
    ];
    for (controls, status, coding) in cases {
        let headers = [&[("x-reply", "text"), ("accept-encoding", "gzip")], controls].concat();
        let received = fixture.send(("GET", "/shop/read"), "", &headers, "").await;
        let found = received.head.get("content-encoding").map_or("", |coding| coding.to_str().unwrap());
        assert_eq!((received.http.as_u16(), found), (status, coding), "{:?}", received.head);
        assert_eq!(received.body.is_empty(), matches!(status, 302 | 204), "{status}");
        // Each coding has a tag of its own.
        assert_eq!(received.head.contains_key("etag"), status == 200);
    }
}

/// The controls describe the content, and not a failure.
#[tokio::test]
async fn stream_that_fails_at_once_has_no_http_controls() {
    let fixture = controlled("stream").await;
    let controls = [("x-set-status", "201"), ("x-set-header-cache-control", "public")];
    for (reply, status) in [("text", 201), ("nothing", 201), ("failure", 404)] {
        let headers = [&[("x-reply", reply)][..], &controls].concat();
        let received = fixture.send(("GET", "/shop/download"), "", &headers, "").await;
        let is_public = received.head.get("cache-control").is_some_and(|value| value == "public");
        assert_eq!((received.http.as_u16(), is_public), (status, status == 201), "{reply}: {:?}", received.head);
    }
}

/// The authorization service removes headers of the client, and none that the gateway sets.
#[tokio::test]
async fn decision_removes_headers_of_the_client_only() {
    let fixture = Fixture::with(|config, upstream| config.authorization.to = upstream.clone()).await;
    let headers = [("authorization", fixture.user), ("x-secret", "1"), ("x-request-id", DECIDE)];
    // Many servers do not distinguish `_` and `-`: the service must have decided by the value that the upstream reads.
    let alike = [("x_secret", "2"), ("x_request_id", "another")];
    assert_eq!(fixture.call(EXTERNAL, GRPC, &[&headers[..], &alike].concat()).await.status().0, Code::Ok);
    let seen = fixture.last_seen();
    for name in ["x-secret", "x_secret", "x_request_id"] {
        assert!(!seen.contains_key(name), "{seen:?}");
    }
    let known = values(&seen, ["x-forwarded-for", "authorization"]);
    assert!(known[0] == "127.0.0.1" && known[1].starts_with("Bearer ") && known[1] != fixture.user, "{known:?}");
}

/// A client learns when it may try again without a decision.
#[tokio::test]
async fn refusal_without_a_decision_states_when_to_retry() {
    let fixture = Fixture::with(|config, _| config.authorization.to = "http://127.0.0.1:1".into()).await;
    let refused = fixture.call(EXTERNAL, GRPC, &[]).await;
    assert_eq!((refused.status().0, values(&refused.head, ["retry-after"])), (Code::Unavailable, ["1"]));
}
