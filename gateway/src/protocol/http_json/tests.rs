//! JSON over HTTP with the project's own contracts.

use prost::Message as _;
use prost_reflect::DescriptorPool;
use proto::{
    messaging::v1::{
        Conversation, InvitationsChanged, NewEntry, SubscribeRequest, SubscribeResponse, subscribe_response::Event,
    },
    users::v1::{GetUserRequest, ListUsersRequest, UpdateUserRequest},
};
use serde_json::{Value, json};
use transcode::http_rule::RouteTable;

use http::{
    HeaderName,
    header::{ALLOW, CONTENT_TYPE},
};

use super::*;
use crate::{config, protocol::ClientProtocol};

const LIMIT: usize = 1_000;
const PROBLEM: &str = "application/problem+json";
const JSON: (&str, &str) = ("content-type", "application/json");

fn forms() -> Arc<HttpForms> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let registry = crate::protocol::registry(&pool);
    let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    let table = RouteTable::build(methods.map(|method| (&registry, method))).unwrap();
    HttpForms::new(vec![Arc::new(table)], registry, &config::Json::default())
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let builder = Request::builder().method(method).uri(uri);
    headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value)).body(()).unwrap()
}

fn call(method: &str, uri: &str, headers: &[(&str, &str)]) -> Arc<HttpJson> {
    let (call, refused) = read(method, uri, headers);
    assert!(refused.is_none(), "{refused:?}");
    call
}

/// A call, and its refusal if the gateway refuses to read it.
fn read(method: &str, uri: &str, headers: &[(&str, &str)]) -> (Arc<HttpJson>, Option<Status>) {
    let request = request(method, uri, headers);
    match forms().find(&request) {
        HttpRequest::Call(mut call) => {
            let refused = call.read(&request).err();
            (call, refused)
        }
        HttpRequest::Refused(refusal) => panic!("{refusal:?}"),
        HttpRequest::Nothing => panic!("no method has the path {uri}"),
    }
}

/// The message that the upstream receives.
fn message<M: prost::Message + Default>(call: &Arc<HttpJson>, body: &'static [u8]) -> M {
    let mut decoder = ClientProtocol::Http(Arc::clone(call)).decoder(None, LIMIT);
    decoder.decode(Bytes::from_static(body)).unwrap();
    let frame = decoder.finish().unwrap();
    M::decode(&frame[5..]).unwrap()
}

#[test]
fn path_query_and_body_state_the_request() {
    let get = call("GET", "/v1/users/u1", &[]);
    assert_eq!(get.path(), "/trellis.users.v1.UsersService/GetUser");
    assert_eq!(message::<GetUserRequest>(&get, b"").user_id, "u1");
    let list = call("GET", "/v1/users?query=a%20b&pageSize=3", &[]);
    let list: ListUsersRequest = message(&list, b"");
    assert_eq!((list.query.as_str(), list.page_size), ("a b", 3));
    let update = call("PATCH", "/v1/users/u1?update_mask=displayName,handle", &[JSON]);
    let update: UpdateUserRequest = message(&update, b"{\"displayName\": \"Ada\", \"userId\": \"u2\"}");
    let user = update.user.unwrap();
    assert_eq!((user.display_name.as_str(), user.user_id.as_str()), ("Ada", "u1"), "the path decides");
    assert_eq!(update.update_mask.unwrap().paths, ["display_name", "handle"]);
}

#[test]
fn header_states_the_etag_of_a_request() {
    let update = |tag| call("PATCH", "/v1/users/u1", &[JSON, ("if-match", tag)]);
    let etag = |call: &Arc<HttpJson>| message::<UpdateUserRequest>(call, b"{}").user.unwrap().etag;
    assert_eq!(etag(&update("\"r7\"")), "r7");
    assert_eq!(etag(&update("*")), "");
    assert_eq!(etag(&update("\"r7.AAAAAAAAAAAAAAAAAAAAAA\"")), "r7", "the tag of a response to GET");
    assert_eq!(etag(&update("\"r7,W/x\"")), "r7,W/x", "a comma within quotes is a part of the tag");
    // The strong comparison: a weak tag matches no state.
    let (weak, failure) = read("PATCH", "/v1/users/u1", &[JSON, ("if-match", "W/\"r7\"")]);
    assert_eq!(weak.refuse(&failure.unwrap()).status(), StatusCode::PRECONDITION_FAILED);
    let refused = |method, path, tag| read(method, path, &[JSON, ("if-match", tag)]).1.is_some();
    assert!(refused("POST", "/v1/conversations", "\"r7\""), "the condition would not be checked");
    for unusable in ["\"r7\", \"r8\"", "\"\"", ""] {
        assert!(refused("PATCH", "/v1/users/u1", unusable), "{unusable}");
    }
    let changed = update("\"r7\"").refuse(&Status::aborted("changed"));
    assert_eq!(changed.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(
        call("PATCH", "/v1/users/u1", &[JSON]).refuse(&Status::aborted("changed")).status(),
        StatusCode::CONFLICT
    );
}

#[test]
fn paths_without_a_call_are_refused_with_a_reason() {
    let forms = forms();
    let refused = |method, path: &str, accept| {
        let HttpRequest::Refused(refusal) = forms.find(&request(method, path, &[("accept", accept)])) else {
            panic!("a call")
        };
        refusal.response()
    };
    let response = refused("DELETE", "/v1/users/u1", "*/*");
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(refused("DELETE", "/v1/users/u1", PROBLEM).headers()[CONTENT_TYPE], PROBLEM);
    assert_eq!(
        refused("DELETE", "/v1/users/u1", "text/html,*/*;q=0.8").headers()[CONTENT_TYPE],
        "text/plain; charset=utf-8"
    );
    assert_eq!(refused("OPTIONS", "/v1/users/u1", "*/*").status(), StatusCode::NO_CONTENT);
    assert_eq!(
        (response.status(), response.headers()[ALLOW].to_str().unwrap()),
        (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD, OPTIONS, PATCH")
    );
    assert!(matches!(forms.find(&request("GET", "/v1/nothing", &[])), HttpRequest::Nothing));
    let long = format!("/v1/users/{}", "x".repeat(60_000));
    assert_eq!(refused("GET", &long, "*/*").status(), StatusCode::URI_TOO_LONG);
}

/// RFC 9110, section 15.5.6: a 405 response has `allow`.
#[test]
fn stream_has_no_head_and_lists_its_methods() {
    let forms = forms();
    let path = "/v1/conversations:subscribe";
    for (method, status) in [("HEAD", StatusCode::METHOD_NOT_ALLOWED), ("OPTIONS", StatusCode::NO_CONTENT)] {
        let HttpRequest::Refused(refusal) = forms.find(&request(method, path, &[])) else { panic!("{method}: a call") };
        let response = refusal.response();
        assert_eq!(
            (response.status(), response.headers()[ALLOW].to_str().unwrap()),
            (status, "GET, OPTIONS, POST"),
            "{method}"
        );
    }
}

/// RFC 9110, section 9.3.7.
#[test]
fn options_of_the_server_lists_all_methods() {
    let forms = forms();
    let HttpRequest::Refused(refusal) = forms.find(&request("OPTIONS", "*", &[])) else { panic!("a call") };
    let response = refusal.response();
    let methods = "DELETE, GET, HEAD, OPTIONS, PATCH, POST";
    assert_eq!((response.status(), response.headers()[ALLOW].to_str().unwrap()), (StatusCode::NO_CONTENT, methods));
    assert!(matches!(forms.find(&request("GET", "*", &[])), HttpRequest::Nothing));
}

#[test]
fn error_is_a_status_or_a_problem_document() {
    let status = kit::error::invalid_field("user_id", "ID_INVALID", "must be a UUID");
    let body = |accept| {
        let response = call("GET", "/v1/users/u1", &[("accept", accept)]).refuse(&status);
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        serde_json::from_slice::<Value>(response.body()).unwrap()
    };
    let plain = body("application/json");
    assert_eq!((&plain["code"], &plain["message"]), (&json!(3), &json!("user_id: must be a UUID")));
    let violation = json!({ "field": "user_id", "description": "must be a UUID" });
    let details = plain["details"].as_array().unwrap();
    assert!(details.iter().any(|detail| detail["fieldViolations"] == json!([violation])), "{plain}");
    let problem = body("text/html, application/problem+json;q=0.9");
    assert_eq!((&problem["status"], &problem["code"]), (&json!(400), &json!("INVALID_ARGUMENT")));
}

#[test]
fn messages_before_an_invalid_one_are_kept() {
    let stream = call("POST", "/v1/conversations:subscribe", &[JSON]);
    let mut encoder = ClientProtocol::Http(stream).encoder(None);
    // The second message is not protobuf.
    let (encoded, failure) = encoder.encode(Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\x01\xff"));
    assert_eq!(encoded, "{\"result\":{}}\n");
    assert_eq!(failure.unwrap().code(), Code::Internal);
}

/// The frames of a stream, in each form, however they are cut.
#[test]
fn messages_of_a_stream_are_lines_or_events() {
    let body = [&b"\0\0\0\0\0"[..], &b"\0\0\0\0\0"[..]].concat();
    let encoded = |accept, size| {
        let stream = call("POST", "/v1/conversations:subscribe", &[JSON, ("accept", accept)]);
        let mut encoder = ClientProtocol::Http(stream).encoder(None);
        let pieces = body.chunks(size).map(Bytes::copy_from_slice);
        let mut out: Vec<u8> = pieces.flat_map(|piece| encoder.encode_all(piece).unwrap()).collect();
        let failed = HeaderMap::from_iter([
            (HeaderName::from_static("grpc-status"), HeaderValue::from_static("14")),
            (HeaderName::from_static("grpc-message"), HeaderValue::from_static("gone")),
        ]);
        out.extend_from_slice(&encoder.end(failed).into_data().unwrap());
        String::from_utf8(out).unwrap()
    };
    for size in 1..body.len() {
        let lines = "{\"result\":{}}\n{\"result\":{}}\n{\"error\":{\"code\":14,\"message\":\"gone\"}}\n";
        assert_eq!(encoded("*/*", size), lines);
        let events = "retry: 3000\ndata: {}\n\ndata: {}\n\nevent: end\ndata: {\"code\":14,\"message\":\"gone\"}\n\n";
        assert_eq!(encoded("text/event-stream", size), events);
    }
}

/// Before the request is authenticated, only its path is known.
#[test]
fn query_is_read_after_detection() {
    let request = request("GET", "/v1/users?pagesize=1", &[]);
    let HttpRequest::Call(mut call) = forms().find(&request) else { panic!("no call") };
    assert!(call.fields.is_empty());
    assert_eq!(call.read(&request).unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(read("POST", "/v1/conversations", &[("content-type", "text/xml")]).0.refused_as.unwrap(), 415);
    let (_, lzma) = read("POST", "/v1/conversations", &[JSON, ("content-encoding", "lzma")]);
    assert!(lzma.unwrap().message().ends_with("supported are gzip, br, zstd"));
}

#[test]
fn too_large_body_is_a_status_of_http() {
    let call = call("POST", "/v1/conversations", &[JSON]);
    let mut decoder = ClientProtocol::Http(Arc::clone(&call)).decoder(None, LIMIT);
    let refused = decoder.decode(Bytes::from(vec![b' '; LIMIT + 1])).unwrap_err();
    assert_eq!(
        (refused.code(), call.refuse(&refused).status()),
        (Code::ResourceExhausted, StatusCode::PAYLOAD_TOO_LARGE)
    );
    let limited = kit::error::exhausted("RATE_LIMITED", "wait", Duration::from_secs(1));
    assert_eq!(call.refuse(&limited).status(), StatusCode::TOO_MANY_REQUESTS);
}

#[test]
fn trailers_are_in_the_last_line_or_event() {
    let ended = |accept, code: &'static str, with: &[(&'static str, &'static str)]| {
        let stream = call("POST", "/v1/conversations:subscribe", &[JSON, ("accept", accept)]);
        let mut encoder = ClientProtocol::Http(stream).encoder(None);
        let all = [("grpc-status", code)].into_iter().chain(with.iter().copied());
        let trailers = all.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        String::from_utf8(encoder.end(trailers.collect()).into_data().unwrap().to_vec()).unwrap()
    };
    let trailers = [("x-a", "1"), ("x-b-bin", "AQI")];
    assert_eq!(ended("*/*", "0", &[]), "");
    assert_eq!(ended("*/*", "0", &trailers), "{\"trailers\":{\"x-a\":[\"1\"],\"x-b-bin\":[\"AQI\"]}}\n");
    assert_eq!(
        ended("*/*", "5", &trailers[..1]),
        "{\"error\":{\"code\":5,\"message\":\"\"},\"trailers\":{\"x-a\":[\"1\"]}}\n"
    );
    assert_eq!(
        ended("text/event-stream", "0", &trailers[..1]),
        "retry: 3000\nevent: end\ndata: {\"code\":0,\"message\":\"\",\"trailers\":{\"x-a\":[\"1\"]}}\n\n"
    );
}

/// The cursor that the contract marks is the id of an event, and `Last-Event-ID` sets that of the request.
#[test]
fn cursor_of_a_stream_is_the_id_of_an_event() {
    let events =
        call("GET", "/v1/conversations:subscribe", &[("accept", "text/event-stream"), ("last-event-id", "c1")]);
    let request: SubscribeRequest = message(&events, b"");
    assert_eq!(request.resume_cursor, "c1");
    let again = call("GET", "/v1/conversations:subscribe?resumeCursor=c0", &[("last-event-id", "c1")]);
    assert_eq!(message::<SubscribeRequest>(&again, b"").resume_cursor, "c1", "EventSource repeats the URL");
    let mut encoder = ClientProtocol::Http(events).encoder(None);
    let mut encoded = |event| {
        let frame = [&[0, 0, 0, 0][..], &[0], &SubscribeResponse { event: Some(event) }.encode_to_vec()].concat();
        let mut frame = frame;
        frame[4] = u8::try_from(frame.len() - 5).unwrap();
        String::from_utf8(encoder.encode_all(frame.into()).unwrap().to_vec()).unwrap()
    };
    let entry = encoded(Event::Entry(NewEntry { cursor: "c2".to_owned(), entry: None }));
    assert_eq!(entry, "retry: 3000\nid: c2\ndata: {\"entry\":{\"cursor\":\"c2\"}}\n\n");
    let conversation =
        encoded(Event::Conversation(Conversation { cursor: "c3".to_owned(), ..Conversation::default() }));
    assert!(conversation.starts_with("id: c3\ndata: {"), "{conversation}");
    assert!(encoded(Event::InvitationsChanged(InvitationsChanged {})).starts_with("data: {"));
    let injected = encoded(Event::Entry(NewEntry { cursor: "c\nevent: end".to_owned(), entry: None }));
    assert!(injected.starts_with("data: {"), "{injected}");
}
