//! Unary calls with GET: the message is in the query, so that browsers and proxies may cache the response.

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use kit::{error::status, policy::has_no_side_effects};
use percent_encoding::percent_decode_str;
use prost_reflect::MethodDescriptor;
use tonic::{Code, Status};

use super::{
    super::{caching::StoredTags, compression::ContentEncoding},
    Connect, Encoding,
};

/// Base64 for URLs, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A unary call with GET.
#[derive(Debug, Clone)]
pub(super) struct Get {
    message: Bytes,
    pub(super) stored: StoredTags,
}

impl Get {
    /// Reads a query. `None`: it is not that of a call in Connect.
    pub(super) fn read(query: &str, headers: &HeaderMap) -> Option<Result<Connect, Status>> {
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        if parameter("connect")? != "v1" {
            return Some(Err(invalid("the parameter connect must be v1")));
        }
        let stored = StoredTags::of(headers);
        Some(read(parameter).map(|(encoding, compression, message)| {
            let get = Some(Box::new(Self { message, stored }));
            Connect { encoding, compression, get, problem: None }
        }))
    }

    pub(super) fn message(&self) -> &[u8] {
        &self.message
    }
}

/// The encoding of the message, its compression, and the message.
fn read<'a>(parameter: impl Fn(&str) -> Option<&'a str>) -> Result<(Encoding, ContentEncoding, Bytes), Status> {
    let text = parameter("message").ok_or_else(|| invalid("the parameter message is missing; it may be empty"))?;
    let encoding = match parameter("encoding") {
        Some("proto") => Encoding::Proto,
        Some("json") => Encoding::Json,
        _ => return Err(invalid("the parameter encoding must be proto or json")),
    };
    let compression = parameter("compression").map(HeaderValue::try_from).transpose();
    let compression = compression.map_err(|_| invalid("the parameter compression is malformed"))?;
    let compression = ContentEncoding::parse(compression.as_ref())?;
    // As in HTML forms, `+` is a space: Go encodes queries so.
    let bytes: Vec<u8> = percent_decode_str(&text.replace('+', " ")).collect();
    let message = match parameter("base64") {
        Some("1") => BASE64.decode(bytes).map_err(|_| invalid("the parameter message is not base64 for URLs"))?,
        _ => bytes,
    };
    Ok((encoding, compression, message.into()))
}

/// GET must not change anything (RFC 9110, section 9.2.1).
pub(super) fn check(method: Option<&MethodDescriptor>) -> Result<(), Status> {
    if method.is_some_and(has_no_side_effects) {
        return Ok(());
    }
    let message = "the method may have side effects (idempotency_level); call it with POST";
    Err(status(Code::Unimplemented, "GET_UNSUPPORTED", message))
}

fn invalid(message: &str) -> Status {
    status(Code::InvalidArgument, "QUERY_MALFORMED", message)
}
