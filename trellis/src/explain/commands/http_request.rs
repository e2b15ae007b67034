//! Requests in the HTTP forms of a method.

use gateway::HttpForm;
use prost_reflect::MessageDescriptor;
use serde_json::Value;
use transcode::openapi::samples;

use super::JSON;

/// The content type of the sample of a body that is bytes.
const BYTES: &str = "text/plain";

/// A request in an HTTP form.
pub(super) struct HttpRequest {
    pub(super) method: String,
    /// The template of the path.
    pub(super) path: String,
    pub(super) url: String,
    /// The body; `None`: the form has none.
    pub(super) body: Option<String>,
    pub(super) content_type: &'static str,
    /// The body of the response is bytes.
    pub(super) gives_bytes: bool,
}

impl HttpRequest {
    /// The sample of a request. `gateway` is the address of the gateway, and `message` the request in gRPC.
    pub(super) fn new(gateway: &str, message: &MessageDescriptor, form: &HttpForm) -> Self {
        let mut request = samples::request(message, &form.variables);
        let mut path = form.path.clone();
        for variable in &form.variables {
            let value = samples::take(message, &mut request, variable);
            path = fill(&path, variable, value.as_ref());
        }
        let body = match form.body.as_deref() {
            None => None,
            Some("*") => Some(request.take()),
            Some(field) => {
                Some(samples::take(message, &mut request, field).unwrap_or_else(|| Value::Object(Default::default())))
            }
        };
        let body = body.map(|body| if form.takes_bytes { "example".to_owned() } else { body.to_string() });
        let query = query(&request);
        let method = if form.http_method == "*" { "POST" } else { &form.http_method };
        Self {
            method: method.to_owned(),
            path: form.path.clone(),
            url: format!("{gateway}{path}{query}"),
            body,
            content_type: if form.takes_bytes { BYTES } else { JSON },
            gives_bytes: form.gives_bytes,
        }
    }
}

/// The path with a value in place of a variable, `{name}` or `{name=segments}`.
fn fill(path: &str, variable: &str, value: Option<&Value>) -> String {
    let Some(start) = path.find(&format!("{{{variable}")) else { return path.to_owned() };
    let Some(end) = path[start..].find('}').map(|length| start + length) else { return path.to_owned() };
    let value = match path[start + 1 + variable.len()..end].strip_prefix('=') {
        Some(segments) if segments != "*" => segments.replace("**", "example").replace('*', "example"),
        _ => percent_encoded(&text(value.unwrap_or(&Value::Null))),
    };
    format!("{}{value}{}", &path[..start], &path[end + 1..])
}

/// The query with the other fields of a request.
fn query(request: &Value) -> String {
    let mut pairs = Vec::new();
    parameters("", request, &mut pairs);
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn parameters(name: &str, value: &Value, pairs: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                parameters(&name, value, pairs);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| parameters(name, item, pairs)),
        Value::Null => {}
        other => pairs.push(format!("{name}={}", percent_encoded(&text(other)))),
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Everything but unreserved characters encoded (RFC 3986, section 2.3).
fn percent_encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
