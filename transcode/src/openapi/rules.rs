//! The rules of `buf.validate` as JSON Schema.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, OneofDescriptor, ReflectMessage as _};
use serde_json::{Map, Value, json};

use super::options;

mod text;

/// The extension with the rules of a field.
const RULES: &str = "buf.validate.field";
/// The extension with the rules of a oneof.
const ONEOF_RULES: &str = "buf.validate.oneof";
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
#[must_use]
pub fn is_required(field: &FieldDescriptor) -> bool {
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
    let numbers = ["int32", "int64", "uint32", "uint64"];
    let is_above_zero = |kind: &&str| {
        let rules = options::message(&rules, kind);
        let above = rules.as_ref().and_then(|rules| options::number(rules, "gt")?.as_f64());
        positive(kind, &["gte", "const"]) || above.is_some_and(|above| above >= 0.0)
    };
    options::message(&rules, "string").is_some_and(|rules| text::refuses_empty(&rules))
        || positive("string", &["min_len", "min_bytes", "len", "len_bytes"])
        || positive("bytes", &["min_len", "len"])
        || positive("repeated", &["min_items"])
        || numbers.iter().any(is_above_zero)
}

/// Whether a request needs one member of a oneof.
pub(super) fn is_required_oneof(oneof: &OneofDescriptor) -> bool {
    options::extension(&oneof.options(), ONEOF_RULES).is_some_and(|rules| options::is_true(&rules, "required"))
}

/// Adds the rules of one value, not of a list, to its schema.
pub(super) fn apply(rules: &DynamicMessage, schema: Value) -> Value {
    let Value::Object(mut members) = schema else { return schema };
    let before = members.clone();
    if let Some(rules) = options::message(rules, "string") {
        text::apply(&rules, &mut members);
    }
    if let Some(rules) = options::message(rules, "bytes") {
        bytes(&rules, &mut members);
    }
    for kind in ["int32", "int64", "uint32", "uint64"] {
        if let Some(rules) = options::message(rules, kind) {
            number(&rules, &mut members);
        }
    }
    if let Some(rules) = options::message(rules, "enum") {
        enumeration(&rules, &mut members);
    }
    let is_text = members.get("type") == Some(&"string".into());
    if ignore(rules) == IGNORE_ZERO && is_text && members != before {
        return json!({"anyOf": [members, {"const": ""}]});
    }
    members.into()
}

/// The lengths of base64: four characters for each three bytes.
fn bytes(rules: &DynamicMessage, schema: &mut Map<String, Value>) {
    let size = |name: &str| options::number(rules, name).and_then(|number| number.as_u64());
    if let Some(most) = size("max_len").or_else(|| size("len")) {
        schema.insert("maxLength".into(), most.div_ceil(3).saturating_mul(4).into());
    }
    // Padding is optional.
    if let Some(least) = size("min_len").or_else(|| size("len")) {
        schema.insert("minLength".into(), least.saturating_mul(4).div_ceil(3).into());
    }
}

/// The bounds of a number. In JSON text 64-bit integers are strings, whose pattern can state the sign only.
fn number(rules: &DynamicMessage, schema: &mut Map<String, Value>) {
    let is_text = schema.get("type") == Some(&"string".into());
    for (rule, keyword) in [
        ("lt", "exclusiveMaximum"),
        ("lte", "maximum"),
        ("gt", "exclusiveMinimum"),
        ("gte", "minimum"),
        ("const", "const"),
    ] {
        let Some(number) = options::number(rules, rule) else { continue };
        if !is_text {
            schema.insert(keyword.into(), number.into());
            continue;
        }
        match (rule, number.as_i64()) {
            ("const", _) => schema.insert(keyword.into(), number.to_string().into()),
            ("gt", Some(0..)) | ("gte", Some(1..)) => schema.insert("pattern".into(), "^[1-9][0-9]{0,19}$".into()),
            ("gte", Some(0)) => schema.insert("pattern".into(), "^(0|[1-9][0-9]{0,19})$".into()),
            _ => None,
        };
        schema.insert(format!("x-{keyword}"), number.to_string().into());
    }
}

/// Enums are references, which members may stand beside.
fn enumeration(rules: &DynamicMessage, schema: &mut Map<String, Value>) {
    let Some(Value::String(reference)) = schema.get("$ref") else { return };
    let Some(of) = reference.strip_prefix("#/components/schemas/") else { return };
    let Some(of) = rules.descriptor().parent_pool().get_enum_by_name(of) else { return };
    let name = |number| of.get_value(number).map(|value| Value::from(value.name()));
    let names = |field: &str| {
        let list = options::set(rules, field)?;
        let names: Vec<_> = list.as_list()?.iter().filter_map(|value| name(value.as_i32()?)).collect();
        (!names.is_empty()).then_some(names)
    };
    if let Some(names) = names("in") {
        schema.insert("enum".into(), names.into());
    }
    if let Some(names) = names("not_in") {
        schema.insert("not".into(), json!({"enum": names}));
    }
    if let Some(constant) = options::set(rules, "const").and_then(|value| name(value.as_i32()?)) {
        schema.insert("const".into(), constant);
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
