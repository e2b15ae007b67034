//! Origins, as in configured addresses: a scheme, a host, and perhaps a port.

use http::uri::{Authority, Scheme, Uri};

/// A scheme, a host and perhaps a port, such as `http://host:port`. Without user information, path, query and fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin {
    /// The scheme, in lower case if it is `http` or `https`.
    pub scheme: Scheme,
    /// The host and the port, as in the text.
    pub authority: Authority,
    /// The host, without the brackets of an IPv6 address.
    pub host: String,
    /// The port, if the text has one.
    pub port: Option<u16>,
}

impl WebOrigin {
    /// Parses an origin. A slash at its end is allowed. `None`: the text is no origin, or its port is not one.
    pub fn parse(text: &str) -> Option<Self> {
        // The parser of URIs drops a fragment.
        let uri: Uri = Some(text).filter(|text| !text.contains('#'))?.parse().ok()?;
        let parts = uri.into_parts();
        let path = parts.path_and_query.as_ref().map_or("/", |path| path.as_str());
        let (scheme, authority) = (parts.scheme?, parts.authority?);
        if !matches!(path, "" | "/") || authority.as_str().contains('@') || authority.host().is_empty() {
            return None;
        }
        // `Authority::port` does not distinguish an invalid port from none.
        let port = match authority.as_str().strip_prefix(authority.host())? {
            "" => None,
            rest => Some(port(rest.strip_prefix(':')?)?),
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Some(Self { scheme, authority, host, port })
    }
}

/// Parses the port of a peer. 0 is not one.
fn port(text: &str) -> Option<u16> {
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_has_a_host_and_a_valid_port() {
        let read = |text: &str| WebOrigin::parse(text).map(|origin| (origin.host, origin.port));
        assert_eq!(read("http://a:1"), Some(("a".to_owned(), Some(1))));
        assert_eq!(read("https://a.example/"), Some(("a.example".to_owned(), None)));
        assert_eq!(read("http://[::1]:65535"), Some(("::1".to_owned(), Some(65_535))));
        assert_eq!(read("app://a"), Some(("a".to_owned(), None)));
        for port in ["", "0", "65536", "99999", "abc", "+80", "-1", "80:80", "08080808"] {
            assert_eq!(read(&format!("http://127.0.0.1:{port}")), None, "{port}");
            assert_eq!(read(&format!("http://[::1]:{port}")), None, "{port}");
        }
        let parts =
            ["http://a/x", "http://a?", "http://a/?q", "http://a#", "http://u@a", "http://u:p@a:1", "http://:1"];
        for bad in parts.iter().chain(&["a", "a:1", "//a", "/a", "http:", "http://", "", "*", "http://a b"]) {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
