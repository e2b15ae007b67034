//! The content types of gRPC and gRPC-Web: a name, and a suffix that states the encoding of the messages.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Method, Request, header::CONTENT_TYPE};

/// The encoding of messages (`+proto`, `+json`, or another one of an external upstream); empty: none is stated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suffix(Cow<'static, str>);

/// The suffix of protobuf.
const PROTO: &str = "+proto";

/// The content type of a request without parameters, which have no meaning here; empty: there is none.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim()
}

impl Suffix {
    /// The suffix of a POST request whose content type has this name, in any letter case.
    pub(super) fn of<B>(request: &Request<B>, media_type: &str, name: &str) -> Option<Self> {
        if request.method() != Method::POST {
            return None;
        }
        let (head, suffix) = media_type.split_at_checked(name.len())?;
        let is_named = head.eq_ignore_ascii_case(name) && (suffix.is_empty() || suffix.starts_with('+'));
        is_named.then(|| {
            Self(match suffix {
                "" => Cow::Borrowed(""),
                PROTO => Cow::Borrowed(PROTO),
                other => Cow::Owned(other.to_owned()),
            })
        })
    }

    /// The suffix; that of protobuf if there is none.
    pub(super) fn or_proto(&self) -> Self {
        if self.0.is_empty() { Self(Cow::Borrowed(PROTO)) } else { self.clone() }
    }

    /// The content type of this name with the suffix.
    pub(super) fn content_type(&self, name: &'static str) -> HeaderValue {
        // Nearly all clients use these values, so they are static.
        HeaderValue::from_static(match (name, &*self.0) {
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
