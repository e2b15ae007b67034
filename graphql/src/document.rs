//! Documents that call one method, as examples for people.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::Value as Json;

use crate::{
    api::Operation,
    arguments::{self, Paging},
    names, scalars,
    schema::{self, RootKind},
    source::Source,
};

/// How deep objects of a response are selected.
const DEPTH: usize = 3;

/// A root field of the schema.
#[derive(Debug, Clone)]
pub struct RootField {
    name: String,
    operation: Operation,
    method: MethodDescriptor,
    paging: Option<Paging>,
}

/// The root fields of the schema of `sources`.
///
/// # Errors
///
/// Fails if two of them have one name.
pub fn root_fields(sources: &[Source<'_>]) -> Result<Vec<RootField>, String> {
    let roots = schema::roots(sources)?.into_iter().map(|root| RootField {
        name: root.name,
        operation: operation(root.kind),
        method: root.method.descriptor.clone(),
        paging: root.paging,
    });
    Ok(roots.collect())
}

/// The kind of operation that has such fields.
fn operation(kind: RootKind) -> Operation {
    match kind {
        RootKind::Query => Operation::Query,
        RootKind::Mutation => Operation::Mutation,
        RootKind::Subscription => Operation::Subscription,
    }
}

impl RootField {
    /// The method that the field calls.
    #[must_use]
    pub fn method(&self) -> &MethodDescriptor {
        &self.method
    }

    /// The kind of the operation that the field belongs to.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// A document that calls the method with a request, given as JSON, and selects the fields of the response.
    #[must_use]
    pub fn document(&self, request: &Json) -> String {
        let operation = match self.operation {
            Operation::Query => "query",
            Operation::Mutation => "mutation",
            Operation::Subscription => "subscription",
        };
        let input = self.method.input();
        let has_arguments = scalars::of_message(&input).is_none();
        let arguments =
            if has_arguments { members(&input, request, self.paging.as_ref()) } else { Vec::new() }.join(", ");
        let arguments = if arguments.is_empty() { arguments } else { format!("({arguments})") };
        let selection = match scalars::of_message(&self.method.output()) {
            Some(_) => String::new(),
            None => format!(" {}", selection(&self.method.output(), self.paging.as_ref(), DEPTH)),
        };
        format!("{operation} {{ {}{arguments}{selection} }}", self.name)
    }
}

/// `name: value` for each field that the JSON of a message has.
fn members(message: &MessageDescriptor, json: &Json, paging: Option<&Paging>) -> Vec<String> {
    let set = message.fields().filter_map(|field| Some((json.get(field.json_name())?.clone(), field)));
    set.map(|(value, field)| format!("{}: {}", arguments::name(&field, paging), literal(&field, &value))).collect()
}

fn literal(field: &FieldDescriptor, value: &Json) -> String {
    match (field.kind(), value) {
        (Kind::Message(entry), Json::Object(entries)) if field.is_map() => {
            let (key, of) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            let is_text = key.kind() == Kind::String;
            let key = |key: &str| if is_text { Json::from(key).to_string() } else { key.to_owned() };
            let entries = entries
                .iter()
                .map(|(name, value)| format!("{{key: {}, value: {}}}", key(name), one(&of.kind(), value)));
            format!("[{}]", entries.collect::<Vec<_>>().join(", "))
        }
        (kind, Json::Array(items)) if field.is_list() => {
            format!("[{}]", items.iter().map(|item| one(&kind, item)).collect::<Vec<_>>().join(", "))
        }
        (kind, value) => one(&kind, value),
    }
}

/// One value, not a list.
fn one(kind: &Kind, value: &Json) -> String {
    match (kind, value) {
        // Enum values have no quotes.
        (Kind::Enum(_), Json::String(name)) => name.clone(),
        (Kind::Message(message), value) if scalars::of_message(message).is_none() => {
            format!("{{{}}}", members(message, value, None).join(", "))
        }
        _ => any(value),
    }
}

/// The literal of any JSON.
fn any(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("[{}]", items.iter().map(any).collect::<Vec<_>>().join(", ")),
        Json::Object(of) => {
            let members = of.iter().filter(|(name, _)| names::is_valid(name));
            let members = members.map(|(name, value)| format!("{name}: {}", any(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// The fields of an object. Those of objects that are too deep are left out.
fn selection(message: &MessageDescriptor, paging: Option<&Paging>, depth: usize) -> String {
    let mut fields = Vec::new();
    for field in message.fields() {
        let Some(name) = arguments::output_name(&field, paging) else { continue };
        fields.extend(selected(&field, depth).map(|inner| format!("{name}{inner}")));
    }
    if paging.is_some() {
        fields.push("pageInfo { endCursor hasNextPage }".to_owned());
    }
    if fields.is_empty() {
        fields.push("__typename".to_owned());
    }
    format!("{{ {} }}", fields.join(" "))
}

/// The selection of a field: empty for a scalar. `None`: it is too deep.
fn selected(field: &FieldDescriptor, depth: usize) -> Option<String> {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let inner = selected(&entry.map_entry_value_field(), depth)?;
            Some(format!(" {{ key value{inner} }}"))
        }
        Kind::Message(message) if scalars::of_message(&message).is_none() => {
            (depth > 1).then(|| format!(" {}", selection(&message, None, depth - 1)))
        }
        _ => Some(String::new()),
    }
}
