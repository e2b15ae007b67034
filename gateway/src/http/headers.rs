//! The headers of requests and responses.

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Version,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, EXPECT,
        FORWARDED, HOST, ORIGIN, PROXY_AUTHORIZATION, RETRY_AFTER, SERVER, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE,
        VARY, VIA, WWW_AUTHENTICATE,
    },
    uri::Authority,
};
use kit::cookie;

use super::{
    controls,
    reserved::{
        Ends, STATUS, begins_like, clean_request, clean_response, drop_where, is_like, is_removed_from_requests,
        is_removed_from_trailers,
    },
};

/// Headers of one connection (RFC 9110, section 7.6.1), and those without a use in gRPC over HTTP/2.
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

/// Turns a caller's headers into those of a gRPC request to an upstream.
pub(crate) fn sanitize_request(headers: &mut HeaderMap, content_type: HeaderValue) {
    drop_local(headers);
    // Servers that do not distinguish the names would read the client's own as those of their connection.
    let own = [CONTENT_TYPE, CONTENT_ENCODING, TE];
    drop_where(headers, |name| {
        name.as_str().contains('_') && LOCAL.iter().chain(&own).any(|one| is_like(name.as_str(), one.as_str()))
    });
    clean_request(headers);
    headers.insert(CONTENT_TYPE, content_type);
    // HTTP/1.1 callers send other values, which HTTP/2 forbids.
    headers.insert(TE, HeaderValue::from_static("trailers"));
}

/// Keeps only the session cookies of Trellis instances, in one line. Returns whether there are any.
pub(crate) fn keep_session_cookie(headers: &mut HeaderMap) -> bool {
    let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let cookies = pairs.filter(|pair| cookie::is_session(pair.split(|byte| *byte == b'=').next().unwrap_or_default()));
    let cookies = HeaderValue::from_bytes(&cookies.collect::<Vec<_>>().join(&b"; "[..]));
    match cookies {
        Ok(mut cookies) if !cookies.is_empty() => {
            cookies.set_sensitive(true);
            headers.insert(COOKIE, cookies);
            true
        }
        _ => false,
    }
}

/// Whether a page of an origin without TLS sends the request. Browsers send the origin with every POST.
pub(crate) fn is_of_plain_origin(headers: &HeaderMap) -> bool {
    headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"http://"))
}

/// Removes credentials that an upstream outside the mesh must not see. One of them is the API key by which callers are
/// counted: another client with it could use up its owner's quota.
pub(crate) fn hide_identity(headers: &mut HeaderMap, api_key: &str) {
    headers.remove(AUTHORIZATION);
    headers.remove(COOKIE);
    drop_where(headers, |name| is_like(name.as_str(), api_key));
}

/// The header that states a client's address to upstreams outside the mesh.
const CLIENT: &str = "x-forwarded-for";
/// Headers in which proxies state a client's address, and in some deployments its identity. A service behind such a
/// proxy trusts them; here they would be the caller's own claims.
const FORWARDING: [&str; 6] =
    ["x-forwarded-", "x-original-forwarded-", "x-auth-request-", "x-authenticated-", "x-remote-", "x-envoy-"];
const FORWARDING_NAMES: [HeaderName; 8] = [
    FORWARDED,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("remote-user"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("true-client-ip"),
    // Those of forward authentication.
    HeaderName::from_static("x-auth-user"),
    HeaderName::from_static("x-auth-session"),
    HeaderName::from_static("x-auth-roles"),
];

/// States the client's address to an upstream outside the mesh, in the header that most of them read.
pub(crate) fn set_client_address(headers: &mut HeaderMap, client: HeaderValue) {
    // With underscores too: CGI and WSGI servers do not distinguish them from hyphens.
    drop_where(headers, |name| {
        FORWARDING_NAMES.iter().any(|one| is_like(name.as_str(), one.as_str()))
            || FORWARDING.iter().any(|prefix| begins_like(name, prefix))
    });
    headers.insert(CLIENT, client);
}

/// Whether [`set_client_address`] sets the header.
pub(crate) fn is_client_address(name: &HeaderName) -> bool {
    is_like(name.as_str(), CLIENT)
}

/// Removes the headers of the upstream's connection from a response, and those that it must not set.
pub(crate) fn sanitize_response(headers: &mut HeaderMap, content_type: HeaderValue, ends: Ends) {
    drop_local(headers);
    clean_response(headers, ends);
    // gRPC has its own, `grpc-encoding`: a browser would try to decode a part of the body.
    headers.remove(CONTENT_ENCODING);
    headers.insert(CONTENT_TYPE, content_type);
}

/// Removes headers that trailers must not hold (RFC 9110, section 6.5.1), HTTP controls, and those that the upstream must not
/// set.
pub(crate) fn sanitize_trailers(trailers: &mut HeaderMap, ends: Ends) {
    drop_where(trailers, |name| {
        LOCAL.contains(name)
            || [CONTENT_TYPE, CONTENT_ENCODING, TE].contains(name)
            || controls::is_reserved(name)
            || is_removed_from_trailers(name, ends)
    });
}

/// Moves the status of the call out of a head; empty if there is none.
pub(crate) fn take_status(headers: &mut HeaderMap) -> HeaderMap {
    STATUS.into_iter().filter_map(|name| headers.remove(&name).map(|value| (name, value))).collect()
}

/// Headers that clients read where HTTP has them, also when the upstream sends them among trailers.
const OF_HTTP: [HeaderName; 13] = [
    CACHE_CONTROL,
    CONTENT_TYPE,
    DATE,
    RETRY_AFTER,
    SERVER,
    SET_COOKIE,
    VARY,
    VIA,
    WWW_AUTHENTICATE,
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("connect-content-encoding"),
    HeaderName::from_static("connect-accept-encoding"),
];

/// Moves the trailers out of a head that is the whole response (Trailers-Only): all but the headers of HTTP itself.
pub(crate) fn take_trailers(head: &mut HeaderMap) -> HeaderMap {
    let all = std::mem::take(head);
    let (mut trailers, mut last) = (HeaderMap::new(), None);
    for (name, value) in all {
        // The name of further values is that of the first.
        last = name.or(last);
        let Some(name) = &last else { continue };
        let fields = if OF_HTTP.contains(name) { &mut *head } else { &mut trailers };
        fields.append(name.clone(), value);
    }
    trailers
}

/// Whether an HTTP/1.1 request names exactly one host (RFC 9112, section 3.2); HTTP/1.0 may name none.
pub(crate) fn name_one_host(headers: &HeaderMap, version: Version) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Authority::try_from(host.as_bytes()).is_ok_and(|host| !host.as_str().contains('@')),
        (None, _) => version != Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// Checks that the end of an HTTP/1.1 request is unambiguous (RFC 9112, section 6.1): its only coding is `chunked`,
/// once and in one line. A proxy in front may parse anything else differently, and treat a part of the body as a
/// request. (hyper removes a content-length beside it.)
pub(crate) fn check_framing(headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(_), Some(_)) => Err((StatusCode::BAD_REQUEST, "transfer-encoding must be one header line\n")),
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(coding), None) if is_only_chunked(coding.as_bytes()) => {
            Err((StatusCode::BAD_REQUEST, "transfer-encoding must name chunked once\n"))
        }
        (Some(_), None) => Err((StatusCode::NOT_IMPLEMENTED, "the only supported transfer coding is chunked\n")),
    }
}

fn is_only_chunked(codings: &[u8]) -> bool {
    codings.split(|byte| *byte == b',').all(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// The size of the headers in bytes (RFC 9113, section 6.5.2).
pub(crate) fn bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_BYTES).sum()
}

/// The overhead of a header field besides its name and value.
const FIELD_BYTES: usize = 32;

/// Removes copies of these headers whose names differ in underscores. A program that has read the headers themselves would
/// otherwise have read other values than an upstream that does not distinguish the names.
pub(crate) fn remove_copies(headers: &mut HeaderMap, names: &[HeaderName]) {
    drop_where(headers, |name| names.iter().any(|one| one != name && is_like(name.as_str(), one.as_str())));
}

/// The first two of these names that are equal, or differ only in underscores.
pub(crate) fn alike(names: &[HeaderName]) -> Option<(&HeaderName, &HeaderName)> {
    let mut all = names.iter().enumerate();
    all.find_map(|(at, one)| {
        names[..at].iter().find(|other| is_like(one.as_str(), other.as_str())).map(|other| (other, one))
    })
}

/// Removes these headers, and those whose names differ only in underscores.
pub(crate) fn remove_like(headers: &mut HeaderMap, names: &[HeaderName]) {
    drop_where(headers, |name| names.iter().any(|one| is_like(name.as_str(), one.as_str())));
}

/// Whether a header is of the client, and not of gRPC, of the connection or of the mesh.
pub(crate) fn is_of_client(name: &HeaderName) -> bool {
    const OWN: [HeaderName; 5] = [
        CONTENT_TYPE,
        CONTENT_ENCODING,
        TE,
        HeaderName::from_static("traceparent"),
        HeaderName::from_static("tracestate"),
    ];
    let is_own = OWN.iter().chain(&LOCAL).any(|own| is_like(name.as_str(), own.as_str()));
    !(is_own || is_removed_from_requests(name) || begins_like(name, "grpc-"))
}

/// Removes the headers of one connection: those that `connection` names, and [`LOCAL`].
fn drop_local(headers: &mut HeaderMap) {
    // Split as bytes: an unreadable part of a line must not hide the names beside it.
    let names = headers.get_all(CONNECTION).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let names: Vec<_> = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
    // By name, because most requests hold some of them: a pass over all headers would copy those names.
    for name in names.into_iter().chain(LOCAL) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reserved::ClientKind;

    #[test]
    fn headers_of_the_mesh_are_removed_from_requests() {
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
            ("content_length", "7"),
            ("content_type", "text/html"),
            ("transfer_encoding", "chunked"),
            ("keep_alive", "1"),
        ];
        for (name, value) in all {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        sanitize_request(&mut headers, HeaderValue::from_static("application/grpc"));
        let mut left: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        left.sort();
        assert_eq!(left, ["authorization: Bearer x", "content-type: application/grpc", "te: trailers", "x-kept: 1"]);
    }

    #[test]
    fn claimed_identities_do_not_reach_external_upstreams() {
        let claims = [
            "x_trellis_user",
            "x_forwarded_user",
            "x-original-forwarded-for",
            "True_Client_IP",
            "x-authenticated-user",
            "x-authenticated-user",
            "X-Auth_Roles",
        ];
        let mut headers = HeaderMap::new();
        for name in claims.into_iter().chain(["x_kept", "remoteuser"]) {
            headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_static("1"));
        }
        clean_request(&mut headers);
        set_client_address(&mut headers, HeaderValue::from_static("192.0.2.1"));
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["remoteuser", "x-forwarded-for", "x_kept"]);
    }

    #[test]
    fn api_key_of_each_spelling_is_hidden() {
        let mut headers = HeaderMap::new();
        for name in ["x-api-key", "x_api_key", "x-api_key", "x-api-keys"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        hide_identity(&mut headers, "x-api-key");
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-api-keys"]);
    }

    #[test]
    fn copies_in_other_spelling_are_removed() {
        let names = ["x-tenant", "x_team"].map(HeaderName::from_static);
        let mut headers = HeaderMap::new();
        for name in ["x-tenant", "x_tenant", "x-team", "x_team", "x-other"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        remove_copies(&mut headers, &names);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-other", "x-tenant", "x_team"]);
        assert_eq!(alike(&names), None);
        let twice = ["x-a", "x-b", "x_a"].map(HeaderName::from_static);
        assert_eq!(alike(&twice), Some((&twice[0], &twice[2])));
    }

    #[test]
    fn only_session_cookies_pass_the_gateway() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", HeaderValue::from_bytes(b"theme=d\xe4rk; trellis_session_a1=1;x=2").unwrap());
        headers.append("cookie", HeaderValue::from_static("__Host-trellis_session_a1=2; other=trellis_session_"));
        assert!(keep_session_cookie(&mut headers));
        let left: Vec<_> = headers.get_all("cookie").iter().collect();
        assert_eq!(left, ["trellis_session_a1=1; __Host-trellis_session_a1=2"]);
        headers.insert("cookie", HeaderValue::from_static("theme=dark"));
        assert!(!keep_session_cookie(&mut headers));
    }

    #[test]
    fn a_request_names_exactly_one_host() {
        let is_right = |hosts: &[&'static str], version| {
            let headers = hosts.iter().map(|host| (HOST, HeaderValue::from_static(host))).collect();
            name_one_host(&headers, version)
        };
        for good in ["a", "localhost:8080", "[::1]:8080", "chat.example.org"] {
            assert!(is_right(&[good], Version::HTTP_11), "{good}");
        }
        for bad in [&["a b"][..], &["a/b"], &["me@a"], &["a", "a"], &["a", "b"], &[""], &[]] {
            assert!(!is_right(bad, Version::HTTP_11), "{bad:?}");
        }
        assert!(is_right(&[], Version::HTTP_10));
    }

    #[test]
    fn a_request_has_exactly_one_framing() {
        let status = |lines: &[(HeaderName, &'static str)]| {
            let headers = lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            check_framing(&headers).err().map(|(status, _)| status.as_u16())
        };
        let te = |value| (TRANSFER_ENCODING, value);
        assert_eq!(status(&[]), None);
        assert_eq!(status(&[(CONTENT_LENGTH, "5")]), None);
        assert_eq!(status(&[te("Chunked")]), None);
        assert_eq!(status(&[te("chunked"), te("chunked")]), Some(400));
        assert_eq!(status(&[te("gzip"), te("chunked")]), Some(400));
        assert_eq!(status(&[te("chunked, chunked")]), Some(400));
        assert_eq!(status(&[te("gzip, chunked")]), Some(501));
    }

    #[test]
    fn trailers_hold_no_headers_of_connection_or_origin() {
        let of = |names: &[&'static str]| -> HeaderMap {
            names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect()
        };
        let all = [
            "grpc-status",
            "x-kept",
            "content-length",
            "te",
            "set-cookie",
            "access-control-allow-origin",
            "x-http-status",
            "x-http-header-location",
        ];
        let left = |is_external| {
            let mut trailers = of(&all);
            sanitize_trailers(&mut trailers, Ends { client: ClientKind::Grpc, is_external });
            trailers
        };
        assert_eq!(left(true), of(&["grpc-status", "x-kept"]));
        assert_eq!(left(false), of(&["grpc-status", "x-kept", "set-cookie", "access-control-allow-origin"]));
    }

    #[test]
    fn every_line_of_connection_counts() {
        let mut headers = HeaderMap::new();
        let lines: [(_, &[u8]); 5] =
            [("connection", b"x-a"), ("connection", b"x-b, \x80, x-c"), ("x-a", b"1"), ("x-b", b"2"), ("x-c", b"3")];
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        let ends = Ends { client: ClientKind::Grpc, is_external: false };
        sanitize_response(&mut headers, HeaderValue::from_static("application/grpc"), ends);
        assert_eq!(headers.len(), 1, "{headers:?}");
    }

    #[test]
    fn an_upstream_sets_no_header_for_the_client_or_the_origin() {
        let of = |names: &[&'static str]| -> HeaderMap {
            names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("made up"))).collect()
        };
        let mut request =
            of(&["x-forwarded-email", "x-forwarded-client-cert", "x-auth-request-user", "forwarded", "x-kept"]);
        set_client_address(&mut request, HeaderValue::from_static("192.0.2.9"));
        assert_eq!((request.len(), &request["x-forwarded-for"]), (2, &HeaderValue::from_static("192.0.2.9")));
        let mut response = of(&["set-cookie", "clear-site-data", "access-control-allow-origin", "alt-svc", "x-kept"]);
        clean_response(&mut response, Ends { client: ClientKind::Grpc, is_external: true });
        assert_eq!(response, of(&["x-kept"]));
    }

    #[test]
    fn trailers_only_head_is_split() {
        let all = [("content-type", "a"), ("x-a", "1"), ("set-cookie", "b"), ("x-a", "2"), ("grpc-status", "5")];
        let mut head = HeaderMap::new();
        for (name, value) in all {
            head.append(name, HeaderValue::from_static(value));
        }
        let trailers = take_trailers(&mut head);
        assert_eq!(head.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-type", "set-cookie"]);
        assert_eq!(trailers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((trailers.len(), &trailers["grpc-status"]), (3, &HeaderValue::from_static("5")));
    }
}
