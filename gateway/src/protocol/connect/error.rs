//! Errors as Connect states them: an HTTP status and a JSON object.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use prost::Message as _;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::pb;
use transcode::code_name;

use super::super::status::{add_http_headers, http_status};

/// The response to a unary call that failed. `headers` are its metadata.
pub(super) fn response(status: &Status, headers: HeaderMap) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(object(status).to_string()));
    *response.status_mut() = http_status(status);
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    add_http_headers(status, response.headers_mut());
    response
}

/// The error as JSON. Details that do not decode are omitted.
pub(super) fn object(status: &Status) -> Value {
    let mut object = json!({ "code": name(status.code()) });
    if !status.message().is_empty() {
        object["message"] = status.message().into();
    }
    let details = pb::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
    if !details.is_empty() {
        object["details"] = details.iter().map(detail).collect();
    }
    object
}

fn detail(detail: &prost_types::Any) -> Value {
    let name = detail.type_url.rsplit('/').next().unwrap_or_default();
    json!({ "type": name, "value": STANDARD_NO_PAD.encode(&detail.value) })
}

/// The names of codes in Connect ("Error codes" in its specification).
fn name(code: Code) -> String {
    match code {
        Code::Cancelled => "canceled".to_owned(),
        code => code_name(code as i32).to_ascii_lowercase(),
    }
}
