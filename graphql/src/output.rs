//! Fields of a response: from the JSON of a call to the values of GraphQL.

use std::{collections::BTreeSet, sync::Arc};

use async_graphql::{
    Error, Name, Result, Value,
    dynamic::{FieldFuture, FieldValue, ResolverContext},
};
use prost_reflect::MessageDescriptor;
use serde_json::{Value as Json, json};

use crate::{arguments::Paging, budget::OBJECT, scalars, session::Session};

/// How a value is written.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Scalar,
    /// A number; null if it is not finite.
    Float,
    /// The names of the values.
    Enum(Arc<BTreeSet<String>>),
    Object,
}

/// How many values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    One,
    List,
    /// A map, as a list of entries.
    Map(Keys),
}

/// The type of a map's keys, which are strings in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    Strings,
    /// Numbers and truth values, whose text is JSON.
    Others,
}

impl Keys {
    /// The type of the keys of a map's entry.
    pub(crate) fn of_entry(entry: &MessageDescriptor) -> Self {
        match scalars::of(&entry.map_entry_key_field().kind()) {
            Some("Int" | "UInt32" | "Boolean") => Self::Others,
            _ => Self::Strings,
        }
    }

    fn of(self, key: &str) -> Json {
        match self {
            Self::Strings => key.into(),
            Self::Others => serde_json::from_str(key).unwrap_or_default(),
        }
    }
}

/// A field of an object.
#[derive(Debug, Clone)]
pub(crate) struct OutputField {
    pub(crate) json_name: String,
    pub(crate) shape: Shape,
    pub(crate) count: Count,
}

impl OutputField {
    pub(crate) fn resolve<'a>(&self, context: &ResolverContext<'a>) -> FieldFuture<'a> {
        ready(self.value(context))
    }

    fn value<'a>(&self, context: &ResolverContext<'a>) -> Result<Option<FieldValue<'a>>> {
        let session = context.data_unchecked::<Arc<Session>>();
        let name = context.item.node.response_key().node.as_str();
        let json = match parent(context.parent_value)?.get(&self.json_name) {
            None | Some(Json::Null) => {
                session.budget().write(name, 0);
                return Ok(None);
            }
            Some(json) => json,
        };
        if !session.budget().write(name, size(&self.shape, self.count, json)) {
            return Ok(None);
        }
        match (self.count, json) {
            (Count::One, json) => borrowed(&self.shape, json),
            (Count::List, Json::Array(items)) => {
                let mut values = Vec::with_capacity(items.len());
                for item in items {
                    match borrowed(&self.shape, item)? {
                        None if matches!(self.shape, Shape::Float) => values.push(FieldValue::NULL),
                        // A value that the contract does not know is left out.
                        value => values.extend(value),
                    }
                }
                Ok(Some(FieldValue::list(values)))
            }
            (Count::Map(keys), Json::Object(entries)) => {
                let entry = |(key, value): (&String, &Json)| json!({ "key": keys.of(key), "value": value });
                Ok(Some(FieldValue::list(entries.iter().map(entry).map(FieldValue::owned_any))))
            }
            _ => Err(unexpected()),
        }
    }
}

/// What a field adds to the response, besides the fields of its objects.
fn size(shape: &Shape, count: Count, json: &Json) -> usize {
    let one = |json: &Json| match (shape, json) {
        (Shape::Object, _) => OBJECT,
        (_, Json::String(text)) => text.len() + 16,
        (_, Json::Object(_) | Json::Array(_)) => json.to_string().len(),
        _ => 16,
    };
    match (count, json) {
        (Count::List, Json::Array(items)) => items.iter().map(one).sum(),
        // Each entry is a copy.
        (Count::Map(_), Json::Object(entries)) => entries.iter().map(|(key, value)| key.len() + memory(value)).sum(),
        _ => one(json),
    }
}

/// What a copy takes in memory.
fn memory(json: &Json) -> usize {
    OBJECT
        + match json {
            Json::String(text) => text.len(),
            Json::Array(items) => items.iter().map(memory).sum(),
            Json::Object(members) => members.iter().map(|(name, value)| name.len() + memory(value)).sum(),
            Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        }
}

/// A value within the JSON of a call.
fn borrowed<'a>(shape: &Shape, json: &'a Json) -> Result<Option<FieldValue<'a>>> {
    match shape {
        Shape::Object => Ok(Some(FieldValue::borrowed_any(json))),
        _ => Ok(leaf(shape, json)?.map(FieldValue::value)),
    }
}

/// The whole response of a call.
pub(crate) fn whole(shape: &Shape, json: Json) -> Result<Option<FieldValue<'static>>> {
    match shape {
        Shape::Object => Ok(Some(FieldValue::owned_any(json))),
        _ => Ok(leaf(shape, &json)?.map(FieldValue::value)),
    }
}

fn leaf(shape: &Shape, json: &Json) -> Result<Option<Value>> {
    match (shape, json) {
        (Shape::Enum(names), Json::String(name)) => Ok(names.contains(name).then(|| Value::Enum(Name::new(name)))),
        // The number of a value without a name.
        (Shape::Enum(_), _) => Ok(None),
        // NaN and the infinities.
        (Shape::Float, Json::String(_)) => Ok(None),
        _ => Ok(Some(Value::from_json(json.clone())?)),
    }
}

/// The list of a page.
pub(crate) fn page_info<'a>(context: &ResolverContext<'a>) -> FieldFuture<'a> {
    let info = |context: &ResolverContext<'a>| {
        let session = context.data_unchecked::<Arc<Session>>();
        session.budget().write(context.item.node.response_key().node.as_str(), OBJECT);
        let token = parent(context.parent_value)?.get("nextPageToken").and_then(Json::as_str).unwrap_or_default();
        let (cursor, has_more) = (Some(token).filter(|token| !token.is_empty()), !token.is_empty());
        Ok(Some(FieldValue::owned_any(json!({ "endCursor": cursor, "hasNextPage": has_more }))))
    };
    ready(info(context))
}

/// The name of a response's field in GraphQL.
pub(crate) fn name(field: &prost_reflect::FieldDescriptor, paging: Option<&Paging>) -> Option<String> {
    match paging {
        Some(_) if field.name() == crate::arguments::NEXT_PAGE_TOKEN => None,
        Some(paging) if paging.list == field.json_name() => Some("nodes".to_owned()),
        _ => Some(crate::names::field(field)),
    }
}

/// The JSON of an object.
pub(crate) fn parent<'a>(value: &'a FieldValue<'a>) -> Result<&'a Json> {
    let shared = || value.downcast_ref::<Arc<Json>>().map(Arc::as_ref);
    value.downcast_ref::<Json>().or_else(shared).ok_or_else(unexpected)
}

/// A value that needs no call.
pub(crate) fn ready(result: Result<Option<FieldValue<'_>>>) -> FieldFuture<'_> {
    match result {
        Ok(value) => FieldFuture::Value(value),
        Err(error) => FieldFuture::new(async move { Err::<Option<FieldValue<'_>>, _>(error) }),
    }
}

/// Reports the error of a field, which is null then.
pub(crate) fn fail(context: &ResolverContext<'_>, error: Error) {
    let session = context.data_unchecked::<Arc<Session>>();
    let error = context.set_error_path(error.into_server_error(context.item.pos));
    let size = serde_json::to_vec(&error).map_or(0, |json| json.len());
    if session.budget().write(context.item.node.response_key().node.as_str(), size) {
        session.fail(error);
    }
}

fn unexpected() -> Error {
    Error::new("the response does not have the form that the contract states")
}
