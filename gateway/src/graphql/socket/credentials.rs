//! The payload of `connection_init`: browsers cannot set headers of a handshake, so that it holds them.

use http::{
    HeaderMap, HeaderName,
    header::{CONNECTION, COOKIE, UPGRADE},
};
use serde_json::{Map, Value};

use crate::protocol::websocket::Metadata;

/// The headers of the connection, which are not those of its operations.
const OF_CONNECTION: [HeaderName; 3] = [CONNECTION, UPGRADE, COOKIE];
/// The prefix of the headers of a handshake.
const HANDSHAKE: &str = "sec-websocket-";

/// The headers of a handshake that its operations have. A browser would send its cookies for a page that has none to send,
/// and stores no cookie that a frame holds: so none counts.
pub(super) fn of_handshake(mut headers: HeaderMap) -> HeaderMap {
    for name in OF_CONNECTION {
        headers.remove(name);
    }
    let own: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with(HANDSHAKE)).cloned().collect();
    for name in own {
        headers.remove(name);
    }
    headers
}

/// Adds the headers that the payload states: its `authorization`, and those in `headers`. They replace those of the
/// handshake. Other members are for other servers. An Err states the problem.
pub(super) fn add(headers: &mut HeaderMap, mut payload: Map<String, Value>) -> Result<(), String> {
    let mut metadata = match payload.remove("headers") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(stated)) => stated,
        Some(_) => return Err("`headers` of the payload is not an object".to_owned()),
    };
    metadata.extend(payload.into_iter().filter(|(name, _)| name.eq_ignore_ascii_case("authorization")));
    metadata.retain(|_, value| !value.is_null());
    Metadata::of_json(metadata)?.replace(headers);
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{
        HeaderValue,
        header::{AUTHORIZATION, ORIGIN},
    };
    use serde_json::json;

    use super::*;

    fn added(payload: Value) -> Result<HeaderMap, String> {
        let handshake = [
            (CONNECTION, "upgrade"),
            (UPGRADE, "websocket"),
            (COOKIE, "session=secret"),
            (ORIGIN, "https://a.example"),
            (AUTHORIZATION, "Bearer old"),
            (HeaderName::from_static("sec-websocket-key"), "a"),
        ];
        let mut headers =
            of_handshake(handshake.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect());
        add(&mut headers, payload.as_object().cloned().unwrap())?;
        Ok(headers)
    }

    #[test]
    fn payload_replaces_headers_of_the_handshake() {
        for payload in [
            json!({ "authorization": "Bearer new" }),
            json!({ "Authorization": "Bearer new", "other": { "a": 1 } }),
            json!({ "headers": { "Authorization": "Bearer new" } }),
        ] {
            let headers = added(payload).unwrap();
            assert_eq!(headers[AUTHORIZATION], "Bearer new");
            assert_eq!(headers.len(), 2, "{headers:?}");
        }
        assert_eq!(added(json!({ "authorization": null })).unwrap()[AUTHORIZATION], "Bearer old");
    }

    #[test]
    fn payload_states_no_headers_of_the_connection() {
        for headers in
            [json!({ "origin": "https://b.example" }), json!({ "cookie": "a=b" }), json!([]), json!({ "a": 1 })]
        {
            assert!(added(json!({ "headers": headers })).is_err(), "{headers}");
        }
        let refused = added(json!({ "authorization": { "secret": 1 } })).unwrap_err();
        assert!(!refused.contains("secret"), "{refused}");
    }
}
