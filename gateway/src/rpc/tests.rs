//! The decisions about one call: which step refuses it, what the upstream receives, and how the response ends.

mod decisions;
mod graphql;
mod harness;

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use http::HeaderName;
use kit::{
    identity::{CLIENT_ADDRESS, SERVICE_TOKEN},
    principal::MeshService,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use harness::{EXTERNAL, Fixture, GET_JWKS, GRPC, Headers, LIST, MESSAGE, REFRESH, TEXT, WEB, header};

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

/// The values of these headers, each of which occurs once.
fn values<'a, const N: usize>(headers: &'a HeaderMap, names: [&str; N]) -> [&'a str; N] {
    names.map(|name| headers[name].to_str().unwrap())
}

/// Each request has the fault of its own step and those of later steps. Only a call without a fault reaches the
/// upstream.
#[tokio::test]
async fn first_step_that_fails_decides_about_a_call() {
    let fixture = Fixture::start().await;
    let user = ("authorization", fixture.user);
    let made_up = ("authorization", "Bearer made-up");
    let (cookie, other) = (("cookie", "trellis_session_a=1"), ("origin", "http://other.test"));
    let late = ("grpc-timeout", "soon");
    // The path, the headers, the reason, and the decisions of the rate limiter.
    let cases: [(&str, &Headers, &str, usize); 10] = [
        // Made-up requests are limited too.
        ("/unknown.v1.Service/Method", &[made_up, made_up, cookie, other, late], "UNKNOWN_METHOD", 1),
        (REFRESH, &[made_up, made_up, cookie, other, late], "HEADER_REPEATED", 0),
        (REFRESH, &[cookie, other, late], "CROSS_ORIGIN", 0),
        (LIST, &[late], "SIGN_IN_REQUIRED", 0),
        (LIST, &[made_up, late], "TOKEN_INVALID", 0),
        (LIST, &[user, late], "TIMEOUT_MALFORMED", 1),
        (LIST, &[user, ("grpc-timeout", "0S")], "DEADLINE_EXCEEDED", 1),
        (LIST, &[user], "", 1),
        // A public method is counted by address, and does not need the invalid token.
        (GET_JWKS, &[made_up], "", 1),
        (REFRESH, &[cookie], "", 1),
    ];
    for (path, headers, expected, decisions) in cases {
        let (counted, forwarded) = (fixture.limiter.decisions.load(SeqCst), fixture.seen.lock().len());
        let received = fixture.call(path, GRPC, headers).await;
        let (code, reason) = received.status();
        let states_quota = received.head.contains_key("ratelimit");
        assert_eq!(states_quota, decisions == 1, "a counted call states the rest of the quota: {path} {headers:?}");
        assert_eq!((reason.as_str(), code == Code::Ok), (expected, expected.is_empty()), "{path} {headers:?}");
        assert_eq!(fixture.limiter.decisions.load(SeqCst) - counted, decisions, "{path} {headers:?}");
        assert_eq!(fixture.seen.lock().len() - forwarded, usize::from(expected.is_empty()), "{path} {headers:?}");
    }
    fixture.limiter.refuses.store(true, SeqCst);
    let refused = fixture.call(LIST, GRPC, &[user, late]).await;
    assert_eq!(refused.status(), (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
    assert_eq!(refused.head["retry-after"], "7");
    assert!(refused.head.contains_key("ratelimit"), "{:?}", refused.head);
    let unknown = fixture.call("/unknown.v1.Service/Method", GRPC, &[]).await;
    assert_eq!(unknown.status(), (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
}

/// The query and the encodings are read after authentication and the rate limits.
#[tokio::test]
async fn head_is_read_after_the_caller_is_known() {
    let fixture = Fixture::start().await;
    let user = ("authorization", fixture.user);
    let cases: [(_, &str, &Headers, u16); 7] = [
        (("GET", "/v1/auth/sessions?made_up=1"), "", &[], 401),
        (("GET", "/v1/auth/sessions?made_up=1"), "", &[user], 400),
        (("POST", "/v1/auth/sessions:revokeAll"), "text/xml", &[], 401),
        (("POST", "/v1/auth/sessions:revokeAll"), "text/xml", &[user], 415),
        (("POST", LIST), "application/proto", &[("content-encoding", "lzma")], 401),
        (("POST", LIST), "application/proto", &[user, ("content-encoding", "lzma")], 501),
        (("POST", LIST), "application/proto", &[user, ("connect-protocol-version", "2")], 400),
    ];
    for (target, content_type, headers, status) in cases {
        let counted = fixture.limiter.decisions.load(SeqCst);
        let received = fixture.send(target, content_type, headers, "").await;
        assert_eq!(received.http, status, "{target:?} {headers:?}");
        let decisions = fixture.limiter.decisions.load(SeqCst) - counted;
        assert_eq!(decisions, usize::from(status != 401), "{target:?} {headers:?}");
    }
}

/// The metadata of a response without a body are trailers, wherever the client's protocol has them.
#[tokio::test]
async fn trailers_only_metadata_are_trailers() {
    let fixture = Fixture::start().await;
    let reply = [("x-reply", "trailers-only")];
    let targets = [
        (("POST", GET_JWKS), "application/proto", ""),
        (("GET", "/v1/auth/jwks"), "", ""),
        (("POST", GET_JWKS), "application/connect+proto", "\0\0\0\0\0"),
    ];
    for (target, content_type, message) in targets {
        let received = fixture.send(target, content_type, &reply, message).await;
        let head = &received.head;
        assert!(!head.contains_key("x-why") && !head.contains_key("grpc-made-up"), "{content_type}: {head:?}");
        assert!(!head.contains_key("trailer-grpc-made-up") && !head.contains_key("grpc-status"), "{head:?}");
        // HTTP itself has this one.
        assert_eq!(head["retry-after"], "7", "{content_type}");
        if content_type == "application/connect+proto" {
            let end: serde_json::Value = serde_json::from_slice(&received.body[5..]).unwrap();
            assert_eq!(end["error"]["code"], "not_found");
            assert_eq!(end["metadata"], serde_json::json!({ "x-head": ["1"], "x-why": ["closed"] }));
        } else {
            assert_eq!((received.http.as_u16(), values(head, ["trailer-x-why"])), (404, ["closed"]));
        }
    }
}

/// Dropping a call cancels it at the upstream, and a deadline ends it there too.
#[tokio::test]
async fn calls_of_every_protocol_are_cancelled_alike() {
    let fixture = Fixture::start().await;
    let silence = ("x-reply", "silence");
    let targets: [(_, &str, &str, (&'static str, &'static str)); 6] = [
        (("POST", GET_JWKS), GRPC, "\0\0\0\0\0", ("grpc-timeout", "20m")),
        (("POST", GET_JWKS), WEB, "\0\0\0\0\0", ("grpc-timeout", "20m")),
        (("POST", GET_JWKS), TEXT, "AAAAAAA=", ("grpc-timeout", "20m")),
        (("POST", GET_JWKS), "application/proto", "", ("connect-timeout-ms", "20")),
        (("POST", GET_JWKS), "application/connect+json", "\0\0\0\0\x02{}", ("connect-timeout-ms", "20")),
        (("GET", "/v1/auth/jwks"), "", "", ("grpc-timeout", "20m")),
    ];
    for (number, (target, content_type, message, timeout)) in targets.into_iter().enumerate() {
        let seen = async |count| {
            while fixture.cancelled.load(SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let wait = Duration::from_secs(20);
        let sent = fixture.seen.lock().len();
        {
            let headers = [silence];
            let mut call = std::pin::pin!(fixture.send(target, content_type, &headers, message));
            let arrived = async {
                while fixture.seen.lock().len() == sent {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                _ = &mut call => panic!("{content_type}: a response"),
                () = arrived => {}
            }
        }
        tokio::time::timeout(wait, seen(2 * number + 1)).await.unwrap_or_else(|_| panic!("{content_type}: the call"));
        let late = fixture.send(target, content_type, &[silence, timeout], message).await;
        let text = String::from_utf8_lossy(&late.body).into_owned();
        let stated =
            late.http == 504 || text.contains("deadline_exceeded") || late.status().0 == Code::DeadlineExceeded;
        assert!(stated, "{content_type}: {text}");
        tokio::time::timeout(wait, seen(2 * number + 2))
            .await
            .unwrap_or_else(|_| panic!("{content_type}: the deadline"));
    }
}

/// HTTP/1.1 cannot carry the trailers of gRPC: that is refused before the other faults of the request.
#[tokio::test]
async fn grpc_over_http1_is_refused_first() {
    let fixture = Fixture::start().await;
    let mut stream = TcpStream::connect(fixture.address).await.unwrap();
    let lines = format!("POST {LIST} HTTP/1.1\r\nhost: a\r\ncontent-type: {GRPC}\r\ncontent-length: 0\r\n");
    let faults = "connection: close\r\nauthorization: a\r\nauthorization: b\r\n\r\n";
    stream.write_all((lines + faults).as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.contains("grpc-status: 12\r\n") && response.contains("gRPC%20requires%20HTTP/2"), "{response}");
    // It is counted.
    assert_eq!(fixture.limiter.decisions.load(SeqCst), 1);
}

#[tokio::test]
async fn service_receives_caller_and_headers_of_the_call() {
    let fixture = Fixture::start().await;
    let headers = [
        ("authorization", fixture.user),
        ("x-trellis-service-token", "made up"),
        ("x-trellis-client-address", "10.0.0.1"),
        ("cookie", "trellis_session_a=1"),
        ("origin", "http://other.test"),
        ("x-grpc-web", "1"),
        ("x-kept", "1"),
    ];
    assert_eq!(fixture.call(LIST, TEXT, &headers).await.status().0, Code::Ok);
    let seen = fixture.last_seen();
    let expected = [
        "authorization",
        "content-type",
        "grpc-timeout",
        "te",
        "traceparent",
        "x-kept",
        "x-trellis-client-address",
        "x-trellis-client-scheme",
        "x-trellis-service-token",
    ];
    assert_eq!(names(&seen), expected);
    assert_eq!(values(&seen, ["content-type", "te"]), ["application/grpc+proto", "trailers"]);
    let known = values(&seen, ["authorization", CLIENT_ADDRESS, CLIENT_SCHEME]);
    assert_eq!(known, [fixture.user, "127.0.0.1", "http"]);
    let peer = fixture.upstream.verify(seen[SERVICE_TOKEN].to_str().unwrap());
    assert_eq!(peer, Ok(MeshService::new("gateway")));
    // Only the session cookie, and only for a method that reads it.
    fixture.call(REFRESH, GRPC, &[("cookie", "theme=dark; trellis_session_a=1")]).await;
    assert_eq!(fixture.last_seen()[COOKIE], "trellis_session_a=1");
}

#[tokio::test]
async fn external_upstream_receives_no_credential_of_the_client() {
    let fixture = Fixture::start().await;
    let headers = [
        ("cookie", "trellis_session_a=1"),
        ("x-api-key", "secret"),
        ("x-forwarded-for", "10.0.0.1"),
        ("origin", "http://other.test"),
        ("x-kept", "1"),
    ];
    assert_eq!(fixture.call(EXTERNAL, GRPC, &headers).await.status().0, Code::Ok);
    let seen = fixture.last_seen();
    assert_eq!(names(&seen), ["content-type", "te", "traceparent", "x-forwarded-for", "x-kept"]);
    assert_eq!(seen["x-forwarded-for"], "127.0.0.1");
    // A user is named by a token of the gateway.
    fixture.call(EXTERNAL, GRPC, &[("authorization", fixture.user)]).await;
    let token = fixture.last_seen()[http::header::AUTHORIZATION].clone();
    assert!(token.to_str().unwrap().starts_with("Bearer ") && token != fixture.user);
}

#[tokio::test]
async fn earlier_deadline_of_client_and_contract_is_forwarded() {
    let fixture = Fixture::start().await;
    let cases: [(&Headers, u64); 3] = [(&[], 5), (&[("grpc-timeout", "2S")], 2), (&[("grpc-timeout", "1H")], 5)];
    for (headers, seconds) in cases {
        fixture.call(GET_JWKS, WEB, headers).await;
        let forwarded = grpc::parse_timeout(fixture.last_seen()[grpc::TIMEOUT].as_bytes()).unwrap();
        let most = Duration::from_secs(seconds);
        assert!(forwarded <= most && forwarded > most - Duration::from_secs(1), "{forwarded:?} of {most:?}");
    }
    // The same in the protocols with headers and paths of their own.
    let others: [(_, &str, &str, &str, &str); 6] = [
        (("POST", GET_JWKS), "application/proto", "", "connect-timeout-ms", "2000"),
        (("POST", GET_JWKS), "application/proto", "", "connect-timeout-ms", "9999999999"),
        (("POST", GET_JWKS), "application/connect+proto", "\0\0\0\0\0", "connect-timeout-ms", "2000"),
        (("POST", GET_JWKS), "application/connect+proto", "\0\0\0\0\0", "connect-timeout-ms", "9999999999"),
        (("GET", "/v1/auth/jwks"), "", "", "grpc-timeout", "2S"),
        (("GET", "/v1/auth/jwks"), "", "", "grpc-timeout", "99999999H"),
    ];
    for (target, content_type, message, name, value) in others {
        fixture.send(target, content_type, &[(name, value)], message).await;
        let forwarded = grpc::parse_timeout(fixture.last_seen()[grpc::TIMEOUT].as_bytes()).unwrap();
        let most = Duration::from_secs(if value.starts_with('2') { 2 } else { 5 });
        assert!(forwarded <= most && forwarded > most - Duration::from_secs(1), "{content_type}: {forwarded:?}");
    }
    for content_type in [GRPC, WEB, TEXT] {
        let timeout = [("x-reply", "silence"), ("grpc-timeout", "30m")];
        let late = fixture.call(GET_JWKS, content_type, &timeout).await;
        assert_eq!(late.status(), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned()));
        // A refusal is a head alone, in the client's protocol.
        assert_eq!(values(&late.head, ["content-type"]), [content_type]);
        assert_eq!((late.body.len(), late.trailers), (0, None));
    }
}

#[tokio::test]
async fn response_ends_as_the_clients_protocol_requires() {
    let fixture = Fixture::start().await;
    for content_type in [GRPC, WEB, TEXT] {
        let received = fixture.call(GET_JWKS, content_type, &[]).await;
        assert_eq!(values(&received.head, ["content-type", "x-head"]), [content_type, "1"]);
        assert!(!received.head.contains_key("grpc-status") && !received.is_reset);
        assert!(received.frames().starts_with(&MESSAGE), "{:?}", received.body);
        let trailers = if content_type == GRPC {
            assert_eq!(received.body, MESSAGE);
            received.trailers.unwrap()
        } else {
            assert_eq!(received.trailers, None, "browsers do not read trailers");
            received.web_trailers()
        };
        assert_eq!(trailers, [("grpc-status", "0"), ("x-trailer", "1")].map(header).into_iter().collect());
        let alone = fixture.call(GET_JWKS, content_type, &[("x-reply", "trailers-only")]).await;
        assert_eq!(values(&alone.head, ["grpc-status", "grpc-message"]), ["5", "no shop"]);
        assert_eq!((alone.body.len(), alone.trailers), (0, None));
    }
}

#[tokio::test]
async fn truncated_message_is_never_a_success() {
    let fixture = Fixture::start().await;
    let truncated = [("x-reply", "truncated")];
    let received = fixture.call(GET_JWKS, GRPC, &truncated).await;
    assert_eq!((received.status(), &received.body[..]), ((Code::Internal, "RESPONSE_CUT".to_owned()), &MESSAGE[..5]));
    // In gRPC-Web, the trailers would be read as a part of the message.
    for content_type in [WEB, TEXT] {
        let received = fixture.call(GET_JWKS, content_type, &truncated).await;
        assert!(received.is_reset && received.frames() == MESSAGE[..5], "{:?}", received.body);
    }
}

#[tokio::test]
async fn failure_of_the_upstream_becomes_a_status() {
    let fixture = Fixture::start().await;
    let cases = [
        ("reset", Code::Cancelled, "RESPONSE_CUT"),
        ("reset-later", Code::Cancelled, "RESPONSE_CUT"),
        ("html", Code::Unavailable, "NOT_GRPC"),
    ];
    for (kind, code, reason) in cases {
        for content_type in [GRPC, WEB, TEXT] {
            let received = fixture.call(EXTERNAL, content_type, &[("x-reply", kind)]).await;
            assert_eq!(received.status(), (code, reason.to_owned()), "{kind} {content_type}");
        }
    }
}
