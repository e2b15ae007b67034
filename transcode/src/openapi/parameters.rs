//! The parameters of operations.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Value, json};

use super::{Terms, paths::Place, rules, samples, schemas::Schemas, well_known};
use crate::http_rule::Binding;

/// How deep query parameters of nested messages are listed.
const MAX_DEPTH: usize = 4;

/// An entity tag (RFC 9110, section 8.8.3) without commas: the etag of a message, and the hash of a response to GET.
const TAG: &str = r#""[!#-+\--~]{1,64}(\.[A-Za-z0-9_\-]{22})?""#;

/// The fields that the path and the body hold.
pub(super) struct Held {
    /// The dotted names of the path's fields.
    pub(super) path: Vec<String>,
    body: Option<String>,
}

impl Held {
    pub(super) fn of(binding: &Binding) -> Self {
        let path = binding.template().variables().map(str::to_owned).collect();
        Self { path, body: binding.body().map(str::to_owned) }
    }

    /// The names of the path's fields in the message field `name`.
    pub(super) fn within(&self, name: &str) -> Vec<String> {
        let inner = |field: &String| Some(field.strip_prefix(name)?.strip_prefix('.')?.to_owned());
        self.path.iter().filter_map(inner).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.body.as_deref() == Some(name) || self.path.iter().any(|field| field == name)
    }
}

pub(super) fn of_path(binding: &Binding, place: &Place, schemas: &mut Schemas<'_>) -> Vec<Value> {
    let input = binding.method().input();
    let parameter = |parameter: &super::paths::Parameter| {
        let field = parameter.field.as_deref().and_then(|name| find(&input, name));
        let schema = match &field {
            Some(field) => schemas.parameter(field),
            None => json!({"type": "string"}),
        };
        let mut shown = json!({"name": parameter.name, "in": "path", "required": true, "schema": schema});
        let note = parameter.is_rest.then_some("The rest of the path, which may have several segments.");
        if let Some(example) = field.as_ref().and_then(|field| samples::of_parameter(field, true)) {
            shown["example"] = example;
        }
        let comment = field.and_then(|field| schemas.comment_of(&field));
        let description: Vec<_> = comment.as_deref().into_iter().chain(note).collect();
        if !description.is_empty() {
            shown["description"] = description.join(" ").into();
        }
        shown
    };
    place.parameters.iter().map(parameter).collect()
}

/// The headers that set a field of the request or that state a condition. `is_stored`: clients may store responses.
pub(super) fn of_headers(binding: &Binding, terms: &Terms, is_stored: bool, schemas: &mut Schemas<'_>) -> Vec<Value> {
    let mut found = Vec::new();
    let mut add = |name: &str, schema: Value, description: &str| {
        found.push(json!({"name": name, "in": "header", "schema": schema, "description": description}));
    };
    if let Some(field) = terms.idempotency_key.as_deref().and_then(|name| find(&binding.method().input(), name)) {
        let text = format!("Sets `{}`. A repeated call with the same value has no further effect.", field.json_name());
        add("Idempotency-Key", schemas.parameter(&field), &text);
    }
    if terms.if_match {
        let schema = json!({"type": "string", "pattern": format!("^(\\*|{TAG})$")});
        add(
            "If-Match",
            schema,
            "Sets the `etag` of the request: the call fails with 412 when the resource has another one.",
        );
    }
    if is_stored {
        let schema = json!({"type": "string", "pattern": format!("^(\\*|(W/)?{TAG}(, ?(W/)?{TAG})*)$")});
        add("If-None-Match", schema, "The `ETag` of a stored response: the response is 304 while it is current.");
    }
    found
}

/// The field with a dotted name.
fn find(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    match name.split_once('.') {
        None => message.get_field_by_name(name),
        Some((first, rest)) => match message.get_field_by_name(first)?.kind() {
            Kind::Message(inner) => find(&inner, rest),
            _ => None,
        },
    }
}

pub(super) fn of_query(binding: &Binding, held: &Held, schemas: &mut Schemas<'_>) -> Vec<Value> {
    let mut found = Vec::new();
    if binding.body() != Some("*") {
        let mut query = Query { held, schemas, found: &mut found };
        query.fields(&binding.method().input(), "", "", 0);
    }
    found
}

struct Query<'a, 'b> {
    held: &'a Held,
    schemas: &'a mut Schemas<'b>,
    found: &'a mut Vec<Value>,
}

impl Query<'_, '_> {
    /// Adds the fields of a message. `names` and `json_names` lead to it, each name with a dot after it.
    fn fields(&mut self, message: &MessageDescriptor, names: &str, json_names: &str, depth: usize) {
        for field in message.fields() {
            let name = format!("{names}{}", field.name());
            let json_name = format!("{json_names}{}", field.json_name());
            if self.held.has(&name) || field.is_map() {
                continue;
            }
            match field.kind() {
                Kind::Message(inner) if !well_known::is_text(&inner) => {
                    if !field.is_list() && !well_known::is(&inner) && depth + 1 < MAX_DEPTH {
                        self.fields(&inner, &format!("{name}."), &format!("{json_name}."), depth + 1);
                    }
                }
                _ => self.add(&field, &json_name, depth),
            }
        }
    }

    fn add(&mut self, field: &FieldDescriptor, json_name: &str, depth: usize) {
        let mut shown = json!({"name": json_name, "in": "query", "schema": self.schemas.parameter(field)});
        // The message around a nested field may be absent.
        let is_required = depth == 0 && rules::is_required(field);
        if is_required {
            shown["required"] = true.into();
        }
        if let Some(example) = samples::of_parameter(field, is_required) {
            shown["example"] = example;
        }
        if let Some(comment) = self.schemas.comment_of(field) {
            shown["description"] = comment.into();
        }
        self.found.push(shown);
    }
}
