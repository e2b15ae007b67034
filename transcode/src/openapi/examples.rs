//! Examples of requests: from `example` of the rules, or else values that the rules allow.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{options, rules, well_known};

/// How deep messages are shown.
const MAX_DEPTH: usize = 4;
const UUID: &str = "0190b2c4-7d1e-7abc-8def-0123456789ab";

/// The fields that a request needs, and those with an example. `None`: a field that it needs has none.
pub(super) fn of_message(message: &MessageDescriptor, held: &[String]) -> Option<Value> {
    of_fields(message, held, 0)
}

/// The value of a parameter that a request needs, or that has an example.
pub(super) fn of_parameter(field: &FieldDescriptor, is_required: bool) -> Option<Value> {
    let rules = rules::of(field);
    if is_required { of_field(field, 0) } else { rules.as_ref().and_then(stated) }
}

fn of_fields(message: &MessageDescriptor, held: &[String], depth: usize) -> Option<Value> {
    let mut members = Map::new();
    let fields = || message.fields().filter(|field| held.iter().all(|name| name != field.name()));
    for field in fields() {
        let name = field.json_name().to_owned();
        if rules::is_required(&field) {
            members.insert(name, of_field(&field, depth)?);
        } else if let Some(example) = rules::of(&field).as_ref().and_then(stated).filter(|_| !field.is_list()) {
            members.insert(name, example);
        }
    }
    for oneof in message.oneofs().filter(rules::is_required_oneof) {
        let first =
            oneof.fields().next().filter(|_| oneof.fields().all(|field| !members.contains_key(field.json_name())));
        if let Some(first) = first {
            members.insert(first.json_name().to_owned(), of_field(&first, depth)?);
        }
    }
    if members.is_empty() {
        // A request that changes nothing is a poor example.
        let choice = fields().find(|field| matches!(field.kind(), Kind::Enum(_)) && rules::of(field).is_some());
        members.extend(choice.and_then(|field| Some((field.json_name().to_owned(), of_field(&field, depth)?))));
    }
    Some(members.into())
}

fn of_field(field: &FieldDescriptor, depth: usize) -> Option<Value> {
    let rules = rules::of(field);
    if field.is_map() {
        return Some(json!({}));
    }
    if field.is_list() {
        let items = rules.as_ref().and_then(rules::of_items);
        return Some(json!([of_value(&field.kind(), items.as_ref(), depth)?]));
    }
    of_value(&field.kind(), rules.as_ref(), depth)
}

fn of_value(kind: &Kind, rules: Option<&DynamicMessage>, depth: usize) -> Option<Value> {
    if let Some(stated) = rules.and_then(stated) {
        return Some(stated);
    }
    match kind {
        Kind::String => text(rules.and_then(|rules| options::message(rules, "string")).as_ref()),
        Kind::Bool => Some(true.into()),
        Kind::Bytes => Some("AQID".into()),
        Kind::Enum(of) => of.values().find(|value| value.number() != 0).map(|value| value.name().into()),
        Kind::Message(message) => of_inner(message, depth + 1),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64 => {
            Some(least(rules).to_string().into())
        }
        _ => Some(least(rules).into()),
    }
}

/// The first value of `example` in the rules of a type.
fn stated(rules: &DynamicMessage) -> Option<Value> {
    let rules = options::message(rules, "string")?;
    let examples = options::set(&rules, "example")?;
    examples.as_list()?.first()?.as_str().map(Value::from)
}

fn text(rules: Option<&DynamicMessage>) -> Option<Value> {
    let Some(rules) = rules else { return Some("text".into()) };
    if let Some(text) = options::text(rules, "const") {
        return Some(text.into());
    }
    if options::is_true(rules, "uuid") {
        return Some(UUID.into());
    }
    if options::is_true(rules, "email") {
        return Some("ada@example.org".into());
    }
    if let Some(first) = options::set(rules, "in").and_then(|list| list.as_list()?.first().cloned()) {
        return first.as_str().map(Value::from);
    }
    // No attempt is made to find a text that matches a pattern: the contract can state an example.
    if ["pattern", "prefix", "contains"].iter().any(|name| options::text(rules, name).is_some()) {
        return None;
    }
    let size = |names: [&str; 4]| names.iter().find_map(|name| options::number(rules, name)?.as_u64());
    let least = size(["min_len", "len", "min_bytes", "len_bytes"]).unwrap_or_default().min(1_024);
    let most = size(["max_len", "len", "max_bytes", "len_bytes"]).unwrap_or(u64::MAX);
    let length = 4.max(least).min(most);
    Some("text ".chars().cycle().take(usize::try_from(length).ok()?).collect::<String>().trim_end().into())
}

/// The least number that is at least 1 and that the rules allow.
fn least(rules: Option<&DynamicMessage>) -> i64 {
    let kinds = ["int32", "int64", "uint32", "uint64"];
    let rules = kinds.iter().find_map(|kind| options::message(rules?, kind));
    let bound = |name: &str| rules.as_ref().and_then(|rules| options::number(rules, name)?.as_i64());
    let from = bound("gte").or(bound("gt").map(|number| number.saturating_add(1))).unwrap_or(1).max(1);
    let to = bound("lte").or(bound("lt").map(|number| number.saturating_sub(1))).unwrap_or(i64::MAX);
    bound("const").unwrap_or(from.min(to))
}

fn of_inner(message: &MessageDescriptor, depth: usize) -> Option<Value> {
    match message.full_name() {
        "google.protobuf.Timestamp" => Some("2026-01-31T12:00:00Z".into()),
        "google.protobuf.Duration" => Some("1.500s".into()),
        "google.protobuf.FieldMask" => None,
        _ if well_known::is(message) || depth > MAX_DEPTH => None,
        _ => of_fields(message, &[], depth),
    }
}
