//! Fields of messages that HTTP has a place for: `Idempotency-Key`, `If-Match`, `ETag`, and the cursor of a stream as
//! `Last-Event-ID` and `id` of an event.

use http::{HeaderMap, HeaderName, HeaderValue, header::IF_MATCH};
use kit::error::status;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use tonic::{Code, Status};
use transcode::{FieldPath, Limits, Plan, PrintOptions, http_rule::Binding, openapi::Terms};

use crate::{
    http::entity_tag::{self, EntityTag},
    protocol::{caching::etag_of, status::invalid_header},
};

/// draft-ietf-httpapi-idempotency-key-header.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The last event that the client has received (WHATWG HTML, section 9.2.4).
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The option that marks the cursor of a stream.
const EVENT_CURSOR: &str = "trellis.policy.v1.event_cursor";
/// The maximum number of names of the path to a marked field of a response.
const CURSOR_DEPTH: usize = 3;

/// The fields of a method.
#[derive(Debug)]
pub(crate) struct HeaderFields {
    /// `request_id` of the request: a repeated call with the same value has no further effect.
    idempotency_key: Option<FieldPath>,
    /// `etag` of the request, or of its only field that has one.
    if_match: Option<FieldPath>,
    /// `etag` of the response, or of its only field that has one.
    etag: Option<FieldPath>,
    /// The request's cursor, from which a stream continues.
    resume: Option<FieldPath>,
    /// The cursors of the response, for streams.
    cursors: Vec<FieldPath>,
}

impl HeaderFields {
    pub(crate) fn of(binding: &Binding) -> Self {
        let (input, output) = (binding.input(), binding.output());
        let method = binding.method();
        Self {
            idempotency_key: string(input, "request_id"),
            if_match: etag(input, &method.input()),
            etag: etag(output, &method.output()),
            resume: method
                .input()
                .fields()
                .find(is_cursor)
                .filter(|_| method.is_server_streaming())
                .and_then(|field| string(input, field.name())),
            cursors: if method.is_server_streaming() { cursors(output, &method.output()) } else { Vec::new() },
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
            let text = if name == IF_MATCH { matched(value)? } else { unquoted(value) };
            let text = text.filter(|_| values.next().is_none());
            let text = text.ok_or_else(|| invalid_header(&name, "must be one quoted text"))?;
            field.append_text(text, out).map_err(|error| invalid_header(&name, &error.message))?;
        }
        self.append_resume(headers, out)
    }

    /// Appends the cursor. EventSource repeats the URL when it reconnects, so the header replaces a cursor there. It sends
    /// the header for any stream.
    fn append_resume(&self, headers: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Status> {
        let Some((field, value)) = self.resume.as_ref().zip(headers.get(LAST_EVENT_ID)) else { return Ok(()) };
        let text =
            std::str::from_utf8(value.as_bytes()).map_err(|_| invalid_header(&LAST_EVENT_ID, "must be UTF-8"))?;
        field.append_text(text, out).map_err(|error| invalid_header(&LAST_EVENT_ID, &error.message))
    }

    /// Whether the request holds only for a state of the resource.
    pub(super) fn is_conditional(&self, headers: &HeaderMap) -> bool {
        self.if_match.is_some() && headers.contains_key(IF_MATCH)
    }

    /// The `ETag` of a response. Its JSON form, a text in quotes, is that of the header.
    pub(super) fn tag(&self, message: &[u8]) -> Option<HeaderValue> {
        let mut tag = Vec::new();
        self.etag.as_ref()?.to_json(message, &PrintOptions::default(), &Limits::default(), &mut tag).ok()?;
        // A backslash in JSON is an escape.
        let may_be_in = |byte: u8| byte != b'\\' && entity_tag::may_be_in_tag(byte);
        let is_tag = tag.len() > 2 && tag[1..tag.len() - 1].iter().copied().all(may_be_in);
        HeaderValue::from_bytes(&tag).ok().filter(|_| is_tag)
    }

    /// Appends the `id` of an event, with its line. An event without a cursor has none.
    pub(super) fn append_event_id(&self, message: &[u8], out: &mut Vec<u8>) {
        let (print, limits) = (PrintOptions::default(), Limits::default());
        let mut json = Vec::new();
        for cursor in &self.cursors {
            json.clear();
            let is_read = cursor.to_json(message, &print, &limits, &mut json).is_ok();
            // A text with an escape holds a character that an id must not have, or that a header cannot hold.
            let text = json.strip_prefix(b"\"").and_then(|json| json.strip_suffix(b"\"")).unwrap_or_default();
            if is_read && !text.is_empty() && !text.contains(&b'\\') {
                out.extend_from_slice(b"id: ");
                out.extend_from_slice(text);
                out.push(b'\n');
                return;
            }
        }
    }
}

/// The etag of the message in `If-Match`; `None`: it is not one tag.
fn matched(value: &HeaderValue) -> Result<Option<&str>, Status> {
    let Some(tags) = entity_tag::list(value.as_bytes()) else { return Ok(unquoted(value).map(etag_of)) };
    match tags[..] {
        // The strong comparison accepts no weak tag (RFC 9110, section 13.1.1).
        [EntityTag { is_weak: true, .. }] => {
            let message = "if-match has a weak tag, which matches no state; send the etag of a response";
            Err(status(Code::Aborted, crate::reason::ETAG_MISMATCH, message))
        }
        [EntityTag { opaque, .. }] if !opaque.is_empty() => Ok(std::str::from_utf8(opaque).ok().map(etag_of)),
        _ => Ok(None),
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

/// Whether the contract marks the field as the cursor of a stream.
fn is_cursor(field: &FieldDescriptor) -> bool {
    let options = field.options();
    options.extensions().any(|(option, value)| option.full_name() == EVENT_CURSOR && value.as_bool() == Some(true))
}

/// The cursors in a message and in the messages in it.
fn cursors(plan: &Plan, message: &MessageDescriptor) -> Vec<FieldPath> {
    let (mut open, mut found) = (vec![(String::new(), message.clone(), 1)], Vec::new());
    while let Some((prefix, message, depth)) = open.pop() {
        for field in message.fields().filter(|field| !field.is_list() && !field.is_map()) {
            let path = format!("{prefix}{}", field.name());
            match field.kind() {
                Kind::Message(inner) if depth < CURSOR_DEPTH => open.push((format!("{path}."), inner, depth + 1)),
                _ if is_cursor(&field) => found.extend(string(plan, &path)),
                _ => {}
            }
        }
    }
    found
}
