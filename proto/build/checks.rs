//! Generates `impl Check` from the buf.validate rules, for every input message of a method and the messages in it. A
//! rule without a generator fails the build.

use std::{collections::BTreeSet, fmt::Write};

use prost_reflect::{Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

const FIELD_RULES: &str = "buf.validate.field";
/// The package of Trellis's own rules.
const TEXT_RULES: &str = "trellis.text.v1.";

/// Generates the source of the checks. Response messages get none: clients do not validate responses.
pub(crate) fn generate(pool: &DescriptorPool) -> Result<String, String> {
    let inputs = inputs(pool);
    let mut source = String::new();
    for message in &inputs {
        let message = pool.get_message_by_name(message).ok_or("unknown message")?;
        writeln!(source, "{}", check_message(pool, &message)?).map_err(|e| e.to_string())?;
    }
    let arms: String = inputs
        .iter()
        .map(|name| format!("        {name:?} => Some(check_bytes::<{}>(bytes)),\n", super::rust_path(name)))
        .collect();
    write!(
        source,
        "/// Decodes and checks an input message by its full name; `None` when no method takes such a message.\n\
         pub fn check_encoded(name: &str, bytes: &[u8]) -> Option<Result<Vec<Violation>, prost::DecodeError>> {{\n    \
             match name {{\n{arms}        _ => None,\n    }}\n}}\n"
    )
    .map_err(|e| e.to_string())?;
    Ok(source)
}

/// The input messages of all methods, and the Trellis messages in them.
fn inputs(pool: &DescriptorPool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<MessageDescriptor> =
        pool.services().flat_map(|s| s.methods().map(|m| m.input()).collect::<Vec<_>>()).collect();
    while let Some(message) = open.pop() {
        if message.full_name().starts_with("trellis.") && found.insert(message.full_name().to_owned()) {
            open.extend(message.fields().filter_map(|f| f.kind().as_message().cloned()));
        }
    }
    found
}

fn check_message(pool: &DescriptorPool, message: &MessageDescriptor) -> Result<String, String> {
    let mut body = String::new();
    for field in message.fields() {
        body.push_str(&check_field(pool, &field)?);
    }
    let (report, path) = if body.is_empty() { ("_report", "_path") } else { ("report", "path") };
    Ok(format!(
        "impl Check for {} {{\n    fn check(&self, {path}: &Path<'_>, {report}: &mut Report) {{\n{body}    }}\n}}",
        super::rust_path(message.full_name())
    ))
}

fn check_field(pool: &DescriptorPool, field: &FieldDescriptor) -> Result<String, String> {
    let rules = field_rules(pool, field)?;
    if field.containing_oneof().is_some() && rules.is_some() {
        return Err(unknown(field, "rules on a member of a oneof"));
    }
    let name = field.name();
    let place = format!("&path.field({name:?})");
    let mut lines = Vec::new();
    let mut ignore_zero = false;
    for (rule, value) in rules.iter().flat_map(|rules| rules.fields().collect::<Vec<_>>()) {
        match (rule.name(), value) {
            ("ignore", Value::EnumNumber(1)) => ignore_zero = true,
            ("repeated", Value::Message(list)) => lines.extend(list_rules(field, list, &place)?),
            (_, Value::Message(scalar)) if field.cardinality() != Cardinality::Repeated => {
                lines.extend(scalar_rules(field, rule.name(), scalar, &format!("self.{name}"), &place)?);
            }
            (other, _) => return Err(unknown(field, other)),
        }
    }
    lines.extend(nested(field, &place));
    if ignore_zero {
        lines = vec![format!("if rules::is_set(&self.{name}) {{ {} }}", lines.join(" "))];
    }
    Ok(lines.iter().map(|line| format!("        {line}\n")).collect())
}

/// Checks the Trellis messages in a message too.
fn nested(field: &FieldDescriptor, place: &str) -> Option<String> {
    let Kind::Message(message) = field.kind() else { return None };
    if !message.full_name().starts_with("trellis.") {
        return None;
    }
    let name = field.name();
    Some(if field.is_list() {
        format!("for (i, item) in self.{name}.iter().enumerate() {{ item.check({place}.item(i), report); }}")
    } else {
        format!("if let Some(inner) = &self.{name} {{ inner.check({place}, report); }}")
    })
}

fn list_rules(field: &FieldDescriptor, rules: &DynamicMessage, place: &str) -> Result<Vec<String>, String> {
    let name = field.name();
    let mut lines = Vec::new();
    for (rule, value) in rules.fields() {
        match (rule.name(), value) {
            ("min_items", Value::U64(n)) => {
                lines.push(format!("rules::min_items(self.{name}.len(), {n}, {place}, report);"));
            }
            ("max_items", Value::U64(n)) => {
                lines.push(format!("rules::max_items(self.{name}.len(), {n}, {place}, report);"));
            }
            ("unique", Value::Bool(true)) => {
                lines.push(format!("rules::unique(&self.{name}, {place}, report);"));
            }
            ("items", Value::Message(items)) => lines.push(item_rules(field, items, place)?),
            (other, _) => return Err(unknown(field, &format!("repeated.{other}"))),
        }
    }
    Ok(lines)
}

fn item_rules(field: &FieldDescriptor, items: &DynamicMessage, place: &str) -> Result<String, String> {
    let mut lines = Vec::new();
    for (rule, value) in items.fields() {
        let Value::Message(scalar) = value else {
            return Err(unknown(field, &format!("repeated.items.{}", rule.name())));
        };
        lines.extend(scalar_rules(field, rule.name(), scalar, "item", &format!("{place}.item(i)"))?);
    }
    Ok(format!("for (i, item) in self.{}.iter().enumerate() {{ {} }}", field.name(), lines.join(" ")))
}

/// Generates the checks of one value; `value` is the expression that holds it.
fn scalar_rules(
    field: &FieldDescriptor,
    kind: &str,
    rules: &DynamicMessage,
    value: &str,
    place: &str,
) -> Result<Vec<String>, String> {
    let by_reference = if value == "item" { value.to_owned() } else { format!("&{value}") };
    let by_value = if value == "item" { "*item".to_owned() } else { value.to_owned() };
    let mut lines = Vec::new();
    for (rule, argument) in rules.fields() {
        let call = match (kind, rule.name(), argument) {
            // Documentation, not a rule.
            ("string", "example", _) => continue,
            ("string", rule @ ("len" | "min_len" | "max_len" | "min_bytes" | "max_bytes"), Value::U64(n)) => {
                format!("rules::string_{rule}({by_reference}, {n}")
            }
            ("string", "pattern", Value::String(pattern)) => {
                format!("rules::string_pattern({by_reference}, &{}", pattern_source(field, pattern)?)
            }
            ("string", rule @ ("contains" | "not_contains"), Value::String(part)) => {
                format!("rules::string_{rule}({by_reference}, {part:?}")
            }
            ("string", "uuid", Value::Bool(true)) => format!("rules::string_uuid({by_reference}"),
            ("int32" | "int64" | "uint32" | "uint64", rule @ ("lte" | "gte"), n) => {
                format!(
                    "rules::{rule}(i128::from({by_value}), {}, \"{kind}.{rule}\"",
                    number(n).ok_or_else(|| unknown(field, rule))?
                )
            }
            ("enum", "defined_only", Value::Bool(true)) => {
                let Kind::Enum(of) = field.kind() else { return Err(unknown(field, "enum rules")) };
                format!("rules::enum_defined_only({}::is_valid({by_value})", super::rust_path(of.full_name()))
            }
            (kind, rule, _) => return Err(unknown(field, &format!("{kind}.{rule}"))),
        };
        lines.push(format!("{call}, {place}, report);"));
    }
    for (rule, argument) in rules.extensions() {
        lines.push(match (rule.full_name().strip_prefix(TEXT_RULES), argument) {
            (Some(rule @ ("single_line" | "multi_line")), Value::Bool(true)) => {
                format!("text::string_{rule}({by_reference}, {place}, report);")
            }
            _ => return Err(unknown(field, rule.full_name())),
        });
    }
    Ok(lines)
}

fn number(value: &Value) -> Option<i128> {
    match value {
        Value::I32(n) => Some(i128::from(*n)),
        Value::I64(n) => Some(i128::from(*n)),
        Value::U32(n) => Some(i128::from(*n)),
        Value::U64(n) => Some(i128::from(*n)),
        _ => None,
    }
}

/// Patterns are anchored sequences of character classes with a repeat count, such as `^[a-z][a-z0-9_]{2,29}$`: enough
/// for names, checked in one pass, and without a regular-expression engine.
fn pattern_source(field: &FieldDescriptor, pattern: &str) -> Result<String, String> {
    let bad = || unknown(field, &format!("string.pattern {pattern:?} (supported: sequences of character classes)"));
    let mut rest = pattern.strip_prefix('^').and_then(|p| p.strip_suffix('$')).ok_or_else(bad)?;
    let mut runs = Vec::new();
    while !rest.is_empty() {
        let (class, tail) = rest.strip_prefix('[').and_then(|r| r.split_once(']')).ok_or_else(bad)?;
        let (min, max, tail) = match tail.strip_prefix('{') {
            None => (1, 1, tail),
            Some(counted) => {
                let (counts, tail) = counted.split_once('}').ok_or_else(bad)?;
                let (min, max) = counts.split_once(',').ok_or_else(bad)?;
                (min.parse::<usize>().map_err(|_| bad())?, max.parse::<usize>().map_err(|_| bad())?, tail)
            }
        };
        runs.push(format!("Run {{ class: &[{}], min: {min}, max: {max} }}", ranges(class).ok_or_else(bad)?));
        rest = tail;
    }
    // Greedy matching needs no backtracking only when no run but the last varies in length.
    if runs.len() > 1 && !pattern_is_deterministic(pattern) {
        return Err(bad());
    }
    Ok(format!("Pattern {{ source: {pattern:?}, runs: &[{}] }}", runs.join(", ")))
}

fn pattern_is_deterministic(pattern: &str) -> bool {
    pattern.matches('{').count() <= 1 && pattern.find('{').is_none_or(|at| pattern[at..].ends_with("}$"))
}

fn ranges(class: &str) -> Option<String> {
    let mut chars = class.chars().peekable();
    let mut ranges = Vec::new();
    while let Some(low) = chars.next() {
        if low == '^' || low == '\\' {
            return None;
        }
        let high = if chars.next_if_eq(&'-').is_some() { chars.next()? } else { low };
        ranges.push(format!("{low:?}..={high:?}"));
    }
    Some(ranges.join(", "))
}

fn field_rules(pool: &DescriptorPool, field: &FieldDescriptor) -> Result<Option<DynamicMessage>, String> {
    let extension = pool.get_extension_by_name(FIELD_RULES).ok_or("buf.validate is missing")?;
    let options = field.options();
    let Some(rules) =
        options.has_extension(&extension).then(|| options.get_extension(&extension).as_message().cloned()).flatten()
    else {
        return Ok(None);
    };
    refuse_unknown(field, &rules)?;
    Ok(Some(rules))
}

/// Rejects a rule that proto/third_party/buf/validate does not declare: it is decoded as an unknown field, and ignoring
/// it would leave the input unchecked.
fn refuse_unknown(field: &FieldDescriptor, rules: &DynamicMessage) -> Result<(), String> {
    if rules.unknown_fields().next().is_some() {
        return Err(unknown(field, "a rule that proto/third_party/buf/validate does not declare"));
    }
    rules.fields().filter_map(|(_, value)| value.as_message()).try_for_each(|inner| refuse_unknown(field, inner))
}

fn unknown(field: &FieldDescriptor, rule: &str) -> String {
    format!("{}: proto/build/checks.rs has no generator for {rule}", field.full_name())
}
