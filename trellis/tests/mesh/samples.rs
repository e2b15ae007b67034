//! Requests generated from the contracts: valid ones, and ones with one violation. A new method is covered
//! automatically.

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor, ReflectMessage as _,
    Value, prost::Message as _,
};

use super::harness::new_id;

/// The contracts.
pub(crate) fn contracts() -> DescriptorPool {
    DescriptorPool::decode(proto::DESCRIPTORS).unwrap()
}

/// The paths and descriptors of Trellis's methods.
pub(crate) fn methods(pool: &DescriptorPool) -> Vec<(String, MethodDescriptor)> {
    let all = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    all.map(|method| (format!("/{}/{}", method.parent_service().full_name(), method.name()), method)).collect()
}

/// A request that satisfies every rule. `known` gives fields by name a value, such as the id of an existing resource.
pub(crate) fn right(message: &MessageDescriptor, known: &[(&str, &str)]) -> DynamicMessage {
    let mut made = DynamicMessage::new(message.clone());
    for field in message.fields() {
        if let Some(value) = right_value(&field, known) {
            made.set_field(&field, value);
        }
    }
    made
}

fn right_value(field: &FieldDescriptor, known: &[(&str, &str)]) -> Option<Value> {
    let one = match field.kind() {
        Kind::String => Value::String(right_text(field, known)?),
        Kind::Message(inner) if inner.full_name().starts_with("trellis.") => Value::Message(right(&inner, known)),
        Kind::Int64 | Kind::Uint64 => Value::I64(1),
        _ => return None,
    };
    let rules = rules(field, "repeated");
    match (field.is_list(), rules.number("min_items")) {
        (false, _) => Some(one),
        (true, Some(_)) => Some(Value::List(vec![one])),
        (true, None) => None,
    }
}

fn right_text(field: &FieldDescriptor, known: &[(&str, &str)]) -> Option<String> {
    if let Some((_, value)) = known.iter().find(|(name, _)| *name == field.name()) {
        return Some((*value).to_owned());
    }
    let rules =
        if field.is_list() { rules(field, "repeated").inner("items").inner("string") } else { rules(field, "string") };
    if rules.is_true("uuid") {
        return Some(new_id());
    }
    if field.name() == "email" || field.name().ends_with("_email") {
        return Some(format!("{}@example.org", new_id()));
    }
    if let Some(pattern) = rules.text("pattern") {
        return (!pattern.contains("{0,")).then(|| format!("h{}", &new_id().replace('-', "")[12..]));
    }
    // A random etag would be refused; other texts may be empty only where the rules allow it.
    let named = field.name() == "display_name";
    let least = rules.number("min_len").or(rules.number("min_bytes")).or(named.then_some(1))?;
    Some("x".repeat(usize::try_from(least.max(8)).unwrap()))
}

/// Requests that each violate one rule, with the field that the refusal must name.
pub(crate) fn wrong(message: &MessageDescriptor) -> Vec<(String, DynamicMessage)> {
    let mut made = Vec::new();
    for field in message.fields() {
        for value in wrong_values(&field) {
            let mut request = right(message, &[]);
            request.set_field(&field, value);
            made.push((field.name().to_owned(), request));
        }
        if let Kind::Message(inner) = field.kind()
            && inner.full_name().starts_with("trellis.")
            && !field.is_list()
        {
            for (path, value) in wrong(&inner) {
                let mut request = right(message, &[]);
                request.set_field(&field, Value::Message(value));
                made.push((format!("{}.{path}", field.name()), request));
            }
        }
    }
    made
}

fn wrong_values(field: &FieldDescriptor) -> Vec<Value> {
    if field.is_list() {
        return wrong_lists(field);
    }
    match field.kind() {
        Kind::String => {
            let texts = wrong_texts(&rules(field, "string")).into_iter();
            texts.filter(|text| !(text.is_empty() && may_be_empty(field))).map(Value::String).collect()
        }
        Kind::Int32 => out_of_range(&rules(field, "int32")).map(|n| Value::I32(i32::try_from(n).unwrap())).collect(),
        Kind::Int64 => out_of_range(&rules(field, "int64")).map(Value::I64).collect(),
        Kind::Enum(_) => vec![Value::EnumNumber(99)],
        _ => Vec::new(),
    }
}

/// Whether the rules of a field apply to a value that is not empty only (IGNORE_IF_ZERO_VALUE).
fn may_be_empty(field: &FieldDescriptor) -> bool {
    field_rules(field).get("ignore") == Some(Value::EnumNumber(1))
}

fn wrong_lists(field: &FieldDescriptor) -> Vec<Value> {
    let rules = rules(field, "repeated");
    let item = |n: i64| match field.kind() {
        Kind::String => Value::String(format!("00000000-0000-7000-8000-{n:012}")),
        Kind::Message(inner) => Value::Message(right(&inner, &[])),
        other => panic!("lists of {other:?} are not supported: extend this function"),
    };
    let mut lists = Vec::new();
    if let Some(most) = rules.number("max_items") {
        lists.push(Value::List((0..=most).map(item).collect()));
    }
    if rules.number("min_items").is_some() {
        lists.push(Value::List(Vec::new()));
    }
    if rules.is_true("unique") {
        lists.push(Value::List(vec![item(1), item(1)]));
    }
    lists
}

fn wrong_texts(rules: &Rules) -> Vec<String> {
    let mut texts = Vec::new();
    if rules.is_true("uuid") {
        texts.extend(["", "x", "00000000-0000-0000-0000-00000000000g", "' OR 1=1 --"].map(str::to_owned));
    }
    if rules.text("contains").is_some() {
        texts.extend(["", "no address"].map(str::to_owned));
    }
    if rules.text("pattern").is_some() {
        texts.extend(["\u{0}", "UPPER CASE", "../../etc/passwd", "a\nb"].map(str::to_owned));
    }
    if rules.text("not_contains").is_some() {
        texts.push("zero \u{0} byte".to_owned());
    }
    if rules.has_extension() {
        texts.extend(["zero \u{0} byte", "\u{200b}", "\u{202e}txet"].map(str::to_owned));
    }
    if rules.number("min_len").or(rules.number("min_bytes")).is_some() {
        texts.push(String::new());
    }
    if let Some(most) = rules.number("max_len").or(rules.number("max_bytes")) {
        texts.push("x".repeat(usize::try_from(most + 1).unwrap()));
    }
    texts
}

fn out_of_range(rules: &Rules) -> impl Iterator<Item = i64> {
    let below = rules.number("gte").map(|least| least - 1);
    let above = rules.number("lte").map(|most| most + 1);
    below.into_iter().chain(above)
}

/// The request with `text` in every text field that accepts any text.
pub(crate) fn with_text(message: &MessageDescriptor, text: &str, known: &[(&str, &str)]) -> Option<DynamicMessage> {
    let mut made = right(message, known);
    let mut any = false;
    for field in message.fields() {
        let rules = rules(&field, "string");
        let free = !rules.is_true("uuid") && ["pattern", "contains"].iter().all(|rule| rules.text(rule).is_none());
        if field.kind() == Kind::String && !field.is_list() && free {
            made.set_field(&field, Value::String(text.to_owned()));
            any = true;
        }
    }
    any.then_some(made)
}

/// The buf.validate rules of one kind on a field, or none.
pub(crate) struct Rules(Option<DynamicMessage>);

pub(crate) fn rules(field: &FieldDescriptor, kind: &str) -> Rules {
    field_rules(field).inner(kind)
}

/// All buf.validate rules on a field.
fn field_rules(field: &FieldDescriptor) -> Rules {
    let pool = field.parent_pool();
    let extension = pool.get_extension_by_name("buf.validate.field").unwrap();
    let options = field.options();
    let all = options.get_extension(&extension);
    Rules(all.as_message().cloned())
}

impl Rules {
    fn get(&self, name: &str) -> Option<Value> {
        let rules = self.0.as_ref()?;
        let field = rules.descriptor().get_field_by_name(name)?;
        rules.has_field(&field).then(|| rules.get_field(&field).into_owned())
    }

    fn inner(&self, name: &str) -> Self {
        Self(self.get(name).and_then(|value| value.as_message().cloned()))
    }

    /// Whether one of the rules is an extension of trellis.text.v1.
    fn has_extension(&self) -> bool {
        self.0.as_ref().is_some_and(|rules| rules.extensions().next().is_some())
    }

    fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.as_bool() == Some(true))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|value| value.as_str().map(str::to_owned))
    }

    fn number(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::I32(n) => Some(n.into()),
            Value::I64(n) => Some(n),
            Value::U32(n) => Some(n.into()),
            Value::U64(n) => i64::try_from(n).ok(),
            _ => None,
        }
    }
}

/// The encoded request.
pub(crate) fn bytes(message: &DynamicMessage) -> Vec<u8> {
    message.encode_to_vec()
}
