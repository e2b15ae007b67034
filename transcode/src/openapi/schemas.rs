//! The schemas of messages and enums.

mod scalars;
mod strict;

use std::collections::BTreeMap;

use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};
use serde_json::{Map, Value, json};

use super::{comments::Comments, rules, well_known};

/// The schemas that the document refers to.
pub(super) struct Schemas<'a> {
    comments: &'a Comments,
    /// By full name. `None` while the schema is made: a recursive message refers to itself.
    all: BTreeMap<String, Option<Value>>,
    /// The schemas of responses: their messages may have unknown fields.
    responses: Vec<Value>,
    /// Whether unknown fields of requests are errors.
    refuses_unknown: bool,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(comments: &'a Comments, refuses_unknown: bool) -> Self {
        Self { comments, all: BTreeMap::new(), responses: Vec::new(), refuses_unknown }
    }

    /// All schemas, by name.
    pub(super) fn into_members(self) -> Map<String, Value> {
        let Self { all, responses, refuses_unknown, .. } = self;
        let mut all: Map<_, _> = all.into_iter().filter_map(|(name, schema)| Some((name, schema?))).collect();
        if refuses_unknown {
            strict::apply(&mut all, &responses);
        }
        all
    }

    /// The schema of a response: of a message, or of one of its fields.
    pub(super) fn response(&mut self, message: &MessageDescriptor, field: Option<&FieldDescriptor>) -> Value {
        let schema = match field {
            Some(field) => self.field(field),
            None => self.message(message),
        };
        self.responses.push(schema.clone());
        schema
    }

    /// The schema of a body that is one message field, without the fields that the path holds. A response may have the
    /// same message, but only here unknown fields are errors.
    pub(super) fn request_field(&mut self, message: &MessageDescriptor, held: &[String]) -> Value {
        if well_known::is(message) { self.message(message) } else { self.request(message, held) }
    }

    /// Whether a schema of this document requires a member.
    pub(super) fn requires_members(&self, schema: &Value) -> bool {
        let named = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next());
        let schema = named.and_then(|name| self.all.get(name)?.as_ref()).unwrap_or(schema);
        schema["required"].is_array()
    }

    fn request(&mut self, message: &MessageDescriptor, held: &[String]) -> Value {
        let mut schema = self.object(message, held);
        if self.refuses_unknown {
            schema["additionalProperties"] = false.into();
        }
        schema
    }

    /// The schema of a message: a reference, or that of a well-known type.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        well_known::schema(message).unwrap_or_else(|| {
            let name = message.full_name().to_owned();
            if !self.all.contains_key(&name) {
                self.all.insert(name.clone(), None);
                let schema = self.object(message, &[]);
                self.all.insert(name, Some(schema));
            }
            reference(message.full_name())
        })
    }

    /// The schema of a message without the fields that the path holds.
    pub(super) fn without(&mut self, message: &MessageDescriptor, held: &[String]) -> Value {
        let has_held = message.fields().any(|field| held.iter().any(|name| name == field.name()));
        if has_held { self.request(message, held) } else { self.message(message) }
    }

    fn object(&mut self, message: &MessageDescriptor, held: &[String]) -> Value {
        let fields = message.fields().filter(|field| held.iter().all(|name| name != field.name()));
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for field in fields {
            let mut schema = self.field(&field);
            if let (Some(members), Some(comment)) = (schema.as_object_mut(), self.comment_of(&field)) {
                // In OpenAPI 3.1 a description may stand beside a reference.
                members.insert("description".into(), comment.into());
            }
            properties.insert(field.json_name().to_owned(), schema);
            if rules::is_required(&field) {
                required.push(field.json_name().to_owned());
            }
        }
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        if let Some(comment) = self.comments.get(message.parent_file().name(), message.path()) {
            schema.insert("description".into(), comment.into());
        }
        schema.insert("properties".into(), properties.into());
        if !required.is_empty() {
            schema.insert("required".into(), required.into());
        }
        let choices: Vec<_> = message.oneofs().filter(rules::is_required_oneof).map(|oneof| one_of(&oneof)).collect();
        if !choices.is_empty() {
            schema.insert("allOf".into(), choices.into());
        }
        schema.into()
    }

    /// The schema of a field in JSON.
    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Value {
        if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
            let value = entry.get_field(2).map(|value| self.value(&value.kind(), false));
            return json!({"type": "object", "additionalProperties": value});
        }
        self.list_or_value(field, false)
    }

    /// The schema of a field as a parameter, where 64-bit integers are numbers.
    pub(super) fn parameter(&mut self, field: &FieldDescriptor) -> Value {
        self.list_or_value(field, true)
    }

    fn list_or_value(&mut self, field: &FieldDescriptor, is_parameter: bool) -> Value {
        let rules = rules::of(field);
        let value = self.value(&field.kind(), is_parameter);
        let apply = |rules, value| match rules {
            Some(rules) => rules::apply(&rules, value),
            None => value,
        };
        if !field.is_list() {
            return apply(rules, value);
        }
        let mut list = Map::new();
        list.insert("type".into(), "array".into());
        list.insert("items".into(), apply(rules.as_ref().and_then(rules::of_items), value));
        if let Some(rules) = &rules {
            rules::apply_to_list(rules, &mut list);
        }
        list.into()
    }

    fn value(&mut self, kind: &Kind, is_parameter: bool) -> Value {
        match kind {
            Kind::Enum(of) => self.enumeration(of),
            Kind::Message(message) => self.message(message),
            _ => scalars::schema(kind, is_parameter),
        }
    }

    fn enumeration(&mut self, of: &EnumDescriptor) -> Value {
        if of.full_name() == "google.protobuf.NullValue" {
            return json!({"type": "null"});
        }
        if !self.all.contains_key(of.full_name()) {
            let file = of.parent_file();
            let names: Vec<_> = of.values().map(|value| value.name().to_owned()).collect();
            let text = self.comments.get(file.name(), of.path()).map(str::to_owned);
            let values = of.values().filter_map(|value| {
                let comment = self.comments.get(file.name(), value.path())?;
                Some(format!("- `{}`: {comment}", value.name()))
            });
            let values = values.collect::<Vec<_>>().join("\n");
            let description: Vec<_> = text.into_iter().chain((!values.is_empty()).then_some(values)).collect();
            let mut schema = json!({"type": "string", "enum": names});
            if !description.is_empty() {
                schema["description"] = description.join("\n\n").into();
            }
            self.all.insert(of.full_name().to_owned(), Some(schema));
        }
        reference(of.full_name())
    }

    /// The comment of a field, with the other members of its oneof.
    pub(super) fn comment_of(&self, field: &FieldDescriptor) -> Option<String> {
        let message = field.parent_message();
        let comment = self.comments.get(message.parent_file().name(), field.path()).map(str::to_owned);
        let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) else { return comment };
        let names: Vec<_> = oneof.fields().map(|member| format!("`{}`", member.json_name())).collect();
        let note = format!("At most one of {} is set.", names.join(", "));
        Some(comment.map_or(note.clone(), |comment| format!("{comment} {note}")))
    }
}

/// Exactly one member of a oneof is set.
fn one_of(oneof: &OneofDescriptor) -> Value {
    json!({"oneOf": oneof.fields().map(|field| json!({"required": [field.json_name()]})).collect::<Vec<_>>()})
}

fn reference(full_name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{full_name}")})
}
