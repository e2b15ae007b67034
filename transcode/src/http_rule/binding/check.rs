//! Compiles a declared HTTP form, and refuses forms that no request can fill.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};

use super::{Binding, Body, HttpBody, HttpForm, PathVariable};
use crate::{FieldPath, Plan, Registry, http_rule::template::Variable};

/// The maximum number of names of a dotted path. Each is a message around the field.
pub(in crate::http_rule) const MAX_DEPTH: usize = 16;

impl Binding {
    /// Compiles an HTTP form of `method`. The error states the fix, and the caller names the method.
    pub(in crate::http_rule) fn compile(
        registry: &Registry,
        method: &MethodDescriptor,
        form: HttpForm,
    ) -> Result<Self, String> {
        let plan = |message: &MessageDescriptor| {
            registry.message(message.full_name()).ok_or_else(|| format!("{} is not declared", message.full_name()))
        };
        let (input, output) = (plan(&method.input())?, plan(&method.output())?);
        let variables = form.template.variables.iter().map(|variable| path_variable(method, &input, variable));
        let variables = variables.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            body: body(method, &input, &form)?,
            response_body: response_body(method, &output, &form.response_body)?,
            request_http_body: http_body(&method.input(), &form.body),
            response_http_body: http_body(&method.output(), &form.response_body),
            method: method.clone(),
            http_method: form.http_method,
            template: form.template,
            input,
            output,
            variables,
        })
    }
}

fn path_variable(method: &MethodDescriptor, input: &Plan, variable: &Variable) -> Result<PathVariable, String> {
    let name = &variable.field;
    let fault = |problem: String| format!("the path variable `{name}`: {problem}");
    if name.split('.').count() > MAX_DEPTH {
        return Err(fault(format!("it has more than {MAX_DEPTH} names")));
    }
    let kind = scalar(&method.input(), input, name).map_err(fault)?;
    if variable.is_multiple() && kind != Kind::String {
        return Err(fault("it captures several segments, and is not a string: capture one segment".into()));
    }
    let field = input.field_path(name).map_err(|e| fault(e.to_string()))?;
    Ok(PathVariable { variable: variable.clone(), field })
}

/// The type of the field that a variable names: one value that is no message.
fn scalar(input: &MessageDescriptor, plan: &Plan, name: &str) -> Result<Kind, String> {
    let mut message = input.clone();
    let mut names = name.split('.').peekable();
    while let Some(part) = names.next() {
        let field = named(&message, part)?;
        if field.is_list() || field.is_map() {
            return Err(format!("`{part}` is repeated, and a path holds one value: move it to the query or the body"));
        }
        match (field.kind(), names.peek().is_some()) {
            (Kind::Message(inner), true) => message = inner,
            (Kind::Message(inner), false) => return Err(format!("it is a message: {}", instead(plan, name, &inner))),
            (_, true) => return Err(format!("`{part}` is not a message, so it has no fields")),
            (kind, false) => return Ok(kind),
        }
    }
    Err("it has no name".into())
}

fn body(method: &MethodDescriptor, input: &Plan, form: &HttpForm) -> Result<Body, String> {
    if form.body.is_empty() {
        return Ok(Body::Absent);
    }
    if matches!(&*form.http_method, "GET" | "HEAD") {
        return Err(format!(
            "a {} request has no body: remove `body`, so that query parameters hold the fields, or use POST",
            form.http_method
        ));
    }
    if form.body == "*" {
        return Ok(Body::Whole);
    }
    top_level(&method.input(), &form.body).map_err(|e| format!("`body`: {e}, or set `*` for all fields"))?;
    if form.template.variables().any(|variable| variable == form.body) {
        return Err(format!("the field `{}` is both a path variable and the body: keep one of them", form.body));
    }
    input.field_path(&form.body).map(Body::Field).map_err(|e| format!("`body`: {e}"))
}

fn response_body(method: &MethodDescriptor, output: &Plan, name: &str) -> Result<Option<FieldPath>, String> {
    if name.is_empty() {
        return Ok(None);
    }
    let remedy = |e: String| format!("`response_body`: {e}, or remove it for the whole response");
    top_level(&method.output(), name).map_err(remedy)?;
    output.field_path(name).map(Some).map_err(|e| remedy(e.to_string()))
}

/// The field of a message that `body` or `response_body` names.
fn top_level(message: &MessageDescriptor, name: &str) -> Result<FieldDescriptor, String> {
    if name.contains('.') {
        return Err(format!("`{name}` is a field of a field: name a field of {} itself", message.full_name()));
    }
    named(message, name)
}

fn named(message: &MessageDescriptor, name: &str) -> Result<FieldDescriptor, String> {
    message.get_field_by_name(name).ok_or_else(|| {
        let names: Vec<_> = message.fields().map(|field| format!("`{}`", field.name())).collect();
        let known =
            if names.is_empty() { "it has none".to_owned() } else { format!("use one of {}", names.join(", ")) };
        format!("{} has no field `{name}`: {known}", message.full_name())
    })
}

/// What to write instead of a message. The JSON form of well-known types has no fields of its own.
fn instead(input: &Plan, name: &str, message: &MessageDescriptor) -> String {
    let is_scalar = |field: &FieldDescriptor| !field.is_list() && !matches!(field.kind(), Kind::Message(_));
    match message.fields().find(is_scalar) {
        Some(field) if input.field_path(name).is_ok_and(|path| path.is_singular_message()) => {
            format!("name a field of it, such as `{name}.{}`", field.name())
        }
        _ => "move it to the query or the body".to_owned(),
    }
}

/// Whether the message, or the field of it that `body` names, is a `google.api.HttpBody`.
fn http_body(message: &MessageDescriptor, body: &str) -> Option<HttpBody> {
    if body.is_empty() || body == "*" {
        return is_http_body(message).then_some(HttpBody { field: None });
    }
    let field = message.get_field_by_name(body)?;
    let Kind::Message(inner) = field.kind() else { return None };
    (!field.is_list() && !field.is_group() && is_http_body(&inner)).then(|| HttpBody { field: Some(field.number()) })
}

fn is_http_body(message: &MessageDescriptor) -> bool {
    let has = |number, kind: Kind| message.get_field(number).is_some_and(|f| f.kind() == kind && !f.is_list());
    message.full_name() == "google.api.HttpBody"
        && has(HttpBody::CONTENT_TYPE, Kind::String)
        && has(HttpBody::DATA, Kind::Bytes)
}
