//! The expected content of a body without framing.

use std::cell::OnceCell;

use serde_json::Value;

/// The expected content. Printers of JSON differ in order, whitespace and default values, so the first body is parsed and
/// compared. Every later body must equal the first one byte by byte.
pub(crate) struct Document {
    /// The JSON without default values.
    json: Value,
    first: OnceCell<Vec<u8>>,
}

impl Document {
    pub(crate) fn json(text: &str) -> Result<Self, String> {
        let json = serde_json::from_str(text).map_err(|e| e.to_string())?;
        Ok(Self { json: without_defaults(json), first: OnceCell::new() })
    }

    /// A body that must have exactly these bytes.
    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self { json: Value::Null, first: OnceCell::from(bytes.to_vec()) }
    }

    /// Whether `body` is the expected one.
    pub(super) fn matches(&self, body: &[u8]) -> bool {
        if let Some(first) = self.first.get() {
            return first == body;
        }
        let matches = self.is_same_json(body);
        if matches {
            // Unset until now, because one thread reads all bodies.
            self.first.set(body.to_vec()).ok();
        }
        matches
    }

    /// Whether `text` has the same values, apart from default values.
    pub(super) fn is_same_json(&self, text: &[u8]) -> bool {
        serde_json::from_slice(text).is_ok_and(|json| without_defaults(json) == self.json)
    }
}

/// Some printers write the fields of an object that have their default value, and others omit them.
fn without_defaults(json: Value) -> Value {
    match json {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, without_defaults(value)));
            Value::Object(fields.filter(|(_, value)| !is_default(value)).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_defaults).collect()),
        other => other,
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0",
        Value::Array(items) => items.is_empty(),
        // A message that is set is not the same as an unset one.
        Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_body_may_be_printed_differently() {
        let document = Document::json(r#"{"id":"a","count":"7","list":[{"n":1}]}"#).expect("JSON");
        assert!(!document.matches(br#"{"id":"a","count":"8","list":[{"n":1}]}"#));
        assert!(!document.matches(br#"{"id":"a","count":"7","list":[]}"#));
        let printed = br#"{"list": [{"n": 1, "flag": false}], "count": "7", "id": "a", "empty": [], "none": null}"#;
        assert!(document.matches(printed));
        assert!(document.matches(printed));
        assert!(!document.matches(br#"{"id":"a","count":"7","list":[{"n":1}]}"#), "later bodies equal the first one");
    }

    #[test]
    fn bytes_are_compared_from_the_first_body_on() {
        assert!(Document::bytes(b"abc").matches(b"abc"));
        assert!(!Document::bytes(b"abc").matches(b"abd"));
    }
}
