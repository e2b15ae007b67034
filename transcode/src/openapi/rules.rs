//! The rules of `buf.validate` as JSON Schema.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind};
use serde_json::{Map, Value, json};

use super::options;

/// The extension with the rules of a field.
const RULES: &str = "buf.validate.field";
/// `Ignore.IGNORE_IF_ZERO_VALUE` and `Ignore.IGNORE_ALWAYS`.
const IGNORE_ZERO: i32 = 1;
const IGNORE_ALWAYS: i32 = 3;

/// The rules of a field, unless they are ignored.
pub(super) fn of(field: &FieldDescriptor) -> Option<DynamicMessage> {
    options::extension(&field.options(), RULES).filter(|rules| ignore(rules) != IGNORE_ALWAYS)
}

fn ignore(rules: &DynamicMessage) -> i32 {
    options::set(rules, "ignore").and_then(|value| value.as_enum_number()).unwrap_or_default()
}

/// Whether the rules refuse the default value, so that a request needs the field.
pub(super) fn is_required(field: &FieldDescriptor) -> bool {
    let Some(rules) = of(field).filter(|rules| ignore(rules) != IGNORE_ZERO) else { return false };
    if options::is_true(&rules, "required") {
        return true;
    }
    if field.supports_presence() && !matches!(field.kind(), Kind::Message(_)) {
        return false;
    }
    let positive = |kind: &str, names: &[&str]| {
        let rules = options::message(&rules, kind);
        let at_least_one = |name: &&str| {
            rules.as_ref().and_then(|rules| options::number(rules, name)?.as_f64()).is_some_and(|least| least >= 1.0)
        };
        names.iter().any(at_least_one)
    };
    let is_format = options::message(&rules, "string")
        .is_some_and(|rules| options::is_true(&rules, "uuid") || options::is_true(&rules, "email"));
    let numbers = ["int32", "int64", "uint32", "uint64"];
    is_format
        || positive("string", &["min_len", "min_bytes", "len", "len_bytes"])
        || positive("bytes", &["min_len", "len"])
        || positive("repeated", &["min_items"])
        || numbers.iter().any(|kind| positive(kind, &["gte"]))
}

/// Adds the rules of one value, not of a list, to its schema.
pub(super) fn apply(rules: &DynamicMessage, schema: Value) -> Value {
    let Value::Object(mut members) = schema else { return schema };
    let before = members.clone();
    if let Some(rules) = options::message(rules, "string") {
        text(&rules, &mut members);
    }
    if let Some(rules) = options::message(rules, "bytes") {
        bytes(&rules, &mut members);
    }
    for kind in ["int32", "int64", "uint32", "uint64"] {
        if let Some(rules) = options::message(rules, kind) {
            number(&rules, &mut members);
        }
    }
    let is_text = members.get("type") == Some(&"string".into());
    if ignore(rules) == IGNORE_ZERO && is_text && members != before {
        return json!({"anyOf": [members, {"const": ""}]});
    }
    members.into()
}

fn text(rules: &DynamicMessage, schema: &mut Map<String, Value>) {
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            schema.insert(name.into(), value);
        }
    };
    let size = |names: &[&str]| names.iter().find_map(|name| options::number(rules, name)).map(Value::from);
    put("minLength", size(&["min_len", "len"]));
    // A character has at least one byte.
    put("maxLength", size(&["max_len", "len", "max_bytes", "len_bytes"]));
    put("pattern", options::text(rules, "pattern").map(Value::from));
    put("const", options::text(rules, "const").map(Value::from));
    put("format", options::is_true(rules, "uuid").then(|| "uuid".into()));
    put("format", options::is_true(rules, "email").then(|| "email".into()));
    let values = options::set(rules, "in");
    let values = values.as_ref().and_then(|value| value.as_list()).filter(|list| !list.is_empty());
    put("enum", values.map(|list| list.iter().filter_map(|value| value.as_str()).collect()));
    let has_byte = |name: &&str| options::number(rules, name).and_then(|least| least.as_u64()).is_some_and(|n| n > 0);
    if ["min_bytes", "len_bytes"].iter().any(has_byte) && !schema.contains_key("minLength") {
        schema.insert("minLength".into(), 1.into());
    }
}

/// The lengths of base64: four characters for each three bytes.
fn bytes(rules: &DynamicMessage, schema: &mut Map<String, Value>) {
    let size = |name: &str| options::number(rules, name).and_then(|number| number.as_u64());
    if let Some(most) = size("max_len").or_else(|| size("len")) {
        schema.insert("maxLength".into(), most.div_ceil(3).saturating_mul(4).into());
    }
}

/// Only for numbers that JSON writes as numbers: 64-bit integers are strings.
fn number(rules: &DynamicMessage, schema: &mut Map<String, Value>) {
    if schema.get("type") != Some(&"integer".into()) {
        return;
    }
    for (rule, keyword) in [
        ("lt", "exclusiveMaximum"),
        ("lte", "maximum"),
        ("gt", "exclusiveMinimum"),
        ("gte", "minimum"),
        ("const", "const"),
    ] {
        if let Some(number) = options::number(rules, rule) {
            schema.insert(keyword.into(), number.into());
        }
    }
}

/// Adds the rules of a list to its schema.
pub(super) fn apply_to_list(rules: &DynamicMessage, schema: &mut Map<String, Value>) {
    let Some(rules) = options::message(rules, "repeated") else { return };
    for (rule, keyword) in [("min_items", "minItems"), ("max_items", "maxItems")] {
        if let Some(number) = options::number(&rules, rule) {
            schema.insert(keyword.into(), number.into());
        }
    }
    if options::is_true(&rules, "unique") {
        schema.insert("uniqueItems".into(), true.into());
    }
}

/// The rules of a list's elements.
pub(super) fn of_items(rules: &DynamicMessage) -> Option<DynamicMessage> {
    options::message(&options::message(rules, "repeated")?, "items")
}
