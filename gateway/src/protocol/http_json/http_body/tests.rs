use std::sync::Arc;

use http::{HeaderName, Request, StatusCode, header::ACCEPT};
use transcode::http_rule::RouteTable;

use super::*;
use crate::{
    config::Json,
    protocol::{ClientProtocol, HttpForms, HttpRequest, RequestDecoder},
    test_contracts::compile,
};

const LIMIT: usize = 1_000;

/// A call of the service below, whose head has been read.
fn call(method: &str, uri: &str, headers: &[(&str, &str)]) -> ClientProtocol {
    let (call, refusal) = read_call(method, uri, headers);
    assert!(refusal.is_none(), "{refusal:?}");
    call
}

fn read_call(method: &str, uri: &str, headers: &[(&str, &str)]) -> (ClientProtocol, Option<Status>) {
    let pool = compile(
        "syntax = \"proto3\"; package t; import \"google/api/annotations.proto\"; import \"google/api/httpbody.proto\";
         message Part { string name = 1; google.api.HttpBody content = 2; }
         service S {
           rpc Put(Part) returns (Part) {
             option (google.api.http) = { put: \"/files/{name}\" body: \"content\" response_body: \"content\" }; }
           rpc Upload(stream Part) returns (Part) {
             option (google.api.http) = { post: \"/files/{name}\" body: \"content\" }; }
           rpc Get(Part) returns (google.api.HttpBody) { option (google.api.http) = { get: \"/files/{name}\" }; }
           rpc Download(Part) returns (stream google.api.HttpBody) {
             option (google.api.http) = { get: \"/streams/{name}\" }; }
         }",
    );
    let registry = crate::protocol::registry(&pool);
    let methods: Vec<_> = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    let table = RouteTable::build(methods.into_iter().map(|method| (&registry, method))).unwrap();
    let forms = HttpForms::new(vec![Arc::new(table)], registry.clone(), &Json::default());
    let builder = Request::builder().method(method).uri(uri);
    let request =
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap();
    match forms.find(&request) {
        HttpRequest::Call(call) => {
            let mut call = ClientProtocol::Http(call);
            let refusal = call.read(&request, None, LIMIT).err();
            (call, refusal)
        }
        _ => panic!("no method has the path {uri}"),
    }
}

/// The message of a part: its name, and the fields of its content.
fn part(name: &str, content_type: &str, data: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    HttpBody { field: Some(2) }.append(content_type, data, &mut message);
    if !name.is_empty() {
        message.extend_from_slice(&[0x0a, u8::try_from(name.len()).unwrap()]);
        message.extend_from_slice(name.as_bytes());
    }
    message
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&head(message.len())[..], message].concat()
}

fn body(content_type: &str, data: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    HttpBody { field: None }.append(content_type, data, &mut message);
    frame(&message)
}

fn decode_all(decoder: &mut RequestDecoder, pieces: &[&'static [u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&decoder.decode(Bytes::from_static(piece)).unwrap());
    }
    out.extend_from_slice(&decoder.finish().unwrap());
    assert!(decoder.is_complete());
    out
}

#[test]
fn request_of_any_type_becomes_a_message() {
    let call = call("PUT", "/files/a", &[("content-type", "image/png")]);
    let decoded = decode_all(&mut call.decoder(None, LIMIT), &[b"\x89", b"PNG"]);
    assert_eq!(decoded, frame(&part("a", "image/png", b"\x89PNG")));
}

/// The first message of an upload has the content type and the fields of the path, also if the body is empty.
#[test]
fn pieces_of_an_upload_become_messages() {
    let call = call("POST", "/files/a", &[("content-type", "text/plain")]);
    let decoded = decode_all(&mut call.decoder(None, LIMIT), &[b"one", b"two"]);
    assert_eq!(decoded, [frame(&part("a", "text/plain", b"one")), frame(&part("", "", b"two"))].concat());
    assert_eq!(decode_all(&mut call.decoder(None, LIMIT), &[]), frame(&part("a", "text/plain", b"")));
    // A piece is split where its message would be larger than the limit.
    let long = vec![7; 2_500];
    let mut decoder = call.decoder(None, LIMIT);
    let frames = decoder.decode(long.into()).unwrap();
    let (mut reader, mut sizes) = (FrameReader::default(), Vec::new());
    reader.push(frames);
    while let Some((_, message)) = reader.next() {
        assert!(message.len() <= LIMIT);
        sizes.push(HttpBody { field: Some(2) }.find(&message).unwrap().data.len());
    }
    assert_eq!(sizes.iter().sum::<usize>(), 2_500);
    assert_eq!(sizes.len(), 3, "{sizes:?}");
}

#[test]
fn upload_with_a_content_encoding_is_refused() {
    let (refused, refusal) = read_call("POST", "/files/a", &[("content-encoding", "gzip")]);
    assert_eq!(refused.refuse(&refusal.unwrap()).status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[test]
fn response_has_the_content_type_of_its_message() {
    let call = call("GET", "/files/a", &[("accept", "text/*")]);
    let complete = |content_type: &str| {
        let mut encoder = call.encoder(None);
        let bytes = encoder.encode_all(body(content_type, b"<p>").into()).unwrap();
        let mut headers = HeaderMap::new();
        encoder.set_headers(&mut headers);
        call.complete(headers, bytes, &Status::ok(""), &HeaderMap::new(), None)
    };
    let page = complete("text/html");
    assert_eq!((page.status(), &page.body()[..]), (StatusCode::OK, &b"<p>"[..]));
    assert_eq!(
        (&page.headers()[CONTENT_TYPE], &page.headers()[CONTENT_SECURITY_POLICY]),
        (&HeaderValue::from_static("text/html"), &POLICY)
    );
    assert_eq!(complete("image/png").status(), StatusCode::NOT_ACCEPTABLE);
    assert_eq!(complete("text/javascript").headers()[CONTENT_TYPE], TEXT);
}

/// A failure after the first bytes must not look like their end.
#[test]
fn stream_returns_the_bytes_of_its_messages() {
    let frames = [body("a/b", b""), body("a/b", b"one"), body("c/d", b"two")].concat();
    for size in 1..=frames.len() {
        let mut encoder = call("GET", "/streams/a", &[("accept", "text/event-stream")]).encoder(None);
        assert!(encoder.can_state_failure());
        let pieces = frames.chunks(size).map(Bytes::copy_from_slice);
        let bytes: Vec<u8> = pieces.flat_map(|piece| encoder.encode_all(piece).unwrap()).collect();
        assert_eq!(bytes, b"onetwo", "pieces of {size}");
        assert!(!encoder.can_state_failure());
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("*/*"))]);
        encoder.set_headers(&mut headers);
        assert_eq!(headers[CONTENT_TYPE], "a/b");
        let trailers = [("grpc-status", "0"), ("x-a", "1")];
        let trailers = trailers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let end = encoder.end(trailers.into_iter().collect()).into_trailers().unwrap();
        assert_eq!((end.len(), &end["x-a"]), (1, &HeaderValue::from_static("1")));
    }
}

#[test]
fn scripts_and_styles_are_plain_text() {
    for script in ["text/javascript", "Application/ECMAScript; charset=utf-8", "text/jscript", "text/css"] {
        assert_eq!(safe_type(script.as_bytes()), TEXT, "{script}");
    }
    for kept in ["image/png", "text/html; charset=utf-8", "application/json"] {
        assert_eq!(safe_type(kept.as_bytes()), kept);
    }
    for invalid in [&b""[..], b"text", b"/", b"text/html\r\nset-cookie: a=b", b"a/\xff"] {
        assert_eq!(safe_type(invalid), BYTES, "{invalid:?}");
    }
}
