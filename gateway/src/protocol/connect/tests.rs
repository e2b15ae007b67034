//! Connect as its specification states it.

use std::io::Write as _;

use http::header::CONTENT_TYPE;
use prost::Message as _;
use prost_reflect::DescriptorPool;
use serde_json::json;
use transcode::Registry;

use super::*;
use crate::{config::Json, protocol::ClientProtocol};

const LIMIT: usize = 100;

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let builder = Request::builder().method(method).uri(uri);
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap()
}

fn post(headers: &[(&str, &str)]) -> ClientProtocol {
    read(&post_request(headers)).map_err(|(status, _)| status).unwrap()
}

fn post_request(headers: &[(&str, &str)]) -> Request<()> {
    request("POST", "/acme.v1.Shop/Buy", &[&[("content-type", "application/proto")], headers].concat())
}

fn post_as(content_type: &str) -> ClientProtocol {
    ClientProtocol::detect(&request("POST", "/acme.v1.Shop/Buy", &[("content-type", content_type)])).unwrap()
}

fn get(query: &str) -> Option<ClientProtocol> {
    ClientProtocol::detect(&get_request("GET", query))
}

fn get_request(method: &str, query: &str) -> Request<()> {
    request(method, &format!("/acme.v1.Shop/Look?{query}"), &[])
}

/// The call after its head has been read, or its refusal and the status of HTTP.
fn read(request: &Request<()>) -> Result<ClientProtocol, (Status, u16)> {
    let mut protocol = ClientProtocol::detect(request).expect("a call");
    match protocol.read(request, None, LIMIT) {
        Ok(()) => Ok(protocol),
        Err(status) => {
            let code = protocol.refuse(&status).status().as_u16();
            Err((status, code))
        }
    }
}

/// A method of the project's own contracts.
fn method(path: &str) -> Arc<MethodCodec> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let (service, method) = path.split_once('/').unwrap();
    let method = pool.get_service_by_name(service).unwrap().methods().find(|one| one.name() == method).unwrap();
    Arc::new(MethodCodec::new(method, &Registry::new(&pool), &Json::default()).unwrap())
}

fn decode(protocol: &ClientProtocol, body: &[u8]) -> Result<Bytes, Code> {
    let mut decoder = protocol.decoder(None, LIMIT);
    for piece in body.chunks(7).map(Bytes::copy_from_slice) {
        assert!(decoder.decode(piece).map_err(|status| status.code())?.is_empty());
    }
    assert!(!decoder.is_complete());
    let frame = decoder.finish().map_err(|status| status.code())?;
    assert!(decoder.is_complete());
    assert!(decoder.finish().unwrap().is_empty(), "the frame is returned once");
    Ok(frame)
}

#[test]
fn the_body_of_a_request_is_one_message() {
    assert_eq!(decode(&post(&[]), b"message of the call").unwrap(), &b"\0\0\0\0\x13message of the call"[..]);
    assert_eq!(decode(&post(&[]), b"").unwrap(), &b"\0\0\0\0\0"[..]);
    assert_eq!(decode(&post(&[]), &[7; LIMIT]).unwrap().len(), 5 + LIMIT);
    assert_eq!(decode(&post(&[]), &[7; LIMIT + 1]), Err(Code::ResourceExhausted));
}

#[test]
fn a_compressed_request_is_decompressed() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(b"message").unwrap();
    let gzip = gzip.finish().unwrap();
    let protocol = post(&[("content-encoding", "gzip")]);
    assert_eq!(decode(&protocol, &gzip).unwrap(), &b"\0\0\0\0\x07message"[..]);
    assert_eq!(decode(&protocol, b"message"), Err(Code::InvalidArgument));
    for request in [
        post_request(&[("content-encoding", "lzma")]),
        get_request("GET", "encoding=proto&compression=lzma&message="),
        stream_request(&[("connect-content-encoding", "lzma")]),
    ] {
        let (refused, _) = read(&request).unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
        assert!(refused.message().ends_with("supported are gzip, br, zstd"), "{}", refused.message());
    }
    // A zero-length body is not decompressed.
    assert_eq!(decode(&protocol, b"").unwrap(), &b"\0\0\0\0\0"[..]);
}

fn stream_request(headers: &[(&str, &str)]) -> Request<()> {
    request("POST", "/acme.v1.Shop/Look", &[&[("content-type", "application/connect+proto")], headers].concat())
}

/// Not every upstream could decompress them.
#[test]
fn compressed_messages_of_a_stream_are_decompressed() {
    let packed = zstd::stream::encode_all(&b"message"[..], 3).unwrap();
    let compressed =
        [&[1, 0, 0, 0, u8::try_from(packed.len()).unwrap()], &packed[..], b"\0\0\0\0\x01x\x01\0\0\0\0"].concat();
    let stream = stream_of(&[("connect-content-encoding", "zstd")]);
    let decoded = stream.decoder(None, LIMIT).decode(compressed.into()).unwrap();
    assert_eq!(decoded, &b"\0\0\0\0\x07message\0\0\0\0\x01x\0\0\0\0\0"[..]);
    assert!(matches!(stream_of(&[]).decoder(None, LIMIT), crate::protocol::RequestDecoder::Frames));
}

fn stream_of(headers: &[(&str, &str)]) -> ClientProtocol {
    read(&stream_request(headers)).map_err(|(status, _)| status).unwrap()
}

#[test]
fn the_message_of_a_get_request_is_in_its_query() {
    let messages = [
        ("message=AQID_-8&base64=1&encoding=proto&connect=v1", &[1, 2, 3, 0xff, 0xef][..]),
        ("connect=v1&encoding=proto&base64=1&message=AQ%3D%3D", &[1]),
        ("connect=v1&encoding=proto&message=a%20%00b", b"a \0b"),
        ("connect=v1&encoding=proto&message=a+b", b"a b"),
        ("connect=v1&encoding=proto&message=", b""),
        // The version is optional, names and values may be percent-encoded, and other parameters do not matter.
        ("encoding=proto&message=a", b"a"),
        ("m%65ssage=a&encoding=%70roto&connect=%761&page=2", b"a"),
        ("encoding=proto&base64=%31&message=AQ", &[1]),
        ("encoding=proto&base64=0&message=AQ", b"AQ"),
    ];
    for ((query, message), method) in messages.into_iter().flat_map(|of| [(of, "GET"), (of, "HEAD")]) {
        let frame = decode(&read(&get_request(method, query)).map_err(|(status, _)| status).unwrap(), b"").unwrap();
        assert_eq!((&frame[5..], frame[4]), (message, message.len() as u8), "{method} {query}");
    }
    assert!(get("page=2").is_none(), "an ordinary page");
    let with_body =
        get("connect=v1&encoding=proto&message=").unwrap().decoder(None, LIMIT).decode("x".into()).unwrap_err();
    assert_eq!(with_body.code(), Code::InvalidArgument, "a body would be missing in the key of a cache");
    for (bad, code) in [
        ("connect=v2&encoding=proto&message=", 400),
        ("connect=v1&message=", 400),
        ("connect=v1&encoding=proto", 400),
        ("connect=v1&encoding=proto&base64=1&message=A", 400),
        ("connect=v1&encoding=xml&message=", 415),
        ("encoding=&message=", 415),
        ("connect=v1&encoding=proto&compression=lzma&message=", 501),
    ] {
        assert_eq!(read(&get_request("GET", bad)).unwrap_err().1, code, "{bad}");
    }
}

/// The client may wait for `100 Continue` before it sends the body.
#[test]
fn announced_body_over_the_limit_is_refused() {
    for (length, code) in [("100", None), ("101", Some(429)), ("99999999999999999999", None)] {
        let refused = read(&post_request(&[("content-length", length)])).err();
        assert_eq!(refused.map(|(_, code)| code), code, "{length}");
    }
    assert!(read(&stream_request(&[("content-length", "101")])).is_ok(), "frames are bounded one by one");
}

#[test]
fn get_is_for_methods_without_side_effects() {
    let protocol = get("connect=v1&encoding=proto&message=").unwrap();
    let check = |path| protocol.check(Version::HTTP_11, Some(&method(path))).map_err(|status| status.code());
    assert_eq!(check("trellis.users.v1.UsersService/GetUser"), Ok(()));
    assert_eq!(check("trellis.messaging.v1.MessagingService/SendMessage"), Err(Code::Unimplemented));
    assert_eq!(protocol.check(Version::HTTP_11, None).unwrap_err().code(), Code::Unimplemented);
}

#[test]
fn a_stream_is_no_unary_call() {
    let subscribe = method("trellis.messaging.v1.MessagingService/Subscribe");
    let refused = post(&[]).check(Version::HTTP_2, Some(&subscribe)).unwrap_err();
    assert!(refused.message().contains("application/connect+proto"), "{}", refused.message());
    let stream = request("POST", "/acme.v1.Shop/Look", &[("content-type", "application/connect+proto")]);
    ClientProtocol::detect(&stream).unwrap().check(Version::HTTP_2, Some(&subscribe)).unwrap();
}

#[test]
fn json_becomes_protobuf_and_back() {
    let get_user = method("trellis.users.v1.UsersService/GetUser");
    let protocol = post_as("application/json");
    let frame = {
        let mut decoder = protocol.decoder(Some(&get_user), LIMIT);
        decoder.decode(Bytes::from_static(b"{\"userId\": \"u1\"}")).unwrap();
        decoder.finish().unwrap()
    };
    assert_eq!(frame, &b"\0\0\0\0\x04\x0a\x02u1"[..]);
    let message = proto::users::v1::GetUserResponse {
        user: Some(proto::users::v1::User { handle: "ada".into(), ..Default::default() }),
    };
    let mut frame = vec![0; 5];
    frame[4] = u8::try_from(message.encoded_len()).unwrap();
    frame.extend(message.encode_to_vec());
    let json = protocol.encoder(Some(&get_user)).encode_all(frame.into()).unwrap();
    assert_eq!(json, r#"{"user":{"handle":"ada"}}"#);
    let refused = protocol.check(Version::HTTP_11, None).unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented, "a method without descriptors");
}

#[test]
fn json_frames_become_grpc_frames_and_back() {
    let get_user = method("trellis.users.v1.UsersService/GetUser");
    let protocol = post_as("application/connect+json");
    let json = b"\0\0\0\0\x0f{\"userId\":\"u1\"}";
    let twice = Bytes::from([&json[..], &json[..]].concat());
    let grpc = b"\0\0\0\0\x04\x0a\x02u1";
    for size in 1..=twice.len() {
        let mut decoder = protocol.decoder(Some(&get_user), LIMIT);
        let pieces = (0..twice.len()).step_by(size).map(|at| twice.slice(at..twice.len().min(at + size)));
        let decoded: Vec<u8> = pieces.flat_map(|piece| decoder.decode(piece).unwrap()).collect();
        assert_eq!(decoded, [&grpc[..], &grpc[..]].concat(), "pieces of {size}");
        assert!(decoder.is_complete());
    }
    let code = |frame: &'static [u8]| {
        let mut decoder = protocol.decoder(Some(&get_user), LIMIT);
        decoder.decode(Bytes::from_static(frame)).map_err(|status| status.code())
    };
    assert_eq!(code(b"\0\0\0\0\x01{"), Err(Code::InvalidArgument));
    assert_eq!(code(b"\x01\0\0\0\x02{}"), Err(Code::InvalidArgument), "compressed without an encoding");
    assert_eq!(code(b"\0\0\0\xff\xff"), Err(Code::ResourceExhausted));
    let mut truncated = protocol.decoder(Some(&get_user), LIMIT);
    truncated.decode(twice.slice(..30)).unwrap();
    assert_eq!(truncated.finish().unwrap_err().code(), Code::InvalidArgument, "the body ends within a message");
}

/// A small compressed body must not become all of its messages at once.
#[test]
fn json_frames_are_converted_in_batches() {
    const MESSAGE: usize = 60_000;
    let get_user = method("trellis.users.v1.UsersService/GetUser");
    let stream = &[("content-type", "application/connect+json"), ("connect-content-encoding", "zstd")];
    let protocol = read(&request("POST", "/acme.v1.Shop/Look", stream)).map_err(|(status, _)| status).unwrap();
    let json = format!("{{\"userId\":\"{}\"}}", "x".repeat(MESSAGE));
    let packed = zstd::stream::encode_all(json.as_bytes(), 3).unwrap();
    let mut frame = vec![1, 0, 0, 0, u8::try_from(packed.len()).unwrap()];
    frame.extend(packed);
    let mut decoder = protocol.decoder(Some(&get_user), 2 * MESSAGE);
    let mut batches = vec![decoder.decode(frame.repeat(50).into()).unwrap().len()];
    while decoder.has_more() {
        batches.push(decoder.decode(Bytes::new()).unwrap().len());
    }
    assert!(batches.iter().all(|bytes| *bytes < 3 * MESSAGE), "{batches:?}");
    assert!(batches.iter().sum::<usize>() > 50 * MESSAGE && decoder.is_complete());
}

#[test]
fn version_and_timeout_are_read_or_refused() {
    for (version, is_known) in [("1", true), ("2", false)] {
        for request in [post_request, stream_request] {
            assert_eq!(read(&request(&[("connect-protocol-version", version)])).is_ok(), is_known, "{version}");
        }
    }
    let timeout = |value| {
        let headers = HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_static(value))]);
        post(&[]).timeout(&headers).map_err(|status| status.code())
    };
    assert_eq!(post(&[]).timeout(&HeaderMap::new()).unwrap(), None);
    assert_eq!(timeout("1500"), Ok(Some(Duration::from_millis(1_500))));
    assert_eq!(timeout("0"), Err(Code::DeadlineExceeded));
    for bad in ["", "-1", "+1", "1.5", "10000000000", "1s"] {
        assert_eq!(timeout(bad), Err(Code::InvalidArgument), "{bad}");
    }
}

#[test]
fn headers_are_translated() {
    let map = |all: &[(&'static str, &'static str)]| -> HeaderMap {
        all.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    };
    let mut unary = map(&[
        ("connect-protocol-version", "1"),
        ("connect-timeout-ms", "5"),
        ("connect-made-up", "1"),
        ("content-encoding", "gzip"),
        ("accept-encoding", "gzip"),
        ("grpc-timeout", "1S"),
        ("grpc-made-up", "1"),
        ("x-kept", "1"),
    ]);
    post(&[]).translate_request(&mut unary);
    assert_eq!(unary, map(&[("x-kept", "1")]));
    let stream = stream_of(&[]);
    let accepted = ("connect-accept-encoding", "gzip, br");
    let mut headers =
        map(&[("connect-content-encoding", "gzip"), ("connect-made-up", "1"), ("grpc-encoding", "gzip"), accepted]);
    stream.translate_request(&mut headers);
    assert_eq!(headers, map(&[("grpc-accept-encoding", "gzip, br")]));
    let of_upstream = [("connect-made-up", "1"), ("grpc-made-up", "1"), ("trailer-x", "1"), ("x-kept", "1")];
    let mut headers = map(&[&[("grpc-encoding", "gzip")], &of_upstream[..]].concat());
    stream.translate_response(&mut headers);
    assert_eq!(headers, map(&[("connect-content-encoding", "gzip"), ("x-kept", "1")]));
    let mut headers = map(&of_upstream);
    post(&[]).translate_response(&mut headers);
    assert_eq!(headers, map(&[("x-kept", "1")]));
}

#[test]
fn a_unary_response_is_the_message() {
    let protocol = post(&[]);
    let mut encoder = protocol.encoder(None);
    assert!(encoder.encode_all(Bytes::from_static(b"\0\0\0")).unwrap().is_empty());
    assert!(encoder.lacks_message());
    let message = encoder.encode_all(Bytes::from_static(b"\0\x01x")).unwrap();
    assert_eq!((&message[..], encoder.lacks_message()), (&b"x"[..], false));
    assert_eq!(encoder.encode_all(Bytes::from_static(b"\0\0\0\0\0")).unwrap_err().code(), Code::Internal);
    let compressed = protocol.encoder(None).encode_all(Bytes::from_static(b"\x01\0\0\0\0")).unwrap_err();
    assert_eq!(compressed.code(), Code::Internal);
    let mut trailers = HeaderMap::new();
    for value in ["1", "2"] {
        trailers.append("x-cost", HeaderValue::from_static(value));
    }
    let response = protocol.complete(HeaderMap::new(), message, &Status::new(Code::Ok, ""), &trailers, None);
    assert_eq!((response.status(), response.body().as_ref()), (http::StatusCode::OK, &b"x"[..]));
    assert_eq!(response.headers().get_all("trailer-x-cost").iter().collect::<Vec<_>>(), ["1", "2"]);
}

#[test]
fn a_response_to_get_is_sent_once() {
    let query = "/acme.v1.Shop/Look?encoding=proto&message=";
    let respond_with = |body: &'static [u8], known: &[(&str, &str)]| {
        let protocol = ClientProtocol::detect(&request("GET", query, known)).unwrap();
        let (head, body, ok) = (HeaderMap::new(), Bytes::from_static(body), Status::new(Code::Ok, ""));
        protocol.let_store(protocol.complete(head, body, &ok, &HeaderMap::new(), None))
    };
    let respond = |known: &[(&str, &str)]| respond_with(b"shop", known);
    let first = respond(&[]);
    assert_ne!(first.headers()["etag"], respond_with(b"other", &[]).headers()["etag"]);
    assert_eq!((first.status(), first.body().as_ref()), (http::StatusCode::OK, &b"shop"[..]));
    assert_eq!(first.headers()["cache-control"], "private, no-cache");
    let tag = first.headers()["etag"].to_str().unwrap();
    for known in [tag, &format!("\"other\", W/{tag}"), "*"] {
        let again = respond(&[("if-none-match", known)]);
        assert_eq!((again.status().as_u16(), again.body().len()), (304, 0), "{known}");
    }
    assert_eq!(respond(&[("if-none-match", "\"other\"")]).status(), 200);
}

#[test]
fn an_error_is_json_with_its_details() {
    let status = kit::error::status(Code::NotFound, "SHOP_CLOSED", "no shop");
    let response = post(&[]).refuse(&status);
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let object: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!((&object["code"], &object["message"]), (&json!("not_found"), &json!("no shop")));
    assert_eq!(object["details"][0]["type"], "google.rpc.ErrorInfo");
    let value = object["details"][0]["value"].as_str().unwrap();
    let value = base64::Engine::decode(&base64::engine::general_purpose::STANDARD_NO_PAD, value).unwrap();
    assert_eq!(tonic_types::pb::ErrorInfo::decode(&value[..]).unwrap().reason, "SHOP_CLOSED");
}

#[test]
fn the_last_frame_of_a_stream_has_the_status() {
    let end = |trailers| {
        let data = super::end(trailers).into_data().unwrap();
        assert_eq!((data[0], data[4] as usize), (2, data.len() - 5));
        serde_json::from_slice::<serde_json::Value>(&data[5..]).unwrap()
    };
    let trailers = |all: &[(&'static str, &'static str)]| -> HeaderMap {
        all.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    };
    assert_eq!(end(trailers(&[("grpc-status", "0")])), json!({}));
    assert_eq!(end(trailers(&[("grpc-status", "0"), ("x-a", "1")])), json!({ "metadata": { "x-a": ["1"] } }));
    let failed = end(trailers(&[("grpc-status", "5"), ("grpc-message", "no%20shop")]));
    assert_eq!(failed, json!({ "error": { "code": "not_found", "message": "no shop" } }));
}
