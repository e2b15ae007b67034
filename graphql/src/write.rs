//! Writes the fields of a response: from the JSON of calls to that of GraphQL, in the order of the operation.

use std::borrow::Cow;

use async_graphql::{Error, Value};
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    calls::{Failed, Text},
    fields::{Count, Keys, Member, Resolve, RootCall, Shape},
    introspection::{INCLUDE_DEPRECATED, SchemaText, TYPE_NAME},
    json_text::{Malformed, all_members, elements, is_null, members, text},
    loader::{Found, Objects},
    output::{Output, Step},
    plan::{Node, ValueSource},
    stop::Stop,
};

/// The member of a page that is not a field of its own.
const NEXT_PAGE_TOKEN: &str = "nextPageToken";

/// The members of an object.
type ObjectMembers<'j> = [(Cow<'j, str>, &'j RawValue)];

/// The result of a root field's call; `None`: it makes none.
pub(crate) type Called = Option<Result<Text, Box<Failed>>>;

/// Writes fields with what they refer to.
pub(crate) struct Writer<'p> {
    pub(crate) output: &'p mut Output,
    pub(crate) objects: &'p Objects<'p>,
    /// `None`: no field is part of the schema.
    pub(crate) schema: Option<&'p SchemaText>,
    pub(crate) path: Vec<Step<'p>>,
}

impl<'p> Writer<'p> {
    /// Writes a field of the root object.
    pub(crate) fn root(&mut self, node: &'p Node, called: &Called) -> Result<(), Stop> {
        self.keyed(node, |writer| match (node.resolve(), called) {
            (Some(Resolve::Call(call)), Some(Ok(text))) => writer.value(&call.shape, node, &text.json),
            (Some(Resolve::Call(call)), Some(Err(failed))) => writer.fail(node, call_error(call, failed)),
            (Some(Resolve::Schema), _) => writer.described(node, writer.schema.map(SchemaText::whole)),
            (Some(Resolve::Type), _) => {
                let name = match node.arguments.get(TYPE_NAME) {
                    Some(Value::String(name)) => name.as_str(),
                    _ => "",
                };
                writer.described(node, writer.schema.and_then(|schema| schema.of_type(name)))
            }
            _ => writer.field(node, &[]),
        })
    }

    fn keyed(&mut self, node: &'p Node, write: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        self.output.push("\"")?;
        self.output.push(node.key.as_str())?;
        self.output.push("\":")?;
        self.path.push(Step::Key(node.key.as_str()));
        write(self)?;
        self.path.pop();
        Ok(())
    }

    fn object(&mut self, nodes: &'p [Node], object: &ObjectMembers<'_>) -> Result<(), Stop> {
        self.output.push("{")?;
        for (at, node) in nodes.iter().enumerate() {
            if at > 0 {
                self.output.push(",")?;
            }
            self.keyed(node, |writer| writer.field(node, object))?;
        }
        self.output.push("}")?;
        Ok(())
    }

    /// Writes the value of a field of an object.
    fn field(&mut self, node: &'p Node, object: &ObjectMembers<'_>) -> Result<(), Stop> {
        let find = |name: &str| {
            let member = object.iter().find(|(of, _)| of == name);
            member.map(|(_, value)| *value).filter(|value| !is_null(value))
        };
        let resolve = match &node.source {
            ValueSource::TypeName(name) => return self.string(name),
            ValueSource::Field(def) => &def.resolve,
        };
        match resolve {
            Resolve::Member(member) => self.member(member, node, find(&member.json_name)),
            Resolve::PageInfo => self.object(&node.children, object),
            Resolve::EndCursor => self.raw(find(NEXT_PAGE_TOKEN).filter(|token| !is_empty(token))),
            Resolve::HasNextPage => {
                let has_next = find(NEXT_PAGE_TOKEN).is_some_and(|token| !is_empty(token));
                self.push(if has_next { "true" } else { "false" })
            }
            Resolve::Reference { json_name, batch, is_list: false } => self.reference(node, *batch, find(json_name)),
            Resolve::Reference { json_name, batch, is_list: true } => self.references(node, *batch, find(json_name)),
            Resolve::Available => self.push("true"),
            Resolve::TypeOf { json_name } => self.types(node, find(json_name)),
            Resolve::Described { json_name } => self.descriptions(node, find(json_name)),
            // Fields of the root object.
            Resolve::Call(_) | Resolve::Schema | Resolve::Type => self.push("null"),
        }
    }

    fn member(&mut self, member: &Member, node: &'p Node, value: Option<&RawValue>) -> Result<(), Stop> {
        match (member.count, value) {
            (Count::One, Some(value)) => self.value(&member.shape, node, value),
            (Count::One, None) => self.push("null"),
            (Count::List | Count::Map(_), None) => self.push("[]"),
            (Count::List, Some(list)) => self.list(list, |writer, element| match &member.shape {
                // A value that the contract does not know is left out.
                Shape::Enum(_) if !is_known(&member.shape, element) => Ok(()),
                shape => writer.element(|writer| writer.value(shape, node, element)),
            }),
            (Count::Map(keys), Some(map)) => self.map(keys, node, map),
        }
    }

    /// Writes a map as a list of entries.
    fn map(&mut self, keys: Keys, node: &'p Node, map: &RawValue) -> Result<(), Stop> {
        self.output.push("[")?;
        self.path.push(Step::Index(0));
        let mut at = 0;
        members(map, |(key, value)| {
            let key = match keys {
                Keys::Strings => to_raw_value(&key),
                Keys::Others => RawValue::from_string(key.into_owned()),
            };
            let key = key.map_err(|_| Malformed)?;
            self.separate(at)?;
            at += 1;
            self.object(&node.children, &[(Cow::Borrowed("key"), &*key), (Cow::Borrowed("value"), value)])
        })?;
        self.path.pop();
        self.push("]")
    }

    /// Writes the elements of a list that `write` leaves in.
    fn list<'j>(
        &mut self,
        list: &'j RawValue,
        mut write: impl FnMut(&mut ListWriter<'_, 'p>, &'j RawValue) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.output.push("[")?;
        self.path.push(Step::Index(0));
        let mut writer = ListWriter { writer: self, at: 0 };
        elements(list, |element| write(&mut writer, element))?;
        self.path.pop();
        self.push("]")
    }

    /// Begins an element of a list.
    fn separate(&mut self, at: usize) -> Result<(), Stop> {
        if at > 0 {
            self.output.push(",")?;
        }
        if let Some(step) = self.path.last_mut() {
            *step = Step::Index(at);
        }
        Ok(())
    }

    fn value(&mut self, shape: &Shape, node: &'p Node, value: &RawValue) -> Result<(), Stop> {
        match shape {
            Shape::Object if is_null(value) => self.push("null"),
            Shape::Object => self.object(&node.children, &all_members(value)?),
            shape => self.raw(Some(value).filter(|value| is_known(shape, value))),
        }
    }

    /// Writes the object with an id.
    fn reference(&mut self, node: &'p Node, batch: usize, id: Option<&RawValue>) -> Result<(), Stop> {
        let id = id.and_then(text).unwrap_or_default();
        match self.objects.get(batch, &id) {
            Some(Found::Object(object)) => self.object(&node.children, &all_members(object.json()?)?),
            Some(Found::Failed(failed)) => self.fail(node, self.objects.batch(batch).messages.error(failed)),
            Some(Found::Missing) | None => self.push("null"),
        }
    }

    /// Writes the objects with the ids of a list. Those that do not exist are left out.
    fn references(&mut self, node: &'p Node, batch: usize, ids: Option<&RawValue>) -> Result<(), Stop> {
        let Some(ids) = ids else { return self.push("[]") };
        let objects = self.objects;
        let mut failed = None;
        elements(ids, |id| {
            if let Some(Found::Failed(error)) = objects.get(batch, &text(id).unwrap_or_default()) {
                failed.get_or_insert(error);
            }
            Ok::<_, Stop>(())
        })?;
        if let Some(failed) = failed {
            return self.fail(node, objects.batch(batch).messages.error(failed));
        }
        self.list(ids, |writer, id| match objects.get(batch, &text(id).unwrap_or_default()) {
            Some(Found::Object(object)) => {
                let members = all_members(object.json()?)?;
                writer.element(|writer| writer.object(&node.children, &members))
            }
            _ => Ok(()),
        })
    }

    /// Writes a type of the schema, or a list of them.
    fn types(&mut self, node: &'p Node, value: Option<&RawValue>) -> Result<(), Stop> {
        match value {
            Some(list) if list.get().starts_with('[') => {
                self.list(list, |writer, of| writer.element(|writer| writer.named_type(node, of)))
            }
            Some(of) => self.named_type(node, of),
            None => self.push("null"),
        }
    }

    /// Writes a type of the schema. One with a name stands elsewhere with all its members.
    fn named_type(&mut self, node: &'p Node, of: &RawValue) -> Result<(), Stop> {
        let members = all_members(of)?;
        let name = members.iter().find(|(name, _)| name == "name").and_then(|(_, name)| text(name));
        match name.and_then(|name| self.schema?.of_type(&name)) {
            Some(whole) => self.object(&node.children, &all_members(whole)?),
            None => self.object(&node.children, &members),
        }
    }

    /// Writes a list of the schema.
    fn descriptions(&mut self, node: &'p Node, list: Option<&RawValue>) -> Result<(), Stop> {
        let Some(list) = list else { return self.push("null") };
        let includes_deprecated = node.arguments.get(INCLUDE_DEPRECATED) == Some(&Value::Boolean(true));
        self.list(list, |writer, element| {
            let members = all_members(element)?;
            let is_deprecated = members.iter().any(|(name, value)| name == "isDeprecated" && value.get() == "true");
            if is_deprecated && !includes_deprecated {
                return Ok(());
            }
            writer.element(|writer| writer.object(&node.children, &members))
        })
    }

    fn described(&mut self, node: &'p Node, object: Option<&RawValue>) -> Result<(), Stop> {
        match object {
            Some(object) => self.object(&node.children, &all_members(object)?),
            None => self.push("null"),
        }
    }

    /// Writes null, and adds the error of the field.
    fn fail(&mut self, node: &Node, error: Error) -> Result<(), Stop> {
        self.output.fail(error, &self.path, node.pos)?;
        self.push("null")
    }

    fn raw(&mut self, value: Option<&RawValue>) -> Result<(), Stop> {
        self.push(value.map_or("null", RawValue::get))
    }

    fn string(&mut self, text: &str) -> Result<(), Stop> {
        self.push("\"")?;
        self.push(text)?;
        self.push("\"")
    }

    fn push(&mut self, text: &str) -> Result<(), Stop> {
        Ok(self.output.push(text)?)
    }
}

/// Writes the elements of a list.
struct ListWriter<'w, 'p> {
    writer: &'w mut Writer<'p>,
    at: usize,
}

impl<'p> ListWriter<'_, 'p> {
    fn element(&mut self, write: impl FnOnce(&mut Writer<'p>) -> Result<(), Stop>) -> Result<(), Stop> {
        self.writer.separate(self.at)?;
        self.at += 1;
        write(self.writer)
    }
}

/// Whether GraphQL has a form for a value.
fn is_known(shape: &Shape, value: &RawValue) -> bool {
    match shape {
        // The number of a value without a name is no string.
        Shape::Enum(names) => text(value).is_some_and(|name| names.contains(name.as_ref())),
        // NaN and the infinities are strings.
        Shape::Float => !value.get().starts_with('"'),
        Shape::Scalar | Shape::Object => true,
    }
}

fn is_empty(value: &RawValue) -> bool {
    value.get() == "\"\""
}

/// The error of a root field; it names the arguments.
fn call_error(call: &RootCall, failed: &Failed) -> Error {
    let mut error = call.messages.error(failed);
    if let (Some(_), Some(extensions)) = (&call.paging, &mut error.extensions) {
        crate::arguments::name_in_violations(extensions);
    }
    error
}
