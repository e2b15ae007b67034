//! The operations of the document.

mod policy;
mod responses;

use std::collections::HashMap;

use prost_reflect::{Kind, MethodDescriptor};
use serde_json::{Map, Value, json};

use super::{
    Form, Options,
    comments::{Comments, summary},
    options,
    parameters::{self, Held},
    paths::Place,
    samples,
    schemas::Schemas,
};
use crate::http_rule::Binding;

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

    /// The operation of a form.
    pub(super) fn of(&mut self, form: &Form<'_>, place: &Place, schemas: &mut Schemas<'_>) -> Value {
        let Form { binding, terms } = form;
        let method = binding.method();
        let held = Held::of(binding);
        let mut operation = Map::new();
        operation.insert("operationId".into(), self.id(method).into());
        operation.insert("tags".into(), json!([method.parent_service().full_name()]));
        self.describe(method, &mut operation);
        let mut parameters = parameters::of_path(binding, place, schemas);
        parameters.extend(parameters::of_query(binding, &held, schemas));
        parameters.extend(parameters::of_headers(binding, terms, responses::is_stored(binding), schemas));
        if !parameters.is_empty() {
            operation.insert("parameters".into(), parameters.into());
        }
        if let Some(body) = self.request_body(binding, &held, schemas) {
            operation.insert("requestBody".into(), body);
        }
        let policy = policy::of(method);
        let needs_user = terms.needs_user.or(policy.as_ref().and_then(policy::needs_user));
        let scopes = policy.as_ref().map(policy::scopes).unwrap_or_default();
        let needed = responses::Needed { user: needs_user.unwrap_or_default(), scopes: !scopes.is_empty() };
        let responses = responses::of(binding, terms, needed, schemas, self.comments);
        operation.insert("responses".into(), responses);
        if let Some(needs_user) = needs_user {
            operation.insert("security".into(), if needs_user { json!([{"bearer": scopes}]) } else { json!([]) });
        }
        if let Some(policy) = &policy {
            let limits = [
                ("x-rate-limit", policy::rate_limits(policy)),
                ("x-stream-limit", policy::stream_limit(policy)),
                ("x-deadline-seconds", policy::deadline(policy)),
                ("x-roles", policy::roles(policy)),
                ("x-step-up-max-age-seconds", policy::step_up(policy)),
            ];
            operation.extend(limits.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
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

    /// The body: the whole request or one field, without the fields of the path.
    fn request_body(&self, binding: &Binding, held: &Held, schemas: &mut Schemas<'_>) -> Option<Value> {
        let name = binding.body()?;
        if binding.request_http_body().is_some() {
            // The message of a call is limited, but not all messages of a stream together.
            let most = self.options.message_bytes.filter(|_| !binding.method().is_client_streaming());
            let limit = most.map_or_else(String::new, |most| format!(" At most {most} bytes."));
            let description = format!("Bytes of any content type, as they are.{limit}");
            return Some(json!({"description": description, "content": responses::any_bytes()}));
        }
        let input = binding.method().input();
        let (schema, example) = match input.get_field_by_name(name) {
            Some(field) => match field.kind() {
                Kind::Message(message) if !field.is_list() && !field.is_map() => {
                    let held = held.within(field.name());
                    (schemas.request_field(&message, &held), samples::of_message(&message, &held))
                }
                _ => (schemas.field(&field), samples::of_parameter(&field, true)),
            },
            None => (schemas.without(&input, &held.path), samples::of_message(&input, &held.path)),
        };
        let mut content = json!({"schema": schema});
        if let Some(example) = example {
            content["example"] = example;
        }
        // POST needs its content type, and so a body, also if all fields may be absent.
        let is_required = binding.http_method() == "POST" || schemas.requires_members(&content["schema"]);
        let mut body = json!({"required": is_required, "content": {"application/json": content}});
        if let Some(most) = self.options.message_bytes {
            body["description"] = format!("At most {most} bytes, as JSON and as protobuf.").into();
        }
        Some(body)
    }
}
