//! The rules of strings.

use prost_reflect::DynamicMessage;
use serde_json::{Map, Value, json};

use super::super::options;

/// The rules of text that people read, the formats that stand for them, and the characters that they exclude. The
/// other conditions of the rules, such as visible text, have no form in JSON Schema.
const LINES: [(&str, &str, &str); 2] = [
    ("trellis.text.v1.single_line", "single-line", r"\u0000-\u001F\u007F-\u009F\u2028-\u202E\u2066-\u2069"),
    (
        "trellis.text.v1.multi_line",
        "multi-line",
        r"\u0000-\u0008\u000B\u000C\u000E-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069",
    ),
];

pub(super) fn apply(rules: &DynamicMessage, schema: &mut Map<String, Value>) {
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            schema.insert(name.into(), value);
        }
    };
    let size = |names: &[&str]| names.iter().find_map(|name| options::number(rules, name)).map(Value::from);
    put("minLength", size(&["min_len", "len"]));
    // A character has at least one byte.
    put("maxLength", size(&["max_len", "len", "max_bytes", "len_bytes"]));
    put("x-max-bytes", size(&["max_bytes", "len_bytes"]));
    put("const", options::text(rules, "const").map(Value::from));
    put("format", format(rules).map(Value::from));
    put("enum", texts(rules, "in"));
    put("not", texts(rules, "not_in").map(|texts| json!({"enum": texts})));
    let has_byte = |name: &&str| options::number(rules, name).and_then(|least| least.as_u64()).is_some_and(|n| n > 0);
    if ["min_bytes", "len_bytes"].iter().any(has_byte) && !schema.contains_key("minLength") {
        schema.insert("minLength".into(), 1.into());
    }
    let mut patterns = [options::text(rules, "pattern"), parts(rules)].into_iter().flatten();
    if let Some(pattern) = patterns.next() {
        schema.insert("pattern".into(), pattern.into());
    }
    if let Some(pattern) = patterns.next() {
        schema.insert("allOf".into(), json!([{"pattern": pattern}]));
    }
}

/// Whether the rules other than those on sizes refuse the empty string.
pub(super) fn refuses_empty(rules: &DynamicMessage) -> bool {
    let is_set = |name: &str| options::text(rules, name).is_some_and(|text| !text.is_empty());
    let is_not_empty = |value: &Value| value.as_str() != Some("");
    ["uuid", "email"].iter().any(|name| options::is_true(rules, name))
        || ["prefix", "contains", "const"].iter().any(|name| is_set(name))
        || texts(rules, "in").is_some_and(|texts| texts.as_array().is_some_and(|all| all.iter().all(is_not_empty)))
        || options::text(rules, "pattern").is_some_and(|pattern| begins_with_character(&pattern))
}

/// Whether a pattern states that there is a first character. False for a pattern that is not a plain sequence.
fn begins_with_character(pattern: &str) -> bool {
    let Some(sequence) = pattern.strip_prefix('^').filter(|rest| !rest.contains(['|', '('])) else { return false };
    let rest = match sequence.strip_prefix('[') {
        Some(class) => class.split_once(']').map(|(_, rest)| rest),
        None => sequence.strip_prefix(|first: char| first.is_alphanumeric()),
    };
    rest.is_some_and(|rest| !rest.starts_with(['*', '?']) && !rest.starts_with("{0"))
}

fn format(rules: &DynamicMessage) -> Option<&'static str> {
    let known = ["uuid", "email"].into_iter().find(|name| options::is_true(rules, name));
    known.or_else(|| LINES.iter().find(|(rule, ..)| options::has_flag(rules, rule)).map(|(_, format, _)| *format))
}

fn texts(rules: &DynamicMessage, name: &str) -> Option<Value> {
    let list = options::set(rules, name)?;
    let texts: Vec<_> = list.as_list()?.iter().filter_map(|value| value.as_str()).collect();
    (!texts.is_empty()).then(|| texts.into())
}

/// The pattern of the parts that a string must have and of the characters that it must not have.
fn parts(rules: &DynamicMessage) -> Option<String> {
    let lines = LINES.iter().find(|(rule, ..)| options::has_flag(rules, rule));
    let mut excluded = lines.map_or_else(String::new, |(_, _, characters)| (*characters).to_owned());
    // Longer texts that a string must not contain need a lookahead, which not all implementations have.
    if let Some(text) = options::text(rules, "not_contains").filter(|text| text.chars().count() == 1) {
        excluded.push_str(&literal(&text));
    }
    let (prefix, contained) = (options::text(rules, "prefix"), options::text(rules, "contains"));
    if excluded.is_empty() && prefix.is_none() && contained.is_none() {
        return None;
    }
    let any = if excluded.is_empty() { r"[\s\S]*".to_owned() } else { format!("[^{excluded}]*") };
    let contained = contained.map_or_else(String::new, |text| format!("{}{any}", literal(&text)));
    Some(format!("^{}{any}{contained}$", prefix.as_deref().map_or_else(String::new, literal)))
}

/// A text in a regular expression of ECMA-262, in and outside of a class.
fn literal(text: &str) -> String {
    let mut escaped = String::new();
    for unit in text.chars() {
        match unit {
            '^' | '$' | '\\' | '.' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '/' | '-' => {
                escaped.extend(['\\', unit]);
            }
            ' '..='~' => escaped.push(unit),
            '\u{1_0000}'.. => escaped.push(unit),
            _ => escaped.push_str(&format!("\\u{:04X}", u32::from(unit))),
        }
    }
    escaped
}
