//! HTTP controls: a service that the operator trusts with them states the HTTP status and some headers of a response to
//! JSON over HTTP, in its metadata. So a gRPC service can redirect a browser, or offer a file for download.
//!
//! The names are reserved: no client receives them, in any protocol.

use std::net::Ipv6Addr;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LANGUAGE, CONTENT_RANGE, CONTENT_TYPE, ETAG,
        EXPIRES, LAST_MODIFIED, LOCATION, REFERRER_POLICY, VARY,
    },
};
use kit::error;
use tonic::{Code, Status};

/// States the status.
const STATUS: HeaderName = HeaderName::from_static("x-http-status");
/// Precedes the name of a header.
const HEADER: &str = "x-http-header-";

/// The headers that a service may set. None of them changes how a browser treats the gateway's origin.
const ALLOWED: [HeaderName; 11] = [
    ACCEPT_RANGES,
    CACHE_CONTROL,
    CONTENT_DISPOSITION,
    CONTENT_LANGUAGE,
    CONTENT_RANGE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    LOCATION,
    REFERRER_POLICY,
    VARY,
];

/// The redirects that a service may send. The gateway itself sends 304, by the `ETag`.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// The status and the headers of one response, checked.
#[derive(Debug, Clone)]
pub(crate) struct HttpControls {
    status: StatusCode,
    headers: HeaderMap,
}

/// Whether metadata has a reserved name.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    *name == STATUS || name.as_str().starts_with(HEADER)
}

/// Moves the reserved metadata out of a head; `None`: it has none.
pub(crate) fn take(head: &mut HeaderMap) -> Option<HeaderMap> {
    let names: Vec<HeaderName> = head.keys().filter(|name| is_reserved(name)).cloned().collect();
    if names.is_empty() {
        return None;
    }
    let mut taken = HeaderMap::new();
    for name in names {
        for value in head.get_all(&name) {
            taken.append(name.clone(), value.clone());
        }
        head.remove(name);
    }
    Some(taken)
}

impl HttpControls {
    /// Reads the metadata that [`take`] returned. An invalid part is a fault of the service, and fails the call.
    pub(crate) fn read(taken: &HeaderMap, is_stream: bool) -> Result<Self, Status> {
        let mut controls = Self { status: StatusCode::OK, headers: HeaderMap::new() };
        for name in taken.keys() {
            controls.add(name, taken).map_err(|why| invalid(name, why))?;
        }
        if controls.is_redirect() && !controls.headers.contains_key(LOCATION) {
            return Err(invalid(&STATUS, "a redirect needs x-http-header-location"));
        }
        if is_stream && controls.has_no_content() {
            return Err(invalid(&STATUS, "the response is a stream, and this status has no content"));
        }
        Ok(controls)
    }

    fn add(&mut self, name: &HeaderName, taken: &HeaderMap) -> Result<(), &'static str> {
        let mut values = taken.get_all(name).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err("occurs more than once") };
        let text = value.to_str().map_err(|_| "has bytes beyond visible ASCII")?;
        if *name == STATUS {
            self.status = status(text).ok_or("is not a status of success or a redirect, such as 201 or 302")?;
            return Ok(());
        }
        let header = ALLOWED.into_iter().find(|allowed| name.as_str().strip_prefix(HEADER) == Some(allowed.as_str()));
        let header = header.ok_or("is not a header that services may set")?;
        if header == LOCATION && !is_location(text) {
            return Err("is not a URL with http, https or an app's own scheme, or a path that begins with one slash");
        }
        self.headers.insert(header, value.clone());
        Ok(())
    }

    fn is_redirect(&self) -> bool {
        self.status.is_redirection()
    }

    fn has_no_content(&self) -> bool {
        self.is_redirect() || [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT].contains(&self.status)
    }

    /// Sets the status and the headers.
    pub(crate) fn set_head<B>(self, response: &mut Response<B>) {
        *response.status_mut() = self.status;
        for (name, value) in &self.headers {
            if *name == VARY {
                // The names that the gateway has set stay.
                response.headers_mut().append(name, value.clone());
            } else {
                response.headers_mut().insert(name, value.clone());
            }
        }
    }
}

/// A complete response, as the controls of its service state it. Redirects have no content.
pub(crate) fn respond(head: HeaderMap, message: Bytes, controls: Option<HttpControls>) -> Response<Bytes> {
    let mut response = Response::new(message);
    *response.headers_mut() = head;
    if let Some(controls) = controls {
        if controls.has_no_content() {
            *response.body_mut() = Bytes::new();
            response.headers_mut().remove(CONTENT_TYPE);
        }
        controls.set_head(&mut response);
    }
    response
}

fn status(text: &str) -> Option<StatusCode> {
    let is_number = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let code = text.parse().ok().filter(|_| is_number)?;
    ((200..300).contains(&code) || REDIRECTS.contains(&code)).then(|| StatusCode::from_u16(code).ok())?
}

/// Whether the text is an absolute URI with `http`, `https` or an app's own scheme (with a dot: RFC 8252, section 7.1),
/// or a path.
///
/// Browsers repair what RFC 3986 does not allow: they remove tabs and line breaks, read a backslash as a slash, and take
/// the host of `https:///a` from the path. Such a text could lead to another host than it seems to, so it is refused.
fn is_location(text: &str) -> bool {
    let is_uri_byte = |byte: u8| byte.is_ascii_graphic() && !b"\"\\<>^`{|}".contains(&byte);
    if !text.bytes().all(is_uri_byte) || !has_valid_escapes(text) {
        return false;
    }
    if text.starts_with('/') {
        return !text.starts_with("//");
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let is_scheme_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(is_scheme_byte) {
        return false;
    }
    let authority = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    if ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web)) {
        return authority.is_some_and(names_host);
    }
    scheme.contains('.') && authority.is_none_or(|authority| authority.is_empty() || names_host(authority))
}

/// Whether each `%` begins two hexadecimal digits.
fn has_valid_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| rest.len() > 1 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether an authority is a host, perhaps with a port. A user before `@` would hide the host from people.
fn names_host(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    if port.is_some_and(|port| !is_port(port)) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    host.bytes().all(is_name_byte) && host.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

fn invalid(name: &HeaderName, why: &str) -> Status {
    error::status(Code::Internal, crate::reason::HTTP_CONTROL_INVALID, format!("the service's metadata {name}: {why}"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(fields: &[(&'static str, &'static str)], is_stream: bool) -> Result<(u16, HeaderMap, usize), String> {
        let mut head = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        for (name, value) in fields {
            head.append(*name, HeaderValue::from_static(value));
        }
        let taken = take(&mut head).expect("reserved names");
        assert_eq!(head.len(), 1, "the reserved names are gone: {head:?}");
        let controls = HttpControls::read(&taken, is_stream).map_err(|status| status.message().to_owned())?;
        let response = respond(head, Bytes::from_static(b"{}"), Some(controls));
        Ok((response.status().as_u16(), response.headers().clone(), response.body().len()))
    }

    #[test]
    fn metadata_states_the_status_and_headers() {
        let (status, headers, length) = read(
            &[
                ("x-http-status", "201"),
                ("x-http-header-content-disposition", "attachment; filename=\"a.csv\""),
                ("x-http-header-cache-control", "public, max-age=60"),
            ],
            true,
        )
        .unwrap();
        assert_eq!((status, length, headers.len()), (201, 2, 3));
        assert_eq!(headers[CONTENT_DISPOSITION], "attachment; filename=\"a.csv\"");
        let (status, headers, length) =
            read(&[("x-http-status", "303"), ("x-http-header-location", "https://a.example/cb?code=1")], false)
                .unwrap();
        assert_eq!((status, length, headers.len()), (303, 0, 1));
        assert_eq!(headers[LOCATION], "https://a.example/cb?code=1");
    }

    #[test]
    fn invalid_controls_fail_the_call() {
        for fields in [
            &[("x-http-status", "404")][..],
            &[("x-http-status", "100")],
            &[("x-http-status", "304")],
            &[("x-http-status", "+20")],
            &[("x-http-status", "0302")],
            &[("x-http-status", "302")],
            &[("x-http-status", "200"), ("x-http-status", "201")],
            &[("x-http-header-set-cookie", "a=b")],
            &[("x-http-header-content-type", "text/html")],
            &[("x-http-header-", "a")],
            &[("x-http-header-location-bin", "YQ")],
        ] {
            assert!(read(fields, false).is_err(), "{fields:?}");
        }
        let redirect = [("x-http-status", "302"), ("x-http-header-location", "/a")];
        assert!(read(&redirect, false).is_ok() && read(&redirect, true).is_err(), "a stream has content");
    }

    #[test]
    fn location_is_a_url_or_a_path_of_the_same_host() {
        for good in [
            "/",
            "/a?b=c#d",
            "https://a.example/",
            "HTTP://a.example",
            "com.example.app:/callback?code=1",
            "https://a.example:8443?b=c",
            "https://192.0.2.1/a@b",
            "http://[::1]:8080/",
            "com.example.app://callback/a",
            "/a%20b",
            "/a/b@c:d",
        ] {
            assert!(is_location(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "//a.example",
            "/\\a.example",
            "/\t/a.example",
            "\\\\a.example",
            "javascript:alert(1)",
            "data:,a",
            "https:a.example",
            "https://",
            "http:/a",
            " /a",
            "/a b",
            "-a.b:/c",
            "://a",
            "/é",
            "https:///a.example",
            "https:////a.example",
            "https://?a",
            "https://#a",
            "https://:443/",
            "https://a.example@b.example/",
            "https://a:b@c.example/",
            "https://@a.example/",
            "https://a.example:x/",
            "https://a.example:99999/",
            "https://a%2eexample/",
            "https://[::1/",
            "https://[a]/",
            "https://./",
            "com.example.app://a@b/",
            "/a%2",
            "/%zz",
            "/a\nb",
        ] {
            assert!(!is_location(bad), "{bad}");
        }
    }
}
