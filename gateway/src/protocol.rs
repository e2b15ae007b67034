//! A caller's protocol, as its content type states it.

use std::borrow::Cow;

use http::{
    HeaderMap, HeaderValue, Version,
    header::{ACCEPT, CONTENT_TYPE},
};

/// A caller's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web with binary bodies.
    Web,
    /// gRPC-Web with bodies in base64, for callers that cannot stream binary bodies.
    WebText,
}

/// A caller's protocol, and the encoding of its messages (`proto`, `json`, or another one of an external upstream).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientProtocol {
    /// The protocol of the response.
    pub(crate) protocol: Protocol,
    /// The request's body is base64.
    pub(crate) is_text: bool,
    /// The suffix of the content type, with its `+`; empty when there is none.
    suffix: Cow<'static, str>,
}

/// The content types, the longer names first: each is a prefix of the ones before it.
const NAMES: [(&str, Protocol); 3] = [
    ("application/grpc-web-text", Protocol::WebText),
    ("application/grpc-web", Protocol::Web),
    ("application/grpc", Protocol::Grpc),
];

impl ClientProtocol {
    /// Reads the content type; `None`: it is not gRPC.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        // A parameter such as `charset` has no meaning here.
        let media_type = content_type.split(';').next()?.trim();
        NAMES.iter().find_map(|(name, protocol)| {
            let (head, suffix) = media_type.split_at_checked(name.len())?;
            let right = head.eq_ignore_ascii_case(name) && (suffix.is_empty() || suffix.starts_with('+'));
            right.then(|| {
                let is_text = *protocol == Protocol::WebText;
                let wants_text = *protocol == Protocol::Web && accepts_text(headers);
                Self {
                    protocol: if wants_text { Protocol::WebText } else { *protocol },
                    is_text,
                    suffix: interned(suffix),
                }
            })
        })
    }

    /// Whether the protocol works over this version: HTTP/1.1 loses gRPC's trailers.
    pub(crate) fn fits(&self, version: Version) -> bool {
        self.protocol != Protocol::Grpc || version == Version::HTTP_2
    }

    /// The content type of the request to the upstream.
    pub(crate) fn upstream_type(&self) -> HeaderValue {
        self.content_type("application/grpc")
    }

    /// The content type of the response to the caller. gRPC-Web responses always name the encoding.
    pub(crate) fn response_type(&self) -> HeaderValue {
        let name = NAMES.iter().find(|(_, protocol)| *protocol == self.protocol).map_or("", |(name, _)| name);
        match (self.protocol, &*self.suffix) {
            (Protocol::Web, "") => HeaderValue::from_static("application/grpc-web+proto"),
            (Protocol::WebText, "") => HeaderValue::from_static("application/grpc-web-text+proto"),
            _ => self.content_type(name),
        }
    }

    fn content_type(&self, name: &'static str) -> HeaderValue {
        // Nearly all callers use these values, so they are static.
        HeaderValue::from_static(match (name, &*self.suffix) {
            (name, "") => name,
            ("application/grpc", PROTO) => "application/grpc+proto",
            ("application/grpc-web", PROTO) => "application/grpc-web+proto",
            ("application/grpc-web-text", PROTO) => "application/grpc-web-text+proto",
            // The suffix is from a header, so it fits into one.
            (name, suffix) => {
                return HeaderValue::try_from(format!("{name}{suffix}")).unwrap_or(HeaderValue::from_static(name));
            }
        })
    }
}

/// Whether a gRPC-Web caller requests a response in base64, whatever the encoding of its request.
fn accepts_text(headers: &HeaderMap) -> bool {
    const TEXT: &[u8] = b"application/grpc-web-text";
    let lines = headers.get_all(ACCEPT).iter().map(HeaderValue::as_bytes);
    lines.into_iter().any(|line| line.windows(TEXT.len()).any(|part| part.eq_ignore_ascii_case(TEXT)))
}

/// The suffix of protobuf.
const PROTO: &str = "+proto";

fn interned(suffix: &str) -> Cow<'static, str> {
    match suffix {
        "" => Cow::Borrowed(""),
        PROTO => Cow::Borrowed(PROTO),
        other => Cow::Owned(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_protocol(content_type: &'static str) -> Option<ClientProtocol> {
        ClientProtocol::of(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]))
    }

    #[test]
    fn a_content_type_states_protocol_and_encoding() {
        let cases = [
            ("application/grpc", Protocol::Grpc, "application/grpc", "application/grpc"),
            ("application/grpc+proto", Protocol::Grpc, "application/grpc+proto", "application/grpc+proto"),
            ("application/grpc-web", Protocol::Web, "application/grpc", "application/grpc-web+proto"),
            ("Application/GRPC-Web+Proto", Protocol::Web, "application/grpc+Proto", "application/grpc-web+Proto"),
            ("application/grpc-web-text", Protocol::WebText, "application/grpc", "application/grpc-web-text+proto"),
            ("application/grpc-web+json; x=y", Protocol::Web, "application/grpc+json", "application/grpc-web+json"),
        ];
        for (name, protocol, upstream, response) in cases {
            let client_protocol = client_protocol(name).unwrap();
            assert_eq!(client_protocol.protocol, protocol, "{name}");
            assert_eq!(client_protocol.upstream_type(), upstream, "{name}");
            assert_eq!(client_protocol.response_type(), response, "{name}");
        }
    }

    #[test]
    fn the_accept_header_can_request_a_base64_response() {
        let headers = |content_type, accept| {
            [(CONTENT_TYPE, content_type), (ACCEPT, accept)].map(|(n, v)| (n, HeaderValue::from_static(v))).into_iter()
        };
        let of = |content_type, accept| ClientProtocol::of(&headers(content_type, accept).collect()).unwrap();
        let binary = "application/grpc-web+proto";
        let asked = of(binary, "application/grpc-web-text");
        assert_eq!((asked.protocol, asked.is_text), (Protocol::WebText, false));
        assert_eq!(asked.response_type(), "application/grpc-web-text+proto");
        assert_eq!(of(binary, "*/*").protocol, Protocol::Web);
        let text = of("application/grpc-web-text", "*/*");
        assert_eq!((text.protocol, text.is_text), (Protocol::WebText, true));
        assert_eq!(of("application/grpc", "application/grpc-web-text").protocol, Protocol::Grpc);
    }

    #[test]
    fn other_content_types_are_not_grpc() {
        for name in ["application/json", "application/grpcx", "application/grpc-webby", "text/html", ""] {
            assert_eq!(client_protocol(name), None, "{name}");
        }
    }
}
