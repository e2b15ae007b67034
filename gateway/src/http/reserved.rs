//! Names of headers that are more than metadata to the gateway, a protocol or a browser. [`TABLE`] states in which
//! direction each is removed. docs/protocols.md shows the table to operators.
//!
//! Toward external upstreams the gateway is a transparent gRPC peer: between a gRPC client and its upstream, only names
//! of the mesh and of the gateway's origin are removed.

use http::{HeaderMap, HeaderName};

/// The headers that hold the status of a call.
pub(crate) const STATUS: [HeaderName; 3] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
];

/// What a client reads. It decides which names have a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientKind {
    /// gRPC over HTTP/2. No browser reads it.
    Grpc,
    /// gRPC-Web: gRPC's headers, read by a browser.
    GrpcWeb,
    /// Connect, JSON over HTTP and WebSocket: the gateway translates gRPC's headers, and a browser reads them.
    Translated,
}

/// The two ends of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) client: ClientKind,
    /// The upstream is outside the mesh.
    pub(crate) is_external: bool,
}

/// From which calls a name is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    None,
    All,
    /// Of clients whose protocol is not gRPC's own.
    Translated,
    /// To upstreams outside the mesh.
    External,
    /// To upstreams outside the mesh, of clients that are browsers.
    ExternalInBrowsers,
}

/// Names that are removed for the same reason. A name that ends with `*` is a prefix.
struct Reserved {
    names: &'static [&'static str],
    request: Removal,
    response: Removal,
}

const TABLE: [Reserved; 6] = [
    // The mesh sets them, and reads them only from itself.
    Reserved { names: &["x-trellis-*"], request: Removal::All, response: Removal::All },
    // In which proxies state the verified certificate of a client.
    Reserved {
        names: &[
            "client-cert",
            "client-cert-chain",
            "ssl-client-*",
            "x-amzn-mtls-*",
            "x-arr-clientcert",
            "x-client-cert*",
            "x-forwarded-client-cert*",
            "x-forwarded-tls-client-*",
            "x-ssl-client-*",
            "x-tls-client-*",
        ],
        request: Removal::All,
        response: Removal::None,
    },
    // Of the protocols. The gateway writes its own; the status is moved, not removed.
    Reserved { names: &["grpc-*", "connect-*"], request: Removal::Translated, response: Removal::Translated },
    // Stands for a trailer in a response that begins with its status.
    Reserved { names: &["trailer-*"], request: Removal::None, response: Removal::Translated },
    // A client applies them to the gateway's origin or connection.
    Reserved {
        names: &[
            "accept-ch",
            "access-control-*",
            "alt-svc",
            "clear-site-data",
            "date",
            "expect-ct",
            "link",
            "location",
            "nel",
            "proxy-authenticate",
            "proxy-authentication-info",
            "public-key-pins*",
            "refresh",
            "report-to",
            "reporting-endpoints",
            "service-worker-allowed",
            "set-cookie*",
            "strict-transport-security",
            "trailer",
            "www-authenticate",
            // Proxies in front obey them: they would serve other files, or store the response.
            "cdn-cache-control",
            "surrogate-*",
            "x-accel-*",
            "x-lighttpd-send-file",
            "x-sendfile*",
        ],
        request: Removal::None,
        response: Removal::External,
    },
    // A browser changes by them how it treats the response or the gateway's pages.
    Reserved {
        names: &[
            "accept-ranges",
            "activate-storage-access",
            "allow",
            "attribution-reporting-*",
            "content-disposition",
            "content-location",
            "content-range",
            "content-security-policy*",
            "critical-ch",
            "cross-origin-*",
            "document-policy*",
            "feature-policy",
            "integrity-policy*",
            "no-vary-search",
            "observe-browsing-topics",
            "origin-agent-cluster",
            "origin-trial",
            "permissions-policy*",
            "referrer-policy",
            "set-login",
            "sourcemap",
            "speculation-rules",
            "supports-loading-mode",
            "timing-allow-origin",
            "use-as-dictionary",
            "x-content-type-options",
            "x-dns-prefetch-control",
            "x-frame-options",
            "x-permitted-cross-domain-policies",
            "x-robots-tag",
            "x-sourcemap",
            "x-xss-protection",
        ],
        request: Removal::None,
        response: Removal::ExternalInBrowsers,
    },
];

/// Removes the names that no client may send.
pub(super) fn clean_request(headers: &mut HeaderMap) {
    drop_where(headers, is_removed_from_requests);
}

/// Whether no client may send this name.
pub(super) fn is_removed_from_requests(name: &HeaderName) -> bool {
    TABLE.iter().any(|row| row.request == Removal::All && row.has(name))
}

/// Removes the names that have a meaning only in the client's own protocol, which has been read.
pub(crate) fn clean_translated_request(headers: &mut HeaderMap) {
    drop_where(headers, |name| TABLE.iter().any(|row| row.request == Removal::Translated && row.has(name)));
}

/// Removes the names that an upstream must not set, except those of [`clean_translated_response`].
pub(super) fn clean_response(headers: &mut HeaderMap, ends: Ends) {
    drop_where(headers, |name| {
        TABLE.iter().any(|row| row.response != Removal::Translated && row.is_removed(name, ends))
    });
}

/// Removes the names that would have a meaning in the client's own protocol, which gRPC's have been translated into.
/// The status stays.
pub(crate) fn clean_translated_response(headers: &mut HeaderMap) {
    let removed = |name: &HeaderName| TABLE.iter().any(|row| row.response == Removal::Translated && row.has(name));
    drop_where(headers, |name| !STATUS.contains(name) && removed(name));
}

/// Whether trailers must not hold this name.
pub(super) fn is_removed_from_trailers(name: &HeaderName, ends: Ends) -> bool {
    !STATUS.contains(name) && TABLE.iter().any(|row| row.is_removed(name, ends))
}

impl Reserved {
    fn has(&self, name: &HeaderName) -> bool {
        self.names.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => begins_like(name, prefix),
            None => is_like(name.as_str(), pattern),
        })
    }

    fn is_removed(&self, name: &HeaderName, ends: Ends) -> bool {
        let applies = match self.response {
            Removal::None => false,
            Removal::All => true,
            Removal::Translated => ends.client == ClientKind::Translated,
            Removal::External => ends.is_external,
            Removal::ExternalInBrowsers => ends.is_external && ends.client != ClientKind::Grpc,
        };
        applies && self.has(name)
    }
}

/// Removes the headers that `is_one` selects, in one pass. It allocates only if there are any.
pub(super) fn drop_where(headers: &mut HeaderMap, is_one: impl Fn(&HeaderName) -> bool) {
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_one(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Whether a name begins with `prefix`: see [`is_like`].
pub(super) fn begins_like(name: &HeaderName, prefix: &str) -> bool {
    name.as_str().get(..prefix.len()).is_some_and(|start| is_like(start, prefix))
}

/// Whether two names are equal, or differ only in `_` and `-`: CGI and WSGI servers do not distinguish them.
pub(crate) fn is_like(name: &str, wanted: &str) -> bool {
    let plain = |byte| if byte == b'_' { b'-' } else { byte };
    name.len() == wanted.len() && name.bytes().map(plain).eq(wanted.bytes().map(plain))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn names_that_differ_in_underscores_are_alike() {
        for (name, wanted) in [("x-team", "x_team"), ("x_team", "x-team"), ("x_a-b", "x-a_b")] {
            assert!(is_like(name, wanted), "{name} {wanted}");
        }
        assert!(!is_like("x-team", "x-teams") && !is_like("x.team", "x-team"));
    }

    const ALL: [&str; 12] = [
        "x-trellis-time",
        "x_trellis_user",
        "grpc-status",
        "grpc-encoding",
        "grpc-tags-bin",
        "connect-content-encoding",
        "trailer-x-cost",
        "set-cookie",
        "access-control-allow-origin",
        "content-disposition",
        "cross-origin-opener-policy",
        "x-kept",
    ];

    fn all() -> HeaderMap {
        ALL.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect()
    }

    fn left(headers: &HeaderMap) -> Vec<&str> {
        ALL.into_iter().filter(|name| headers.contains_key(*name)).collect()
    }

    #[test]
    fn reserved_names_leave_requests() {
        let mut headers = all();
        clean_request(&mut headers);
        assert_eq!(left(&headers), ALL[2..], "the metadata of a gRPC client passes");
        clean_translated_request(&mut headers);
        assert_eq!(left(&headers), ALL[6..]);
    }

    #[test]
    fn reserved_names_leave_responses() {
        let (grpc, status) =
            (["grpc-encoding", "grpc-tags-bin", "connect-content-encoding", "trailer-x-cost"], "grpc-status");
        let origin = ["set-cookie", "access-control-allow-origin"];
        let browser = ["content-disposition", "cross-origin-opener-policy"];
        let cases: [(ClientKind, bool, &[&[&str]]); 6] = [
            (ClientKind::Grpc, false, &[&grpc, &origin, &browser]),
            (ClientKind::GrpcWeb, false, &[&grpc, &origin, &browser]),
            (ClientKind::Translated, false, &[&origin, &browser]),
            (ClientKind::Grpc, true, &[&grpc, &browser]),
            (ClientKind::GrpcWeb, true, &[&grpc]),
            (ClientKind::Translated, true, &[]),
        ];
        for (client, is_external, kept) in cases {
            let ends = Ends { client, is_external };
            let expected = [&[status][..], &kept.concat(), &["x-kept"]].concat();
            let mut headers = all();
            clean_response(&mut headers, ends);
            if client == ClientKind::Translated {
                clean_translated_response(&mut headers);
            }
            assert_eq!(left(&headers), expected, "{ends:?}");
            let mut trailers = all();
            drop_where(&mut trailers, |name| is_removed_from_trailers(name, ends));
            assert_eq!(left(&trailers), expected, "trailers: {ends:?}");
        }
    }
}
