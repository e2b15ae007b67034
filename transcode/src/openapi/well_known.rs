//! The schemas of the well-known types.

use prost_reflect::MessageDescriptor;
use serde_json::{Value, json};

/// The schema of a well-known type.
pub(super) fn schema(message: &MessageDescriptor) -> Option<Value> {
    let schema = match message.full_name().strip_prefix("google.protobuf.")? {
        "Timestamp" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"}),
        "FieldMask" => {
            json!({"type": "string", "description": "Names of fields in lowerCamelCase, separated by commas."})
        }
        "Struct" => json!({"type": "object", "additionalProperties": true}),
        "Value" => json!({}),
        "ListValue" => json!({"type": "array"}),
        "Any" => json!({
            "type": "object",
            "properties": {"@type": {"type": "string"}},
            "required": ["@type"],
            "additionalProperties": true,
        }),
        "BoolValue" => json!({"type": ["boolean", "null"]}),
        "Int32Value" => json!({"type": ["integer", "null"], "format": "int32"}),
        "UInt32Value" => json!({"type": ["integer", "null"], "minimum": 0}),
        "Int64Value" | "UInt64Value" => json!({"type": ["string", "null"], "format": "int64"}),
        "FloatValue" | "DoubleValue" => json!({"type": ["number", "null"]}),
        "StringValue" => json!({"type": ["string", "null"]}),
        "BytesValue" => json!({"type": ["string", "null"], "contentEncoding": "base64"}),
        _ => return None,
    };
    Some(schema)
}

/// Whether a message is a well-known type with a form of its own.
pub(super) fn is(message: &MessageDescriptor) -> bool {
    schema(message).is_some()
}

/// Whether a query parameter can hold the message.
pub(super) fn is_text(message: &MessageDescriptor) -> bool {
    let name = message.full_name();
    let others = ["Struct", "Value", "ListValue", "Any"];
    is(message) && others.iter().all(|other| name.strip_prefix("google.protobuf.") != Some(other))
}
