//! Fields of messages that HTTP has headers for: `Idempotency-Key`, `If-Match` and `ETag`.

use http::{HeaderMap, HeaderName, HeaderValue, header::IF_MATCH};
use prost_reflect::{Kind, MessageDescriptor};
use tonic::Status;
use transcode::{FieldPath, Limits, Plan, PrintOptions, http_rule::Binding, openapi::Terms};

use crate::protocol::{caching::etag_of, status::invalid_header};

/// draft-ietf-httpapi-idempotency-key-header.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The fields of a method.
#[derive(Debug)]
pub(crate) struct HeaderFields {
    /// `request_id` of the request: a repeated call with the same value has no further effect.
    idempotency_key: Option<FieldPath>,
    /// `etag` of the request, or of its only field that has one.
    if_match: Option<FieldPath>,
    /// `etag` of the response, or of its only field that has one.
    etag: Option<FieldPath>,
}

impl HeaderFields {
    pub(crate) fn of(binding: &Binding) -> Self {
        let (input, output) = (binding.input(), binding.output());
        let method = binding.method();
        Self {
            idempotency_key: string(input, "request_id"),
            if_match: etag(input, &method.input()),
            etag: etag(output, &method.output()),
        }
    }

    /// Adds the fields to the description of the form.
    pub(crate) fn describe(&self, terms: &mut Terms) {
        let name = |field: &FieldPath| field.names().collect::<Vec<_>>().join(".");
        terms.idempotency_key = self.idempotency_key.as_ref().map(name);
        terms.if_match = self.if_match.is_some();
        terms.has_etag = self.etag.is_some();
    }

    /// Appends the fields of a request that its headers state.
    pub(super) fn append(&self, headers: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Status> {
        let pairs = [(&self.idempotency_key, IDEMPOTENCY_KEY), (&self.if_match, IF_MATCH)];
        for (field, name) in pairs {
            let mut values = headers.get_all(&name).iter();
            let Some(value) = values.next() else { continue };
            // `*` matches every state.
            if name == IF_MATCH && value == "*" {
                continue;
            }
            // A condition that is not checked must not look like one.
            let Some(field) = field else {
                if name == IF_MATCH {
                    return Err(invalid_header(&name, "the method has no etag; omit the header"));
                }
                continue;
            };
            let text = unquoted(value).filter(|_| values.next().is_none());
            let text = text.ok_or_else(|| invalid_header(&name, "must be one quoted text"))?;
            let text = if name == IF_MATCH { etag_of(text) } else { text };
            field.append_text(text, out).map_err(|error| invalid_header(&name, &error.message))?;
        }
        Ok(())
    }

    /// Whether the request holds only for a state of the resource.
    pub(super) fn is_conditional(&self, headers: &HeaderMap) -> bool {
        self.if_match.is_some() && headers.contains_key(IF_MATCH)
    }

    /// The `ETag` of a response. Its JSON form, a text in quotes, is that of the header.
    pub(super) fn tag(&self, message: &[u8]) -> Option<HeaderValue> {
        let mut tag = Vec::new();
        self.etag.as_ref()?.to_json(message, &PrintOptions::default(), &Limits::default(), &mut tag).ok()?;
        let is_tag = tag.len() > 2 && !tag[1..tag.len() - 1].iter().any(|byte| matches!(byte, b'"' | b'\\'));
        HeaderValue::from_bytes(&tag).ok().filter(|_| is_tag)
    }
}

/// The text of a header with or without quotes.
fn unquoted(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    (!text.is_empty() && !text.contains(['"', ','])).then_some(text)
}

fn string(plan: &Plan, path: &str) -> Option<FieldPath> {
    plan.field_path(path).ok().filter(FieldPath::is_string)
}

fn etag(plan: &Plan, message: &MessageDescriptor) -> Option<FieldPath> {
    string(plan, "etag").or_else(|| {
        let singular = message.fields().filter(|field| !field.is_list() && !field.is_map());
        let with_etag = singular.filter(|field| match field.kind() {
            Kind::Message(message) => message.get_field_by_name("etag").is_some(),
            _ => false,
        });
        let mut names = with_etag.map(|field| format!("{}.etag", field.name()));
        let name = names.next()?;
        names.next().is_none().then(|| string(plan, &name)).flatten()
    })
}
