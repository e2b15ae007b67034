//! The schemas of the well-known types.

use prost_reflect::MessageDescriptor;
use serde_json::{Value, json};

/// The schema of a well-known type.
pub(super) fn schema(message: &MessageDescriptor) -> Option<Value> {
    let schema = match message.full_name().strip_prefix("google.protobuf.")? {
        "Timestamp" => json!({"type": "string", "format": "date-time"}),
        "Duration" => json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"}),
        "FieldMask" => {
            let path = "[a-z][A-Za-z0-9]*(\\.[a-z][A-Za-z0-9]*)*";
            let description = "Names of fields in lowerCamelCase, separated by commas.";
            json!({"type": "string", "pattern": format!("^({path}(,{path})*)?$"), "description": description})
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
        "Int32Value" => {
            json!({"type": ["integer", "null"], "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX})
        }
        "UInt32Value" => json!({"type": ["integer", "null"], "format": "uint32", "minimum": 0, "maximum": u32::MAX}),
        "Int64Value" => json!({"type": ["string", "null"], "format": "int64", "pattern": "^(0|-?[1-9][0-9]{0,18})$"}),
        "UInt64Value" => json!({"type": ["string", "null"], "format": "uint64", "pattern": "^(0|[1-9][0-9]{0,19})$"}),
        "FloatValue" | "DoubleValue" => {
            json!({"anyOf": [{"type": ["number", "null"]}, {"enum": ["NaN", "Infinity", "-Infinity"]}]})
        }
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
