//! Headers on their way in and out.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, FORWARDED, HOST, ORIGIN,
        PROXY_AUTHORIZATION, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRANSFER_ENCODING, UPGRADE,
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
    drop_prefixed(headers, &[MESH_PREFIX]);
    headers.insert(CONTENT_TYPE, content_type);
    // HTTP/1.1 callers send other values, which HTTP/2 forbids.
    headers.insert(TE, HeaderValue::from_static("trailers"));
}

/// Takes from a request what an upstream outside the mesh must not see. The key that callers are counted by is one of
/// these: whoever has it could use up what is its owner's.
pub(crate) fn hide_identity(headers: &mut HeaderMap, api_key: &str) {
    headers.remove(AUTHORIZATION);
    headers.remove(COOKIE);
    headers.remove(api_key);
}

/// Headers in which proxies tell of a client: where it sits, and in some houses who it is. A service that stood behind
/// such a proxy believes them; here they would be the caller's own claims.
const FORWARDING: [&str; 4] = ["x-forwarded-", "x-auth-request-", "x-remote-", "x-envoy-"];
const FORWARDING_NAMES: [HeaderName; 4] =
    [FORWARDED, PROXY_AUTHORIZATION, HeaderName::from_static("remote-user"), HeaderName::from_static("x-real-ip")];

/// Tells an upstream outside the mesh where the client sits, in the way that most of them know.
pub(crate) fn tell_client(headers: &mut HeaderMap, client: HeaderValue) {
    for name in FORWARDING_NAMES {
        headers.remove(name);
    }
    drop_prefixed(headers, &FORWARDING);
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

/// What an upstream outside the mesh may not say, for a browser would believe that it is said for the gateway's origin.
const OF_ORIGIN: [HeaderName; 7] = [
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    ALT_SVC,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
];

/// Takes it from the answer, and what it says of other origins' pages: that is the configuration's to say.
pub(crate) fn keep_origin(headers: &mut HeaderMap) {
    for name in OF_ORIGIN {
        headers.remove(name);
    }
    drop_prefixed(headers, &["access-control-"]);
}

fn drop_prefixed(headers: &mut HeaderMap, prefixes: &[&str]) {
    let is_one = |name: &&HeaderName| prefixes.iter().any(|prefix| name.as_str().starts_with(prefix));
    let found: Vec<HeaderName> = headers.keys().filter(is_one).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// `connection` may name more headers that are of one connection.
fn drop_named_by_connection(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let lines = headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let named: Vec<_> = lines.flat_map(|line| line.split(',')).filter_map(|n| n.trim().parse().ok()).collect();
    for name in named {
        headers.remove::<HeaderName>(name);
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

    #[test]
    fn every_line_of_connection_counts() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "x-a"), ("connection", "x-b, x-c"), ("x-a", "1"), ("x-b", "2"), ("x-c", "3")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        leave(&mut headers, HeaderValue::from_static("application/grpc"));
        assert_eq!(headers.len(), 1, "{headers:?}");
    }

    #[test]
    fn an_upstream_speaks_neither_for_a_proxys_client_nor_for_our_origin() {
        let of = |names: &[&'static str]| -> HeaderMap {
            names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("made up"))).collect()
        };
        let mut asked =
            of(&["x-forwarded-email", "x-forwarded-client-cert", "x-auth-request-user", "forwarded", "x-kept"]);
        tell_client(&mut asked, HeaderValue::from_static("192.0.2.9"));
        assert_eq!((asked.len(), &asked["x-forwarded-for"]), (2, &HeaderValue::from_static("192.0.2.9")));
        let mut answer = of(&["set-cookie", "clear-site-data", "access-control-allow-origin", "alt-svc", "x-kept"]);
        keep_origin(&mut answer);
        assert_eq!(answer, of(&["x-kept"]));
    }
}
