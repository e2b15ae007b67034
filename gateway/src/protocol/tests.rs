//! Each protocol detects, decodes, encodes, ends and refuses as its specification states.

use http::{
    Method,
    header::{ACCEPT, CONTENT_TYPE},
};
use tonic::Code;

use super::*;

impl ResponseEncoder {
    /// Like [`Self::encode`], for a piece without an invalid message.
    pub(crate) fn encode_all(&mut self, piece: Bytes) -> Result<Bytes, Box<Status>> {
        match self.encode(piece) {
            (encoded, None) => Ok(encoded),
            (_, Some(status)) => Err(status),
        }
    }
}

/// The size of the largest message.
const LIMIT: usize = 1_000;

fn request(method: Method, content_type: &str, accept: &str) -> Request<()> {
    let builder = Request::builder().method(method).uri("/acme.v1.Shop/Buy");
    builder.header(CONTENT_TYPE, content_type).header(ACCEPT, accept).body(()).unwrap()
}

fn detected(content_type: &str) -> Option<ClientProtocol> {
    ClientProtocol::detect(&request(Method::POST, content_type, "*/*"))
}

/// The name of the protocol, as a table shows it.
fn name(protocol: &ClientProtocol) -> &'static str {
    match protocol {
        ClientProtocol::Grpc(_) => "grpc",
        ClientProtocol::Web(_) => "web",
        ClientProtocol::WebText(_) => "web-text",
        ClientProtocol::Connect(_) => "connect",
        ClientProtocol::ConnectStream(_) => "connect-stream",
        ClientProtocol::Http(_) => "http",
        ClientProtocol::WebSocket(_) => "websocket",
    }
}

#[test]
fn a_content_type_states_protocol_and_encoding() {
    let cases = [
        ("application/grpc", "grpc", "application/grpc", "application/grpc"),
        ("application/grpc+proto", "grpc", "application/grpc+proto", "application/grpc+proto"),
        ("application/grpc-web", "web", "application/grpc", "application/grpc-web+proto"),
        ("Application/GRPC-Web+Proto", "web", "application/grpc+Proto", "application/grpc-web+Proto"),
        ("application/grpc-web-text", "web-text", "application/grpc", "application/grpc-web-text+proto"),
        ("application/grpc-web+json; x=y", "web", "application/grpc+json", "application/grpc-web+json"),
        ("application/proto", "connect", "application/grpc+proto", "application/proto"),
        ("Application/Connect+Proto", "connect-stream", "application/grpc+proto", "application/connect+proto"),
    ];
    for (content_type, protocol, upstream, response) in cases {
        let client_protocol = detected(content_type).unwrap();
        assert_eq!(name(&client_protocol), protocol, "{content_type}");
        assert_eq!(client_protocol.upstream_type(), upstream, "{content_type}");
        assert_eq!(client_protocol.response_type(), response, "{content_type}");
    }
}

#[test]
fn the_accept_header_can_request_a_base64_response() {
    let of = |content_type, accept| ClientProtocol::detect(&request(Method::POST, content_type, accept)).unwrap();
    let asked = of("application/grpc-web+proto", "application/grpc-web-text");
    assert_eq!(name(&asked), "web-text");
    assert!(matches!(asked.decoder(None, LIMIT), RequestDecoder::Frames), "the request itself is binary");
    assert_eq!(asked.response_type(), "application/grpc-web-text+proto");
    assert_eq!(name(&of("application/grpc-web+proto", "*/*")), "web");
    let text = of("application/grpc-web-text", "*/*");
    assert_eq!(name(&text), "web-text");
    assert!(matches!(text.decoder(None, LIMIT), RequestDecoder::Base64(_)));
    assert_eq!(name(&of("application/grpc", "application/grpc-web-text")), "grpc");
}

#[test]
fn other_content_types_and_methods_are_no_calls() {
    for content_type in ["application/xml", "application/grpcx", "application/grpc-webby", "text/html", ""] {
        assert!(detected(content_type).is_none(), "{content_type}");
    }
    for method in [Method::GET, Method::OPTIONS, Method::PUT] {
        assert!(ClientProtocol::detect(&request(method, "application/grpc", "*/*")).is_none());
    }
}

#[test]
fn only_grpc_needs_http2() {
    let all =
        [("grpc", true), ("grpc-web", false), ("grpc-web-text", false), ("proto", false), ("connect+proto", false)];
    for (content_type, needs_http2) in all {
        let client_protocol = detected(&format!("application/{content_type}")).unwrap();
        assert!(client_protocol.check(Version::HTTP_2, None).is_ok());
        assert_eq!(client_protocol.check(Version::HTTP_11, None).is_err(), needs_http2, "{content_type}");
        assert_eq!(client_protocol.is_for_browsers(), !needs_http2, "{content_type}");
    }
}

#[test]
fn a_timeout_is_read_or_refused() {
    let headers = |value| HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), HeaderValue::from_static(value))]);
    for content_type in ["application/grpc", "application/grpc-web", "application/grpc-web-text"] {
        let client_protocol = detected(content_type).unwrap();
        let code = |value| client_protocol.timeout(&headers(value)).map_err(|status| status.code());
        assert_eq!(client_protocol.timeout(&HeaderMap::new()).unwrap(), None);
        assert_eq!(code("2S"), Ok(Some(Duration::from_secs(2))));
        assert_eq!(code("0S"), Err(Code::DeadlineExceeded));
        assert_eq!(code("soon"), Err(Code::InvalidArgument));
    }
}

/// Binary bodies are not copied.
#[test]
fn frames_pass_in_the_clients_encoding() {
    let frame = Bytes::from_static(&[0, 0, 0, 0, 1, 7]);
    for content_type in ["application/grpc", "application/grpc-web", "application/connect+proto"] {
        let client_protocol = detected(content_type).unwrap();
        let (mut decoder, mut encoder) = (client_protocol.decoder(None, LIMIT), client_protocol.encoder(None));
        assert_eq!(decoder.decode(frame.clone()).unwrap().as_ptr(), frame.as_ptr());
        assert!(decoder.is_complete());
        assert_eq!(encoder.encode_all(frame.clone()).unwrap().as_ptr(), frame.as_ptr());
    }
    let text = detected("application/grpc-web-text").unwrap();
    let (mut decoder, mut encoder) = (text.decoder(None, LIMIT), text.encoder(None));
    let encoded = encoder.encode_all(frame.clone()).unwrap();
    assert_eq!(encoded, "AAAAAAEH");
    assert_eq!(decoder.decode(encoded.slice(..5)).unwrap(), frame[..3]);
    assert!(!decoder.is_complete());
    assert_eq!(decoder.decode(encoded.slice(5..)).unwrap(), frame[3..]);
    assert!(decoder.is_complete());
}

#[test]
fn a_response_ends_with_its_status() {
    let trailers = || HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let end = |content_type| {
        let mut encoder = detected(content_type).unwrap().encoder(None);
        (encoder.can_end_within_message(), encoder.end(trailers()))
    };
    let (within_message, frame) = end("application/grpc");
    assert_eq!((within_message, frame.into_trailers().unwrap()), (true, trailers()));
    let (within_message, frame) = end("application/grpc-web");
    let data = frame.into_data().unwrap();
    assert_eq!((within_message, &data[..]), (false, &b"\x80\0\0\0\x10grpc-status: 0\r\n"[..]));
    let (within_message, frame) = end("application/grpc-web-text");
    assert_eq!((within_message, frame.into_data().unwrap()), (false, base64::encode(&data)));
}

#[test]
fn a_refusal_is_a_response_of_headers_alone() {
    for content_type in ["application/grpc", "application/grpc-web+proto", "application/grpc-web-text+proto"] {
        let refusal = detected(content_type).unwrap().refuse(&Status::not_found("no shop"));
        assert_eq!(refusal.status(), 200);
        assert_eq!(refusal.headers()["grpc-status"], "5");
        assert_eq!(refusal.headers()["grpc-message"], "no%20shop");
        assert_eq!(refusal.headers()[CONTENT_TYPE], content_type);
        assert!(refusal.body().is_empty());
    }
}
