//! What a decision of the authorization service means: changes of the request, or the refusal that the client receives.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{RETRY_AFTER, WWW_AUTHENTICATE},
};
use kit::error;
use tonic::{Code, Status, metadata::MetadataMap};

use super::messages::{CheckResponse, DeniedHttpResponse, HeaderValueOption, RpcStatus};
use crate::http::headers::{is_of_client, remove_like};

/// The longest message of a refusal, in bytes: it must fit into a header, percent-encoded.
const MOST_MESSAGE: usize = 1_000;
/// The headers of a refusal that reach the client.
const OF_REFUSAL: [HeaderName; 2] = [RETRY_AFTER, WWW_AUTHENTICATE];

/// The changes of a request that the service allows.
#[derive(Debug, Default)]
pub(crate) struct HeaderChanges {
    set: HeaderMap,
    remove: Vec<HeaderName>,
}

impl HeaderChanges {
    /// Removes headers of the client from the request, in each spelling.
    pub(crate) fn remove(&self, headers: &mut HeaderMap) {
        if !self.remove.is_empty() {
            remove_like(headers, &self.remove);
        }
    }

    /// Sets headers of the request to the upstream.
    pub(crate) fn set(self, headers: &mut HeaderMap) {
        // The client's copies are gone.
        headers.extend(self.set);
    }
}

/// Reads a response of the service, which may set the headers in `sets`.
pub(super) fn read(response: CheckResponse, sets: &[HeaderName]) -> Result<HeaderChanges, Box<Status>> {
    let status = response.status.unwrap_or_default();
    if status.code != Code::Ok as i32 || response.denied_response.is_some() {
        return Err(Box::new(refusal(&status, response.denied_response.unwrap_or_default())));
    }
    let ok = response.ok_response.unwrap_or_default();
    let mut changes = HeaderChanges::default();
    for option in &ok.headers {
        if let Some((name, value)) = field(option).filter(|(name, _)| sets.contains(name)) {
            put(&mut changes.set, name, value, option.append == Some(true));
        }
    }
    let names = ok.headers_to_remove.iter().filter_map(|name| HeaderName::try_from(name).ok());
    changes.remove = names.filter(is_of_client).collect();
    Ok(changes)
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue, appends: bool) {
    if appends {
        headers.append(name, value);
    } else {
        headers.insert(name, value);
    }
}

/// The name and value of a header; `None`: they are not valid.
fn field(option: &HeaderValueOption) -> Option<(HeaderName, HeaderValue)> {
    let header = option.header.as_ref()?;
    let bytes = if header.value.is_empty() { &header.raw_value[..] } else { header.value.as_bytes() };
    Some((HeaderName::try_from(&header.key).ok()?, HeaderValue::from_bytes(bytes).ok()?))
}

fn refusal(status: &RpcStatus, denied: DeniedHttpResponse) -> Status {
    let code = denied.status.map_or(0, |status| status.code);
    let code = code_of_http(code).unwrap_or_else(|| code_of_rpc(status.code));
    let stated = if denied.body.is_empty() { &status.message } else { &denied.body };
    let mut refusal = error::status(code, crate::reason::AUTHORIZATION_DENIED, message(stated));
    let mut headers = HeaderMap::new();
    for option in &denied.headers {
        if let Some((name, value)) = field(option).filter(|(name, _)| OF_REFUSAL.contains(name)) {
            put(&mut headers, name, value, option.append == Some(true));
        }
    }
    *refusal.metadata_mut() = MetadataMap::from_headers(headers);
    refusal
}

/// The code of an HTTP status; `None`: the service states none.
fn code_of_http(status: i32) -> Option<Code> {
    Some(match status {
        0 => return None,
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        404 => Code::NotFound,
        409 => Code::Aborted,
        429 => Code::ResourceExhausted,
        500..=599 => Code::Unavailable,
        _ => Code::PermissionDenied,
    })
}

fn code_of_rpc(code: i32) -> Code {
    match Code::from_i32(code) {
        // A refusal is no success, and no fault of the gateway.
        Code::Ok | Code::Unknown | Code::Internal | Code::Cancelled => Code::PermissionDenied,
        code => code,
    }
}

/// One line of bounded length.
fn message(stated: &str) -> String {
    if stated.is_empty() {
        return "the authorization service refuses the call".to_owned();
    }
    let line = stated.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut length = 0;
    line.take_while(|c| {
        length += c.len_utf8();
        length <= MOST_MESSAGE
    })
    .collect()
}
