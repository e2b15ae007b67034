//! Requests that no client means well.

use super::{random::Random, *};
use crate::{ErrorKind, Limits};

/// Parts of requests that are mixed at random.
const PARTS: [&str; 40] = [
    "/",
    "/v1",
    "/users",
    "/conversations",
    "/messages",
    "/members",
    ":batchGet",
    ":leave",
    ":",
    "..",
    ".",
    "%2e",
    "%2F",
    "%",
    "%zz",
    "%00",
    "%C0%AF",
    "%F0%9F%98%80",
    "é",
    "😀",
    "a",
    "0",
    "-",
    "+",
    "&",
    "=",
    "page_size=",
    "pageSize=7",
    "user.",
    "user_ids=x",
    "updateMask=",
    "a,b",
    "{",
    "}",
    "\"",
    "[",
    ",",
    "null",
    " ",
    "\u{0}",
];

#[test]
fn random_requests_fail_cleanly() {
    let table = table(&DescriptorPool::decode(proto::DESCRIPTORS).unwrap());
    let mut random = Random(0xBAD_C0DE);
    let text = |start: &str, parts: usize, random: &mut Random| {
        let count = random.below(parts);
        (0..count).fold(start.to_owned(), |text, _| text + random.of(&PARTS))
    };
    let (mut found_any, mut accepted) = (0, 0);
    for _ in 0..40_000 {
        let start = random.of(&["", "/v1/users", "/v1/users/x", "/v1/conversations/x", "/v1/messagingSettings"]);
        let path = text(start, 4, &mut random);
        let method = random.of(&["GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "", "*"]);
        let Lookup::Found(found) = table.find(method, &path) else { continue };
        found_any += 1;
        // Most requests have only one odd part.
        let odd = random.below(4);
        let query = if odd & 1 == 0 { text(random.of(&["", "pageSize=1&"]), 4, &mut random) } else { String::new() };
        let body = if odd & 2 == 0 { text(random.of(&["", "{"]), 4, &mut random) } else { String::new() };
        let mut encoded = Vec::new();
        match found.append_request(Some(&query), body.as_bytes(), &RequestOptions::default(), &mut encoded) {
            Ok(()) => {
                accepted += 1;
                let decoded = DynamicMessage::decode(found.binding.method().input(), encoded.as_slice());
                decoded.unwrap_or_else(|e| panic!("{method} {path:?} {query:?} {body:?}: {e}"));
            }
            Err(_) => assert!(encoded.is_empty(), "{method} {path:?} {query:?} {body:?}"),
        }
    }
    assert!(found_any > 5_000 && accepted > 500, "{found_any} {accepted}");
}

#[test]
fn limits_apply_to_bodies() {
    let table = table(&DescriptorPool::decode(proto::DESCRIPTORS).unwrap());
    let Lookup::Found(found) = table.find("POST", "/v1/conversations") else { panic!() };
    let limits = Limits { input: 10, ..Limits::default() };
    let options = RequestOptions { limits, ..RequestOptions::default() };
    let error = found.append_request(None, br#"{"title":"long"}"#, &options, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, RequestError::Body(error) if error.kind == ErrorKind::TooLong));
}

#[test]
fn errors_show_little_of_long_input() {
    let table = table(&DescriptorPool::decode(proto::DESCRIPTORS).unwrap());
    let long = "x".repeat(4000);
    for line in [
        format!("GET /v1/users?{long}=1"),
        format!("GET /v1/users?page_size={long}"),
        format!("GET /v1/users?{long}.y"),
    ] {
        let error = request(&table, &line, "").unwrap_err();
        assert!(error.len() < 250, "{error}");
    }
}
