//! The operations of the document.

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, Kind, MethodDescriptor};
use serde_json::{Map, Value, json};

use super::{
    Options,
    comments::{Comments, summary},
    options,
    parameters::{self, Held},
    paths::Place,
    schemas::Schemas,
};
use crate::{PROBLEM_JSON, http_rule::Binding};

/// The extension with the policy of a method.
const POLICY: &str = "trellis.policy.v1.method";

/// Makes operations with unique ids.
pub(super) struct Operations<'a> {
    comments: &'a Comments,
    options: &'a Options,
    /// How often each id was made.
    ids: HashMap<String, usize>,
}

impl<'a> Operations<'a> {
    pub(super) fn new(comments: &'a Comments, options: &'a Options) -> Self {
        Self { comments, options, ids: HashMap::new() }
    }

    /// The operation of a binding.
    pub(super) fn of(&mut self, binding: &Binding, place: &Place, schemas: &mut Schemas<'_>) -> Value {
        let method = binding.method();
        let held = Held::of(binding);
        let mut operation = Map::new();
        operation.insert("operationId".into(), self.id(method).into());
        operation.insert("tags".into(), json!([method.parent_service().full_name()]));
        self.describe(method, &mut operation);
        let mut parameters = parameters::of_path(binding, place, schemas);
        parameters.extend(parameters::of_query(binding, &held, schemas));
        if !parameters.is_empty() {
            operation.insert("parameters".into(), parameters.into());
        }
        if let Some(body) = request_body(binding, &held, schemas) {
            operation.insert("requestBody".into(), body);
        }
        operation.insert("responses".into(), self.responses(binding, schemas));
        if let Some(policy) = options::extension(&method.options(), POLICY) {
            apply_policy(&policy, &mut operation);
        }
        if options::is_true(&method.options(), "deprecated") {
            operation.insert("deprecated".into(), true.into());
        }
        operation.into()
    }

    /// `UsersService_GetUser`, and `UsersService_GetUser_2` for a second binding.
    fn id(&mut self, method: &MethodDescriptor) -> String {
        let id = format!("{}_{}", method.parent_service().name(), method.name());
        let count = self.ids.entry(id.clone()).or_default();
        *count += 1;
        if *count == 1 { id } else { format!("{id}_{count}") }
    }

    fn describe(&self, method: &MethodDescriptor, operation: &mut Map<String, Value>) {
        let file = method.parent_service().parent_file();
        let Some(comment) = self.comments.get(file.name(), method.path()) else { return };
        let (first, rest) = summary(comment);
        operation.insert("summary".into(), first.into());
        if !rest.is_empty() {
            operation.insert("description".into(), rest.into());
        }
    }

    fn responses(&self, binding: &Binding, schemas: &mut Schemas<'_>) -> Value {
        let method = binding.method();
        let content = if binding.response_http_body().is_some() {
            json!({"*/*": {}})
        } else {
            let schema = match binding.response_body().and_then(|name| method.output().get_field_by_name(name)) {
                Some(field) => schemas.field(&field),
                None => schemas.message(&method.output()),
            };
            let is_stream = method.is_server_streaming();
            let content_type = if is_stream { &*self.options.stream_content_type } else { "application/json" };
            json!({content_type: {"schema": schema}})
        };
        json!({
            "200": {"description": "The call succeeded.", "content": content},
            "default": {"$ref": "#/components/responses/Error"},
        })
    }
}

/// The body: the whole request or one field, without the fields of the path.
fn request_body(binding: &Binding, held: &Held, schemas: &mut Schemas<'_>) -> Option<Value> {
    let input = binding.method().input();
    let name = binding.body()?;
    if binding.request_http_body().is_some() {
        return Some(json!({"content": {"*/*": {}}}));
    }
    let schema = match input.get_field_by_name(name) {
        Some(field) => match field.kind() {
            Kind::Message(message) if !field.is_list() && !field.is_map() => {
                schemas.without(&message, &held.within(field.name()))
            }
            _ => schemas.field(&field),
        },
        None => schemas.without(&input, &held.path),
    };
    Some(json!({"content": {"application/json": {"schema": schema}}}))
}

/// The security requirement and the rate limits of a policy.
fn apply_policy(policy: &DynamicMessage, operation: &mut Map<String, Value>) {
    if let Some(access) = options::message(policy, "access") {
        let is_public = options::message(&access, "public").is_some();
        operation.insert("security".into(), if is_public { json!([]) } else { json!([{"bearer": []}]) });
    }
    let limits = options::set(policy, "rate_limit");
    let limits = limits.as_ref().and_then(|value| value.as_list()).unwrap_or_default();
    let limits: Vec<_> = limits.iter().filter_map(|limit| limit.as_message().map(rate_limit)).collect();
    if !limits.is_empty() {
        operation.insert("x-rate-limit".into(), limits.into());
    }
}

/// `{"requests": 60, "periodSeconds": 60}`, and the other fields that are set.
fn rate_limit(limit: &DynamicMessage) -> Value {
    let mut shown = Map::new();
    for field in ["requests", "burst", "cost"] {
        if let Some(number) = options::number(limit, field) {
            shown.insert(field.into(), number.into());
        }
    }
    if let Some(seconds) = options::message(limit, "period").and_then(|period| options::number(&period, "seconds")) {
        shown.insert("periodSeconds".into(), seconds.into());
    }
    for field in ["key", "kind"] {
        if let Some(name) = enum_name(limit, field) {
            shown.insert(field.into(), name.into());
        }
    }
    if let Some(header) = options::text(limit, "header") {
        shown.insert("header".into(), header.into());
    }
    shown.into()
}

/// The name of an enum value, unless it is the default.
fn enum_name(message: &DynamicMessage, field: &str) -> Option<String> {
    let number = options::set(message, field)?.as_enum_number()?;
    let Kind::Enum(of) = prost_reflect::ReflectMessage::descriptor(message).get_field_by_name(field)?.kind() else {
        return None;
    };
    of.get_value(number).map(|value| value.name().to_owned())
}

/// The response of a call that failed: a status, or a problem document if `accept` names it.
pub(super) fn error_response() -> Value {
    json!({
        "description": format!("The call failed. `accept: {PROBLEM_JSON}` asks for a problem document."),
        "content": {
            "application/json": {"schema": status_schema()},
            PROBLEM_JSON: {"schema": problem_schema()},
        },
    })
}

fn status_schema() -> Value {
    json!({
        "type": "object",
        "description": "A `google.rpc.Status`.",
        "required": ["code"],
        "properties": {
            "code": {"type": "integer", "description": "The gRPC code, such as 5 for `NOT_FOUND`."},
            "message": {"type": "string", "description": "The message for developers."},
            "details": details_schema(),
        },
    })
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "required": ["type", "title", "status", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string", "description": "The reason phrase of the status."},
            "status": {"type": "integer", "description": "The HTTP status code."},
            "detail": {"type": "string", "description": "The message for developers."},
            "code": {"type": "string", "description": "The gRPC code, such as `NOT_FOUND`."},
            "details": details_schema(),
        },
    })
}

fn details_schema() -> Value {
    json!({"type": "array", "items": {
        "type": "object",
        "required": ["@type"],
        "properties": {"@type": {"type": "string", "format": "uri-reference"}},
        "additionalProperties": true,
    }})
}
