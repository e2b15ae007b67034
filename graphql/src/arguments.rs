//! The arguments of a root field as the JSON of a request.

use async_graphql::{ErrorExtensionValues, Value};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value as Json};
use transcode::shorten;

use crate::{input::Members, names, scalars, source::Method};

/// The fields of a request or response that page a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paging {
    /// The list of the response, in JSON.
    pub(crate) list: String,
}

/// The names of the fields that page a list (AIP-158).
pub(crate) const PAGE_SIZE: &str = "page_size";
pub(crate) const PAGE_TOKEN: &str = "page_token";
const NEXT_PAGE_TOKEN: &str = "next_page_token";
/// The arguments of these fields.
const FIRST: &str = "first";
const AFTER: &str = "after";
/// The member of an error with the invalid fields.
pub(crate) const FIELD_VIOLATIONS: &str = "fieldViolations";

impl Paging {
    /// How a unary method pages a list; `None`: it does not.
    pub(crate) fn of(method: &Method) -> Option<Self> {
        let (request, response) = (method.descriptor.input(), method.descriptor.output());
        let is = |message: &MessageDescriptor, name: &str, kinds: &[Kind]| {
            let field = message.get_field_by_name(name);
            field.is_some_and(|field| !field.is_list() && kinds.contains(&field.kind()))
        };
        let is_paged = is(&request, PAGE_SIZE, &[Kind::Int32, Kind::Uint32])
            && is(&request, PAGE_TOKEN, &[Kind::String])
            && is(&response, NEXT_PAGE_TOKEN, &[Kind::String]);
        let mut lists = response.fields().filter(FieldDescriptor::is_list);
        let (list, None) = (lists.next()?, lists.next()) else { return None };
        let has_stream = method.descriptor.is_client_streaming() || method.descriptor.is_server_streaming();
        (is_paged && !has_stream).then(|| Self { list: list.json_name().to_owned() })
    }
}

/// The name of the argument of a request's field.
pub(crate) fn name(field: &FieldDescriptor, paging: Option<&Paging>) -> String {
    match (paging, field.name()) {
        (Some(_), PAGE_SIZE) => FIRST.to_owned(),
        (Some(_), PAGE_TOKEN) => AFTER.to_owned(),
        _ => names::field(field),
    }
}

/// The name of a response's field in GraphQL; `None`: `pageInfo` has its value.
pub(crate) fn output_name(field: &FieldDescriptor, paging: Option<&Paging>) -> Option<String> {
    match paging {
        Some(_) if field.name() == NEXT_PAGE_TOKEN => None,
        Some(paging) if paging.list == field.json_name() => Some("nodes".to_owned()),
        _ => Some(names::field(field)),
    }
}

/// Names the arguments that page a list in the invalid fields of an error.
pub(crate) fn name_in_violations(extensions: &mut ErrorExtensionValues) {
    let Some(Value::List(mut violations)) = extensions.get(FIELD_VIOLATIONS).cloned() else { return };
    for violation in &mut violations {
        let Value::Object(members) = violation else { continue };
        let Some(Value::String(field)) = members.get_mut("field") else { continue };
        match field.as_str() {
            PAGE_SIZE | "pageSize" => FIRST.clone_into(field),
            PAGE_TOKEN | "pageToken" => AFTER.clone_into(field),
            _ => {}
        }
    }
    extensions.set(FIELD_VIOLATIONS, Value::List(violations));
}

/// The JSON of a request.
pub(crate) fn request(
    message: &MessageDescriptor,
    arguments: &Members,
    paging: Option<&Paging>,
) -> Result<Json, String> {
    let mut json = Map::new();
    for field in message.fields() {
        if let Some(value) = arguments.get(name(&field, paging).as_str()) {
            json.insert(field.json_name().to_owned(), field_value(&field, value)?);
        }
    }
    Ok(json.into())
}

fn object(message: &MessageDescriptor, value: &Value) -> Result<Json, String> {
    match value {
        Value::Object(members) => request(message, members, None),
        other => plain(other),
    }
}

fn field_value(field: &FieldDescriptor, value: &Value) -> Result<Json, String> {
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        return map(&entry, value);
    }
    match value {
        Value::List(items) if field.is_list() => {
            items.iter().map(|item| one(&field.kind(), item)).collect::<Result<Vec<_>, _>>().map(Json::from)
        }
        // A single value stands for a list of one (section 3.11 of the specification).
        Value::Null => Ok(Json::Null),
        one_value if field.is_list() => Ok(Json::from(vec![one(&field.kind(), one_value)?])),
        other => one(&field.kind(), other),
    }
}

fn one(kind: &Kind, value: &Value) -> Result<Json, String> {
    match kind {
        Kind::Message(message) if scalars::of_message(message).is_none() => object(message, value),
        _ => plain(value),
    }
}

/// Entries as an object.
fn map(entry: &MessageDescriptor, value: &Value) -> Result<Json, String> {
    let entries = match value {
        Value::Null => return Ok(Json::Null),
        Value::List(entries) => entries.as_slice(),
        one => std::slice::from_ref(one),
    };
    let kind = entry.map_entry_value_field().kind();
    let mut json = Map::new();
    for entry in entries {
        let Value::Object(entry) = entry else { return Err("an entry of a map is not an object".to_owned()) };
        let key = match entry.get("key") {
            Some(Value::String(key)) => key.clone(),
            Some(Value::Number(key)) => key.to_string(),
            Some(Value::Boolean(key)) => key.to_string(),
            _ => return Err("an entry of a map has no key".to_owned()),
        };
        let value = one(&kind, entry.get("value").unwrap_or(&Value::Null))?;
        if json.insert(key.clone(), value).is_some() {
            return Err(format!("the map has two entries with the key \"{}\"", shorten(&key)));
        }
    }
    Ok(json.into())
}

fn plain(value: &Value) -> Result<Json, String> {
    value.clone().into_json().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use async_graphql::Name;

    use super::*;

    #[test]
    fn invalid_fields_are_named_as_arguments() {
        let violation = |field: &str| Value::Object(Members::from_iter([(Name::new("field"), field.into())]));
        let list = |fields: [&str; 4]| Value::List(fields.map(violation).into());
        let mut extensions = ErrorExtensionValues::default();
        name_in_violations(&mut extensions);
        extensions.set(FIELD_VIOLATIONS, list(["page_size", "pageToken", "page_token", "state"]));
        name_in_violations(&mut extensions);
        assert_eq!(extensions.get(FIELD_VIOLATIONS), Some(&list(["first", "after", "after", "state"])));
    }
}
