//! The schemas of scalars.

use prost_reflect::Kind;
use serde_json::{Value, json};

/// The digits of a 64-bit integer in a string. The format states the exact bounds.
const SIGNED: &str = "^(0|-?[1-9][0-9]{0,18})$";
const UNSIGNED: &str = "^(0|[1-9][0-9]{0,19})$";
const BASE64: &str = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}(?:==)?|[A-Za-z0-9+/]{3}=?)?$";

/// The schema of a scalar that is not an enum. In a parameter 64-bit integers are numbers.
pub(super) fn schema(kind: &Kind, is_parameter: bool) -> Value {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            json!({"type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX})
        }
        Kind::Uint32 | Kind::Fixed32 => {
            json!({"type": "integer", "format": "uint32", "minimum": 0, "maximum": u32::MAX})
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 if is_parameter => {
            json!({"type": "integer", "format": "int64", "minimum": i64::MIN, "maximum": i64::MAX})
        }
        Kind::Uint64 | Kind::Fixed64 if is_parameter => {
            json!({"type": "integer", "format": "uint64", "minimum": 0, "maximum": u64::MAX})
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            json!({"type": "string", "format": "int64", "pattern": SIGNED})
        }
        Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64", "pattern": UNSIGNED}),
        Kind::Float => real(json!({"type": "number", "format": "float", "minimum": f32::MIN, "maximum": f32::MAX})),
        Kind::Double => real(json!({"type": "number", "format": "double"})),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64", "pattern": BASE64}),
        _ => json!({"type": "string"}),
    }
}

/// JSON has no form for these values, so they are strings.
fn real(number: Value) -> Value {
    json!({"anyOf": [number, {"enum": ["NaN", "Infinity", "-Infinity"]}]})
}
