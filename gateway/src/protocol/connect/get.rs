//! Unary calls with GET: the message is in the query, so that browsers and proxies may cache the response.

use std::borrow::Cow;

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use kit::{error::status, policy::has_no_side_effects};
use percent_encoding::percent_decode;
use prost_reflect::MethodDescriptor;
use tonic::{Code, Status};

use super::{
    super::{compression::ContentEncoding, status::unsupported_type},
    Encoding,
};

/// Base64 for URLs, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The parameters of a call.
pub(super) struct Query {
    pub(super) encoding: Encoding,
    pub(super) compression: ContentEncoding,
    pub(super) message: Bytes,
}

/// Why a query is refused, and the status of HTTP if it is not that of the code.
pub(super) struct RefusedQuery {
    pub(super) status: Box<Status>,
    pub(super) code: Option<StatusCode>,
}

impl From<Status> for RefusedQuery {
    fn from(status: Status) -> Self {
        Self { status: Box::new(status), code: None }
    }
}

/// Whether a query has a parameter that only calls have. The version is optional.
pub(super) fn is_call(query: &str) -> bool {
    pairs(query).any(|(name, _)| matches!(&*decode(name), b"message" | b"encoding" | b"connect"))
}

/// Reads a query. Other parameters are ignored, and the first of several with one name counts.
pub(super) fn read(query: &str) -> Result<Query, RefusedQuery> {
    let parameter = |wanted: &str| {
        let found = pairs(query).find(|(name, _)| *decode(name) == *wanted.as_bytes());
        found.map(|(_, value)| decode(value))
    };
    if parameter("connect").is_some_and(|version| *version != *b"v1") {
        return Err(invalid("the parameter connect must be v1").into());
    }
    let encoding = match parameter("encoding").as_deref() {
        Some(b"proto") => Encoding::Proto,
        Some(b"json") => Encoding::Json,
        Some(_) => {
            let status = Box::new(unsupported_type("the parameter encoding must be proto or json"));
            return Err(RefusedQuery { status, code: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE) });
        }
        None => return Err(invalid("the parameter encoding is missing; it must be proto or json").into()),
    };
    let compression = parameter("compression").map(|name| HeaderValue::from_bytes(&name)).transpose();
    let compression = compression.map_err(|_| invalid("the parameter compression is malformed"))?;
    let compression = ContentEncoding::parse(compression.as_ref())?;
    let message = parameter("message").ok_or_else(|| invalid("the parameter message is missing; it may be empty"))?;
    let message = match parameter("base64").as_deref() {
        Some(b"1") => BASE64.decode(message).map_err(|_| invalid("the parameter message is not base64 for URLs"))?,
        _ => message.into_owned(),
    };
    Ok(Query { encoding, compression, message: message.into() })
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Decodes a name or a value. As in HTML forms, `+` is a space: Go encodes queries so.
fn decode(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        return Cow::Owned(percent_decode(text.replace('+', " ").as_bytes()).collect());
    }
    percent_decode(text.as_bytes()).into()
}

/// Whether clients may call a method with GET. GET must not change anything (RFC 9110, section 9.2.1), and its response
/// is one message.
pub(in super::super) fn is_callable(method: &MethodDescriptor) -> bool {
    has_no_side_effects(method) && !method.is_client_streaming() && !method.is_server_streaming()
}

/// Refuses methods that may change something. The caller has refused streams.
pub(super) fn check(method: Option<&MethodDescriptor>) -> Result<(), Status> {
    if method.is_some_and(is_callable) {
        return Ok(());
    }
    let message = "the method may have side effects (idempotency_level); call it with POST";
    Err(status(Code::Unimplemented, crate::reason::GET_UNSUPPORTED, message))
}

fn invalid(message: &str) -> Status {
    status(Code::InvalidArgument, crate::reason::REQUEST_INVALID, message)
}
