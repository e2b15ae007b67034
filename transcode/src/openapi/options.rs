//! Reads options of descriptors.

use prost_reflect::{DynamicMessage, ReflectMessage, Value};

/// The value of the extension with a full name, if it is set.
pub(super) fn extension(options: &DynamicMessage, full_name: &str) -> Option<DynamicMessage> {
    let (_, value) = options.extensions().find(|(extension, _)| extension.full_name() == full_name)?;
    value.as_message().cloned()
}

/// Whether the boolean extension with a full name is set and true.
pub(super) fn has_flag(options: &DynamicMessage, full_name: &str) -> bool {
    let mut extensions = options.extensions();
    extensions.any(|(extension, value)| extension.full_name() == full_name && value.as_bool() == Some(true))
}

/// A field that is set.
pub(super) fn set(message: &DynamicMessage, field: &str) -> Option<Value> {
    let field = message.descriptor().get_field_by_name(field)?;
    message.has_field(&field).then(|| message.get_field(&field).into_owned())
}

/// A message field that is set.
pub(super) fn message(of: &DynamicMessage, field: &str) -> Option<DynamicMessage> {
    set(of, field)?.as_message().cloned()
}

/// A boolean field that is set and true.
pub(super) fn is_true(of: &DynamicMessage, field: &str) -> bool {
    set(of, field).and_then(|value| value.as_bool()).unwrap_or_default()
}

/// A number field that is set.
pub(super) fn number(of: &DynamicMessage, field: &str) -> Option<serde_json::Number> {
    match set(of, field)? {
        Value::I32(number) => Some(number.into()),
        Value::I64(number) => Some(number.into()),
        Value::U32(number) => Some(number.into()),
        Value::U64(number) => Some(number.into()),
        Value::F32(number) => serde_json::Number::from_f64(number.into()),
        Value::F64(number) => serde_json::Number::from_f64(number),
        _ => None,
    }
}

/// A string field that is set.
pub(super) fn text(of: &DynamicMessage, field: &str) -> Option<String> {
    set(of, field)?.as_str().map(str::to_owned)
}
