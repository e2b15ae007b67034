//! A sample request: the fields that the contract requires, with values that its rules (`buf.validate`) accept.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value as Field};
use serde_json::{Map, Value, json};

/// The extension with the rules of a field.
const RULES: &str = "buf.validate.field";
/// `Ignore.IGNORE_IF_ZERO_VALUE` and `Ignore.IGNORE_ALWAYS`.
const IGNORED: [i32; 2] = [1, 3];
/// How deep required messages stand in one another.
const DEPTH: usize = 8;

/// The JSON of a request with the required fields, and those with the dotted names `wanted`.
pub(super) fn request(message: &MessageDescriptor, wanted: &[String]) -> Value {
    let mut request = object(message, DEPTH);
    for path in wanted {
        set(message, &mut request, path);
    }
    request.into()
}

/// Takes the value of the field with the dotted name out of a request.
pub(super) fn take(message: &MessageDescriptor, request: &mut Value, path: &str) -> Option<Value> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let field = message.get_field_by_name(name)?;
    let members = request.as_object_mut()?;
    match (rest, field.kind()) {
        (Some(rest), Kind::Message(inner)) => take(&inner, members.get_mut(field.json_name())?, rest),
        _ => members.remove(field.json_name()),
    }
}

fn object(message: &MessageDescriptor, depth: usize) -> Map<String, Value> {
    let required = message.fields().filter(|field| depth > 0 && is_required(field));
    required.map(|field| (field.json_name().to_owned(), value(&field, depth - 1))).collect()
}

/// Gives the field with the dotted name a value, unless it has one.
fn set(message: &MessageDescriptor, request: &mut Map<String, Value>, path: &str) {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let Some(field) = message.get_field_by_name(name) else { return };
    let member = request.entry(field.json_name()).or_insert_with(|| value(&field, DEPTH));
    if let (Some(rest), Kind::Message(inner), Some(members)) = (rest, field.kind(), member.as_object_mut()) {
        set(&inner, members, rest);
    }
}

/// Whether the rules refuse a request without the field.
fn is_required(field: &FieldDescriptor) -> bool {
    let Some(rules) = rules(field) else { return false };
    if get(&rules, "ignore").and_then(|value| value.as_enum_number()).is_some_and(|how| IGNORED.contains(&how)) {
        return false;
    }
    if is_true(&rules, "required") {
        return true;
    }
    if field.supports_presence() {
        return false;
    }
    let text = message(&rules, "string");
    let has = |rules: &Option<DynamicMessage>, names: &[&str]| {
        rules.as_ref().is_some_and(|rules| names.iter().any(|name| number(rules, name).is_some_and(|least| least > 0)))
    };
    let is_format = text.as_ref().is_some_and(|rules| {
        ["uuid", "email"].iter().any(|name| is_true(rules, name))
            || ["pattern", "contains", "prefix", "const"].iter().any(|name| text_of(rules, name).is_some())
    });
    let numbers = ["int32", "int64", "uint32", "uint64"].map(|kind| message(&rules, kind));
    is_format
        || has(&text, &["min_len", "min_bytes", "len", "len_bytes"])
        || has(&message(&rules, "bytes"), &["min_len", "len"])
        || has(&message(&rules, "repeated"), &["min_items"])
        || numbers.iter().any(|rules| has(rules, &["gte", "const"]) || number_is(rules, "gt", 0))
}

fn value(field: &FieldDescriptor, depth: usize) -> Value {
    if field.is_map() {
        return json!({});
    }
    let rules = rules(field);
    if field.is_list() {
        let items = rules.as_ref().and_then(|rules| message(&message(rules, "repeated")?, "items"));
        return json!([one(field, items.as_ref(), depth)]);
    }
    one(field, rules.as_ref(), depth)
}

/// One value, not a list.
fn one(field: &FieldDescriptor, rules: Option<&DynamicMessage>, depth: usize) -> Value {
    let of = |kind: &str| rules.and_then(|rules| message(rules, kind));
    match field.kind() {
        Kind::String => text(field.name(), of("string").as_ref()).into(),
        Kind::Bytes => "ZXhhbXBsZQ==".into(),
        Kind::Bool => true.into(),
        Kind::Float | Kind::Double => 1.into(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer(of("int64").as_ref()).to_string().into(),
        Kind::Uint64 | Kind::Fixed64 => integer(of("uint64").as_ref()).to_string().into(),
        Kind::Uint32 | Kind::Fixed32 => integer(of("uint32").as_ref()).into(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer(of("int32").as_ref()).into(),
        Kind::Enum(of) => {
            let named = of.values().find(|value| value.number() != 0).unwrap_or(of.default_value());
            named.name().into()
        }
        Kind::Message(inner) => well_known(inner.full_name()).unwrap_or_else(|| object(&inner, depth).into()),
    }
}

/// A number within the bounds.
fn integer(rules: Option<&DynamicMessage>) -> i64 {
    let bound = |name| rules.and_then(|rules| number(rules, name));
    let least = bound("const").or(bound("gte")).or(bound("gt").map(|below| below + 1));
    let most = bound("lte").or(bound("lt").map(|above| above - 1));
    let one = least.unwrap_or(1).max(1);
    most.map_or(one, |most| one.min(most))
}

/// A text that the rules accept.
fn text(name: &str, rules: Option<&DynamicMessage>) -> String {
    let Some(rules) = rules else { return named(name).to_owned() };
    let first = get(rules, "in").and_then(|value| value.as_list()?.first()?.as_str().map(str::to_owned));
    if let Some(one) = text_of(rules, "const").or(first) {
        return one;
    }
    if is_true(rules, "uuid") {
        return "00000000-0000-4000-8000-000000000000".to_owned();
    }
    let is_address = is_true(rules, "email") || text_of(rules, "contains").is_some_and(|part| part == "@");
    let mut text = match text_of(rules, "prefix") {
        Some(prefix) => prefix + named(name),
        None if is_address => "ada@example.org".to_owned(),
        // A pattern mostly stands for a name without spaces.
        None if text_of(rules, "pattern").is_some() => "ada".to_owned(),
        None => named(name).to_owned(),
    };
    let bound =
        |names: &[&str]| names.iter().find_map(|name| number(rules, name)).and_then(|n| usize::try_from(n).ok());
    let exact = bound(&["len", "len_bytes"]);
    let least = exact.or(bound(&["min_len", "min_bytes"])).unwrap_or(0);
    while text.len() < least {
        text.push('x');
    }
    text.truncate(exact.or(bound(&["max_len", "max_bytes"])).unwrap_or(text.len()));
    text
}

/// A text for a field of this name. All are ASCII.
fn named(name: &str) -> &'static str {
    match name {
        _ if name.contains("password") => "correct horse battery staple",
        _ if name.contains("email") => "ada@example.org",
        _ if name.ends_with("name") => "Ada",
        _ => "example",
    }
}

/// The JSON of well-known types that are no objects of their fields.
fn well_known(full_name: &str) -> Option<Value> {
    let (package, name) = full_name.rsplit_once('.')?;
    if package != "google.protobuf" {
        return None;
    }
    Some(match name {
        "Timestamp" => "2026-01-01T00:00:00Z".into(),
        "Duration" => "1s".into(),
        "FieldMask" => "".into(),
        "ListValue" => json!([]),
        "Value" | "StringValue" => "example".into(),
        "BytesValue" => "ZXhhbXBsZQ==".into(),
        "BoolValue" => true.into(),
        "Int64Value" | "UInt64Value" => "1".into(),
        "Int32Value" | "UInt32Value" | "FloatValue" | "DoubleValue" => 1.into(),
        "Any" | "Struct" | "Empty" => json!({}),
        _ => return None,
    })
}

/// The pattern of a field that [`text`] does not read.
pub(super) fn pattern(field: &FieldDescriptor) -> Option<String> {
    text_of(&message(&rules(field)?, "string")?, "pattern")
}

fn rules(field: &FieldDescriptor) -> Option<DynamicMessage> {
    let options = field.options();
    let (_, value) = options.extensions().find(|(extension, _)| extension.full_name() == RULES)?;
    value.as_message().cloned()
}

/// A field that is set.
fn get(message: &DynamicMessage, field: &str) -> Option<Field> {
    let field = message.descriptor().get_field_by_name(field)?;
    message.has_field(&field).then(|| message.get_field(&field).into_owned())
}

fn message(of: &DynamicMessage, field: &str) -> Option<DynamicMessage> {
    get(of, field)?.as_message().cloned()
}

fn is_true(of: &DynamicMessage, field: &str) -> bool {
    get(of, field).and_then(|value| value.as_bool()).unwrap_or_default()
}

fn text_of(of: &DynamicMessage, field: &str) -> Option<String> {
    get(of, field)?.as_str().map(str::to_owned)
}

fn number(of: &DynamicMessage, field: &str) -> Option<i64> {
    match get(of, field)? {
        Field::I32(number) => Some(number.into()),
        Field::I64(number) => Some(number),
        Field::U32(number) => Some(number.into()),
        Field::U64(number) => Some(i64::try_from(number).unwrap_or(i64::MAX)),
        _ => None,
    }
}

fn number_is(of: &Option<DynamicMessage>, field: &str, least: i64) -> bool {
    of.as_ref().and_then(|of| number(of, field)).is_some_and(|number| number >= least)
}
