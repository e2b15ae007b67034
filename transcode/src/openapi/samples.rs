//! Samples of requests: from `example` of the rules (`buf.validate`), or else values that the rules allow.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::{options, rules};

/// How deep messages are shown.
const MAX_DEPTH: usize = 4;
const UUID: &str = "0190b2c4-7d1e-7abc-8def-0123456789ab";
const EMAIL: &str = "ada@example.org";

/// The sample of a request for a command: the fields that the rules require, and those with the dotted names `wanted`. A
/// text that the rules describe by a pattern is a guess, unless they have an example.
#[must_use]
pub fn request(message: &MessageDescriptor, wanted: &[String]) -> Value {
    let samples = Samples { guesses: true, shows_optional: false };
    let mut members = samples.members(message, &[], 0).unwrap_or_default();
    for path in wanted {
        samples.set(message, &mut members, path);
    }
    members.into()
}

/// Takes the value of the field with the dotted name out of a sample.
pub fn take(message: &MessageDescriptor, request: &mut Value, path: &str) -> Option<Value> {
    let (name, rest) = split(path);
    let field = message.get_field_by_name(name)?;
    let members = request.as_object_mut()?;
    match (rest, field.kind()) {
        (Some(rest), Kind::Message(inner)) => take(&inner, members.get_mut(field.json_name())?, rest),
        _ => members.remove(field.json_name()),
    }
}

/// The pattern of a text, which a guess need not match.
#[must_use]
pub fn pattern(field: &FieldDescriptor) -> Option<String> {
    options::text(&options::message(&rules::of(field)?, "string")?, "pattern")
}

/// The samples of OpenAPI documents.
const DOCUMENTED: Samples = Samples { guesses: false, shows_optional: true };

/// The fields that a request needs, and those with an example. `None`: a field that it needs has none.
pub(super) fn of_message(message: &MessageDescriptor, held: &[String]) -> Option<Value> {
    DOCUMENTED.members(message, held, 0).map(Value::from)
}

/// The value of a parameter that a request needs, or that has an example.
pub(super) fn of_parameter(field: &FieldDescriptor, is_required: bool) -> Option<Value> {
    if is_required { DOCUMENTED.field(field, 0) } else { rules::of(field).as_ref().and_then(stated) }
}

/// What samples hold.
#[derive(Clone, Copy)]
struct Samples {
    /// Values that the rules may refuse, where they do not show what they allow. Otherwise there is no sample.
    guesses: bool,
    /// Fields that a request does not need, if they have an example.
    shows_optional: bool,
}

impl Samples {
    fn members(self, message: &MessageDescriptor, held: &[String], depth: usize) -> Option<Map<String, Value>> {
        let mut members = Map::new();
        let fields = || message.fields().filter(|field| held.iter().all(|name| name != field.name()));
        for field in fields() {
            let name = field.json_name().to_owned();
            if rules::is_required(&field) {
                members.insert(name, self.field(&field, depth)?);
            } else if let Some(example) = self.optional(&field) {
                members.insert(name, example);
            }
        }
        for oneof in message.oneofs().filter(rules::is_required_oneof) {
            let first =
                oneof.fields().next().filter(|_| oneof.fields().all(|field| !members.contains_key(field.json_name())));
            if let Some(first) = first {
                members.insert(first.json_name().to_owned(), self.field(&first, depth)?);
            }
        }
        if members.is_empty() {
            // A request that changes nothing is a poor example.
            let choice = fields().find(|field| matches!(field.kind(), Kind::Enum(_)) && rules::of(field).is_some());
            members.extend(choice.and_then(|field| Some((field.json_name().to_owned(), self.field(&field, depth)?))));
        }
        Some(members)
    }

    /// The value of a field that a request does not need.
    fn optional(self, field: &FieldDescriptor) -> Option<Value> {
        let rules = rules::of(field).filter(|_| self.shows_optional && !field.is_list());
        rules.as_ref().and_then(stated)
    }

    /// Gives the field with the dotted name a value, unless it has one.
    fn set(self, message: &MessageDescriptor, members: &mut Map<String, Value>, path: &str) {
        let (name, rest) = split(path);
        let Some(field) = message.get_field_by_name(name) else { return };
        if !members.contains_key(field.json_name()) {
            members.extend(self.field(&field, 0).map(|value| (field.json_name().to_owned(), value)));
        }
        let member = members.get_mut(field.json_name()).and_then(Value::as_object_mut);
        if let (Some(rest), Kind::Message(inner), Some(members)) = (rest, field.kind(), member) {
            self.set(&inner, members, rest);
        }
    }

    fn field(self, field: &FieldDescriptor, depth: usize) -> Option<Value> {
        let rules = rules::of(field);
        if field.is_map() {
            return Some(json!({}));
        }
        if field.is_list() {
            let items = rules.as_ref().and_then(rules::of_items);
            return Some(json!([self.value(field, items.as_ref(), depth)?]));
        }
        self.value(field, rules.as_ref(), depth)
    }

    /// One value, not a list.
    fn value(self, field: &FieldDescriptor, rules: Option<&DynamicMessage>, depth: usize) -> Option<Value> {
        if let Some(stated) = rules.and_then(stated) {
            return Some(stated);
        }
        match field.kind() {
            Kind::String => {
                let rules = rules.and_then(|rules| options::message(rules, "string"));
                self.text(named(field.name()), rules.as_ref()).map(Value::from)
            }
            Kind::Bool => Some(true.into()),
            Kind::Bytes => Some(bytes(rules.and_then(|rules| options::message(rules, "bytes")).as_ref()).into()),
            Kind::Enum(of) => {
                let other = of.values().find(|value| value.number() != 0);
                let default = self.guesses.then(|| of.default_value());
                other.or(default).map(|value| value.name().into())
            }
            Kind::Message(message) => self.inner(&message, depth + 1),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64 => {
                Some(least(rules).to_string().into())
            }
            _ => Some(least(rules).into()),
        }
    }

    /// A text that the rules allow, made of `plain`.
    fn text(self, plain: &str, rules: Option<&DynamicMessage>) -> Option<String> {
        let Some(rules) = rules else { return Some(plain.to_owned()) };
        let first = || options::set(rules, "in")?.as_list()?.first()?.as_str().map(str::to_owned);
        if let Some(text) = options::text(rules, "const").or_else(first) {
            return Some(text);
        }
        if options::is_true(rules, "uuid") {
            return Some(UUID.to_owned());
        }
        if options::is_true(rules, "email") {
            return Some(EMAIL.to_owned());
        }
        // No attempt is made to find a text that matches a pattern: the contract can state an example.
        let has = |name| options::text(rules, name).is_some();
        if !self.guesses && (has("pattern") || has("prefix") || has("contains")) {
            return None;
        }
        let text = match (options::text(rules, "prefix"), options::text(rules, "contains")) {
            (Some(prefix), _) => prefix + plain,
            (None, Some(part)) if part == "@" => EMAIL.to_owned(),
            // A pattern mostly stands for a name without spaces.
            _ if has("pattern") => "ada".to_owned(),
            _ => plain.to_owned(),
        };
        let size = |names: [&str; 4]| names.iter().find_map(|name| options::number(rules, name)?.as_u64());
        let least = size(["min_len", "len", "min_bytes", "len_bytes"]).unwrap_or_default().min(1_024);
        let most = size(["max_len", "len", "max_bytes", "len_bytes"]).unwrap_or(u64::MAX);
        let missing = usize::try_from(least).ok()?.saturating_sub(text.len());
        let text = text + &"x".repeat(missing);
        Some(text.chars().take(usize::try_from(most).unwrap_or(usize::MAX)).collect())
    }

    fn inner(self, message: &MessageDescriptor, depth: usize) -> Option<Value> {
        match well_known(message) {
            Some(sample) => Some(sample),
            None if depth > MAX_DEPTH => self.guesses.then(|| json!({})),
            None => self.members(message, &[], depth).map(Value::from),
        }
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)))
}

/// The first value of `example` in the rules of a type.
fn stated(rules: &DynamicMessage) -> Option<Value> {
    let rules = options::message(rules, "string")?;
    let examples = options::set(&rules, "example")?;
    examples.as_list()?.first()?.as_str().map(Value::from)
}

/// A text for a field of this name. All are ASCII.
fn named(name: &str) -> &'static str {
    match name {
        _ if name.contains("password") => "correct horse battery staple",
        _ if name.contains("email") => EMAIL,
        _ if name.ends_with("name") => "Ada",
        _ => "example",
    }
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

/// The base64 of three bytes, or of as many as the rules allow.
fn bytes(rules: Option<&DynamicMessage>) -> String {
    let size = |name: &str| options::number(rules?, name)?.as_u64();
    let least = size("len").or(size("min_len")).unwrap_or(3).clamp(3, 1_024);
    let count = least.min(size("len").or(size("max_len")).unwrap_or(u64::MAX));
    let rest = match count % 3 {
        0 => "",
        1 => "AQ==",
        _ => "AQI=",
    };
    // The quotient is small.
    "AQID".repeat(usize::try_from(count / 3).unwrap_or_default()) + rest
}

/// The sample of a well-known type.
fn well_known(message: &MessageDescriptor) -> Option<Value> {
    Some(match message.full_name().strip_prefix("google.protobuf.")? {
        "Timestamp" => "2026-01-31T12:00:00Z".into(),
        "Duration" => "1.500s".into(),
        "FieldMask" => "".into(),
        "Struct" | "Empty" => json!({}),
        "Any" => json!({"@type": "type.googleapis.com/google.protobuf.Empty", "value": {}}),
        "ListValue" => json!([]),
        "Value" | "StringValue" => "example".into(),
        "BytesValue" => "AQID".into(),
        "BoolValue" => true.into(),
        "Int64Value" | "UInt64Value" => "1".into(),
        "Int32Value" | "UInt32Value" | "FloatValue" | "DoubleValue" => 1.into(),
        _ => return None,
    })
}
