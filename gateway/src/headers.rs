//! Headers on their way in and out.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, FORWARDED, HOST, ORIGIN, SET_COOKIE,
        TE, TRANSFER_ENCODING, UPGRADE,
    },
};

/// The prefix of headers that the mesh sets: what comes with it from outside was made up.
const MESH_PREFIX: &str = "x-trellis-";

/// Headers of one connection (RFC 9110, section 7.6.1), and those that gRPC over HTTP/2 has no use for.
const LOCAL: [HeaderName; 10] = [
    CONNECTION,
    EXPECT,
    HOST,
    TRANSFER_ENCODING,
    UPGRADE,
    CONTENT_LENGTH,
    ORIGIN,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("x-grpc-web"),
];

/// Makes a caller's headers those of a gRPC request to an upstream.
pub(crate) fn enter(headers: &mut HeaderMap, content_type: HeaderValue) {
    drop_named_by_connection(headers);
    for name in LOCAL {
        headers.remove(name);
    }
    let made_up: Vec<HeaderName> = headers.keys().filter(|n| n.as_str().starts_with(MESH_PREFIX)).cloned().collect();
    for name in made_up {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, content_type);
    // HTTP/1.1 callers send other values, which HTTP/2 forbids.
    headers.insert(TE, HeaderValue::from_static("trailers"));
}

/// Takes from a request what an upstream outside the mesh must not see.
pub(crate) fn hide_identity(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    headers.remove(COOKIE);
}

/// Headers in which proxies tell of a client. The gateway has read them; what it found out is what it hands on.
const FORWARDING: [HeaderName; 6] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// Tells an upstream outside the mesh where the client sits, in the way that most of them know.
pub(crate) fn tell_client(headers: &mut HeaderMap, client: HeaderValue) {
    for name in FORWARDING {
        headers.remove(name);
    }
    headers.insert("x-forwarded-for", client);
}

/// Takes from an answer what belongs to the upstream's connection.
pub(crate) fn leave(headers: &mut HeaderMap, content_type: HeaderValue) {
    drop_named_by_connection(headers);
    for name in LOCAL {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, content_type);
}

/// An upstream outside the mesh sets no cookies on our origin.
pub(crate) fn drop_cookies(headers: &mut HeaderMap) {
    headers.remove(SET_COOKIE);
}

/// `connection` may name more headers that are of one connection.
fn drop_named_by_connection(headers: &mut HeaderMap) {
    let Some(named) = headers.remove(CONNECTION) else { return };
    for name in named.to_str().unwrap_or_default().split(',') {
        if let Ok(name) = HeaderName::try_from(name.trim()) {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_mesh_sets_cannot_come_from_outside() {
        let mut headers = HeaderMap::new();
        let all = [
            ("x-trellis-service-token", "made up"),
            ("x-trellis-client-address", "10.0.0.1"),
            ("connection", "x-hop, keep-alive"),
            ("x-hop", "1"),
            ("te", "gzip"),
            ("host", "localhost"),
            ("x-kept", "1"),
            ("authorization", "Bearer x"),
        ];
        for (name, value) in all {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        enter(&mut headers, HeaderValue::from_static("application/grpc"));
        let mut left: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        left.sort();
        assert_eq!(left, ["authorization: Bearer x", "content-type: application/grpc", "te: trailers", "x-kept: 1"]);
    }
}
