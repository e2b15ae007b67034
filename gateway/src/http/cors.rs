//! Pages of other origins: decides which may call (CORS), and that none may use a visitor's cookie (CSRF).

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, HOST, ORIGIN, SET_COOKIE, VARY,
    },
};
use http_body_util::Full;
use kit::origin::WebOrigin;

/// The headers of a response that a page may read.
const EXPOSED: &str =
    "grpc-status, grpc-message, grpc-status-details-bin, grpc-encoding, retry-after, ratelimit, ratelimit-policy";
/// Headers that a page may read anyway (Fetch, "CORS-safelisted response-header name"), or that are of no use to it.
const READABLE: [&str; 7] =
    ["cache-control", "content-encoding", "content-length", "content-type", "expires", "vary", "date"];
/// The HTTP methods that pages may use: those of HTTP forms.
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
/// How long a browser caches a preflight response: Chromium's own maximum, in seconds.
const MAX_AGE: &str = "7200";

/// The origins that may call.
pub(crate) struct Origins(Vec<HeaderValue>);

impl Origins {
    /// Reads `gateway.cors_origins`.
    pub(crate) fn new(origins: &[String]) -> Result<Self, String> {
        let parse = |origin: &String| {
            let normal = WebOrigin::parse(origin).filter(|_| !origin.ends_with('/')).map(as_browsers_send_it);
            normal.and_then(|normal| HeaderValue::try_from(normal).ok()).ok_or_else(|| {
                format!("gateway.cors_origins: {origin:?} is not an origin, such as https://app.example.org")
            })
        };
        origins.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// The response to a preflight request.
    pub(crate) fn preflight(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::default());
        let Some(origin) = headers.get(ORIGIN).filter(|origin| self.may_call(origin, headers)) else {
            *response.status_mut() = StatusCode::FORBIDDEN;
            return response;
        };
        *response.status_mut() = StatusCode::NO_CONTENT;
        let out = response.headers_mut();
        allow(out, origin.clone());
        out.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            out.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        out.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
        response
    }

    /// Adds the CORS headers to the response to a call from `origin`.
    pub(crate) fn mark(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        // Caches keep one response for each origin.
        headers.append(VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = origin.filter(|origin| self.0.contains(origin)) {
            let exposed = exposed(headers);
            allow(headers, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// Whether the visitor's cookie may be used: by the gateway's own page, by a page that may call, or by a program
    /// that is no browser. `SameSite` alone would admit other hosts of the same site.
    pub(crate) fn may_use_cookie(&self, headers: &HeaderMap) -> bool {
        match headers.get(ORIGIN) {
            Some(origin) => self.may_call(origin, headers),
            None => headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin"),
        }
    }

    fn may_call(&self, origin: &HeaderValue, headers: &HeaderMap) -> bool {
        self.0.contains(origin) || is_same(origin, headers).unwrap_or(false)
    }
}

/// The origin as browsers write it in `origin`, which is compared as text: the host in lower case, and no default port.
pub(crate) fn as_browsers_send_it(origin: WebOrigin) -> String {
    let WebOrigin { scheme, authority, port, .. } = origin;
    let default = match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        // An origin of an app, such as `capacitor://localhost`.
        _ => return format!("{scheme}://{authority}"),
    };
    let host = authority.host().to_ascii_lowercase();
    match port.filter(|port| Some(*port) != default) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// The usual headers and the metadata that the service has sent: `*` does not apply to requests with credentials.
fn exposed(headers: &HeaderMap) -> HeaderValue {
    let own = |name: &&http::HeaderName| {
        !EXPOSED.split(", ").chain(READABLE).any(|known| known == name.as_str()) && **name != SET_COOKIE
    };
    let mut names = headers.keys().filter(own).peekable();
    if names.peek().is_none() {
        return HeaderValue::from_static(EXPOSED);
    }
    let all = names.fold(EXPOSED.to_owned(), |all, name| all + ", " + name.as_str());
    HeaderValue::try_from(all).unwrap_or(HeaderValue::from_static(EXPOSED))
}

/// Whether the origin names the host of the request. The scheme is not compared: a proxy in front may terminate
/// TLS.
fn is_same(origin: &HeaderValue, headers: &HeaderMap) -> Option<bool> {
    let (_, authority) = origin.to_str().ok()?.split_once("://")?;
    Some(authority.eq_ignore_ascii_case(headers.get(HOST)?.to_str().ok()?))
}

fn allow(out: &mut HeaderMap, origin: HeaderValue) {
    out.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    out.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(n, v): &(&'static str, &'static str)| (HeaderName::from_static(n), HeaderValue::from_static(v));
        all.iter().map(pair).collect()
    }

    #[test]
    fn only_named_origins_and_our_own_may_call() {
        let origins = Origins::new(&["https://app.example.org".to_owned()]).unwrap();
        let status = |origin| origins.preflight(&headers(&[("origin", origin), ("host", "chat.local:8080")])).status();
        assert_eq!(status("https://app.example.org"), StatusCode::NO_CONTENT);
        assert_eq!(status("http://chat.local:8080"), StatusCode::NO_CONTENT);
        for other in ["https://app.example.org.evil.test", "http://app.example.org", "null", "http://chat.local"] {
            assert_eq!(status(other), StatusCode::FORBIDDEN, "{other}");
        }
    }

    #[test]
    fn configured_origin_is_normalized() {
        for (configured, sent) in [
            ("https://App.Example.ORG", "https://app.example.org"),
            ("HTTPS://a:443", "https://a"),
            ("http://a:80", "http://a"),
            ("http://a:443", "http://a:443"),
            ("http://[::1]:08080", "http://[::1]:8080"),
            ("capacitor://localhost", "capacitor://localhost"),
        ] {
            let origins = Origins::new(&[configured.to_owned()]).unwrap();
            let response = origins.preflight(&headers(&[("origin", sent), ("host", "b")]));
            assert_eq!(response.status(), StatusCode::NO_CONTENT, "{configured}");
        }
    }

    #[test]
    fn a_cookie_is_not_used_by_other_pages() {
        let origins = Origins::new(&[]).unwrap();
        assert!(origins.may_use_cookie(&headers(&[("host", "a:1")])));
        assert!(origins.may_use_cookie(&headers(&[("host", "a:1"), ("origin", "http://a:1")])));
        assert!(!origins.may_use_cookie(&headers(&[("host", "a:1"), ("origin", "http://b:1")])));
        assert!(!origins.may_use_cookie(&headers(&[("host", "a:1"), ("sec-fetch-site", "cross-site")])));
    }

    #[test]
    fn an_invalid_origin_is_refused() {
        let bad_ports = ["https://x:", "https://x:0", "https://x:99999", "https://x:abc"];
        for bad in ["*", "app.example.org", "https://x/", "https://x?", "https://u@x"].into_iter().chain(bad_ports) {
            assert!(Origins::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
