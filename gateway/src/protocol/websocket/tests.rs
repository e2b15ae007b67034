use http::{HeaderMap, HeaderName, StatusCode};
use tonic::Code;

use super::*;
use crate::protocol::framing::frame;

/// The header names and values of a frame's metadata; `None`: the frame is refused.
fn metadata(text: &str) -> Option<Vec<(String, String)>> {
    let Ok(ClientFrame::Metadata(metadata)) = ClientFrame::parse(text) else { return None };
    let mut headers = HeaderMap::from_iter([(HeaderName::from_static("x-a"), HeaderValue::from_static("handshake"))]);
    metadata.replace(&mut headers);
    let pairs = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    Some(pairs.collect())
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn frame_of_a_client_has_one_member() {
    for (text, json) in [
        (r#"{"message": {"a": [1, "}"]}}"#, r#"{"a": [1, "}"]}"#),
        (r#" {"message":"x"} "#, r#""x""#),
        (r#"{"message":null}"#, "null"),
    ] {
        let Ok(ClientFrame::Message(message)) = ClientFrame::parse(text) else { panic!("{text}") };
        assert_eq!(message, json);
    }
    assert!(matches!(ClientFrame::parse(r#"{"end": true}"#), Ok(ClientFrame::End)));
    let deep = format!("{{\"message\": {}", "[".repeat(1_000_000));
    let long = format!("{{\"{}\": 1}}", "é".repeat(1_000));
    let long_name = format!("{{\"metadata\": {{\"{}\": \"1\"}}}}", "é".repeat(1_000));
    for text in [
        "",
        "1",
        "null",
        "[]",
        "{}",
        "{",
        r#"{"end": false}"#,
        r#"{"end": 1}"#,
        r#"{"end": true, "message": 1}"#,
        r#"{"metadata": {}, "message": 1}"#,
        r#"{"message": 1, "message": 2}"#,
        r#"{"message": 1, "other": 2}"#,
        r#"{"message": }"#,
        r#"{"end": true} {"end": true}"#,
        &deep,
        &long,
        &long_name,
    ] {
        let refused = ClientFrame::parse(text).map(|frame| panic!("{frame:?}")).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().len() < 500, "{}", refused.message());
    }
}

#[test]
fn metadata_replaces_headers_of_the_handshake() {
    assert_eq!(metadata(r#"{"metadata": {}}"#), Some(vec![pair("x-a", "handshake")]));
    let all = metadata(r#"{"metadata": {"X-A": "1", "authorization": ["t"], "x-b": ["1", "2"]}}"#).unwrap();
    assert_eq!(all.len(), 4);
    for (name, value) in [("x-a", "1"), ("authorization", "t"), ("x-b", "1"), ("x-b", "2")] {
        assert!(all.contains(&pair(name, value)), "{name}: {all:?}");
    }
    for own in ["Origin", "cookie", "host", "sec-fetch-site", "content-length", "upgrade", ":path", "a b", "", "ä"] {
        assert_eq!(metadata(&format!("{{\"metadata\": {{\"{own}\": \"1\"}}}}")), None, "{own}");
    }
    for value in [r#""a\r\nb""#, r#""a\u0000""#, "1", "null", r#"["a", 1]"#, r#"{"a": "b"}"#] {
        assert_eq!(metadata(&format!("{{\"metadata\": {{\"x\": {value}}}}}")), None, "{value}");
    }
}

#[test]
fn text_frames_are_whole_however_the_body_is_cut() {
    let body = [&frame(b"{\"a\":1}")[..], &frame(b"{}"), &end_frame("{\"status\":{}}".to_owned())].concat();
    for size in 1..=body.len() {
        let (mut frames, mut texts) = (TextFrames::default(), Vec::new());
        for piece in body.chunks(size) {
            frames.push(Bytes::copy_from_slice(piece));
            texts.extend(std::iter::from_fn(|| frames.next()));
        }
        let result = |text: &str| ServerFrame::Result(text.to_owned());
        let status = ServerFrame::Status("{\"status\":{}}".to_owned());
        assert_eq!(texts, [result("{\"result\":{\"a\":1}}"), result("{\"result\":{}}"), status], "pieces of {size}");
    }
}

#[test]
fn status_has_the_trailers_beside_it() {
    let trailers = [("grpc-status", "5"), ("grpc-message", "no%20shop"), ("x-a", "1")];
    let trailers = trailers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let mut frames = TextFrames::default();
    frames.push(end(None, &HeaderMap::from_iter(trailers)).into_data().unwrap());
    let expected = "{\"status\":{\"code\":5,\"message\":\"no shop\"},\"trailers\":{\"x-a\":[\"1\"]}}";
    assert_eq!(frames.next(), Some(ServerFrame::Status(expected.to_owned())));
}

fn handshake_with(changed: &[(&'static str, Option<&'static str>)]) -> Request<()> {
    let usual = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "other, trellis.json.v1"),
    ];
    let mut request = Request::new(());
    let usual = usual.into_iter().map(|(name, value)| (name, Some(value)));
    for (name, value) in usual.chain(changed.iter().copied()) {
        request.headers_mut().remove(name);
        if let Some(value) = value {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    request
}

#[test]
fn handshake_accepts_the_key() {
    let request = handshake_with(&[]);
    assert!(is_handshake(&request));
    let response = handshake(request.headers(), CALL_SUBPROTOCOL, true).unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    // The example of RFC 6455, section 1.3.
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(response.headers()["sec-websocket-protocol"], "trellis.json.v1");
    assert_eq!(handshake(request.headers(), CALL_SUBPROTOCOL, false).unwrap_err().code, StatusCode::FORBIDDEN);
}

#[test]
fn malformed_handshake_is_refused() {
    for (header, value, status) in [
        ("sec-websocket-version", None, StatusCode::UPGRADE_REQUIRED),
        ("sec-websocket-version", Some("8"), StatusCode::UPGRADE_REQUIRED),
        ("sec-websocket-key", None, StatusCode::BAD_REQUEST),
        ("sec-websocket-key", Some("c2hvcnQ="), StatusCode::BAD_REQUEST),
        ("sec-websocket-key", Some("not base64"), StatusCode::BAD_REQUEST),
        ("sec-websocket-protocol", None, StatusCode::BAD_REQUEST),
        ("sec-websocket-protocol", Some("other"), StatusCode::BAD_REQUEST),
    ] {
        let request = handshake_with(&[(header, value)]);
        let refusal = handshake(request.headers(), CALL_SUBPROTOCOL, true).unwrap_err();
        assert_eq!(refusal.code, status, "{header}: {value:?}");
        let states_version = refusal.status.metadata().contains_key("sec-websocket-version");
        assert_eq!(states_version, status == StatusCode::UPGRADE_REQUIRED, "{header}: {value:?}");
    }
    for (header, value) in [("upgrade", None), ("upgrade", Some("h2c")), ("connection", Some("keep-alive"))] {
        assert!(!is_handshake(&handshake_with(&[(header, value)])), "{header}: {value:?}");
    }
}

/// A page must not read the session cookie, which a browser would neither hide nor store.
#[test]
fn cookies_are_in_no_frame() {
    let cookie = ("set-cookie", "session=secret; HttpOnly");
    let headers = |names: &[(&'static str, &'static str)]| -> HeaderMap {
        names.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    };
    assert_eq!(metadata_text(&headers(&[cookie])), None);
    assert_eq!(metadata_text(&headers(&[cookie, ("x-a", "1")])).unwrap(), "{\"metadata\":{\"x-a\":[\"1\"]}}");
    let end = end_text(None, &Status::new(Code::Ok, ""), &headers(&[cookie, ("x-a", "1")]));
    assert!(end.contains("\"x-a\"") && !end.contains("secret"), "{end}");
}

/// More values than a `HeaderMap` can hold must not end the connection's task.
#[test]
fn metadata_with_too_many_values_is_refused() {
    let names: Vec<String> = (0..40_000).map(|number| format!("\"x{number}\":\"\"")).collect();
    let text = format!("{{\"metadata\":{{{}}}}}", names.join(","));
    assert_eq!(ClientFrame::parse(&text).unwrap_err().code(), Code::InvalidArgument);
}
