//! Recognises the well-known types. A message with the name of one and other fields is an ordinary message: descriptors
//! may come from an upstream, and the conversion relies on the fields.

use prost_reflect::{Kind as Type, MessageDescriptor};

use super::Shape;

/// A field that a well-known type has: its number, whether it is a list or map, and whether a type is the right one.
type Expected = (u32, bool, fn(&Type) -> bool);

/// The shape of a message.
pub(super) fn of(message: &MessageDescriptor) -> Shape {
    let Some(name) = message.full_name().strip_prefix("google.protobuf.") else { return Shape::Object };
    let (shape, fields): (_, &[Expected]) = match name {
        "Any" => (Shape::Any, &[(1, false, is_string), (2, false, is_bytes)]),
        "Timestamp" => (Shape::Timestamp, &[(1, false, is_int64), (2, false, is_int32)]),
        "Duration" => (Shape::Duration, &[(1, false, is_int64), (2, false, is_int32)]),
        "FieldMask" => (Shape::FieldMask, &[(1, true, is_string)]),
        "Struct" => (Shape::Struct, &[(1, true, is_value_entry)]),
        "ListValue" => (Shape::ListValue, &[(1, true, is_value)]),
        "Value" => (
            Shape::Value,
            &[
                (1, false, is_null),
                (2, false, |kind| matches!(kind, Type::Double)),
                (3, false, is_string),
                (4, false, is_bool),
                (5, false, |kind| is_message(kind, "google.protobuf.Struct")),
                (6, false, |kind| is_message(kind, "google.protobuf.ListValue")),
            ],
        ),
        "BoolValue" => (Shape::Wrapper, &[(1, false, is_bool)]),
        "Int32Value" => (Shape::Wrapper, &[(1, false, is_int32)]),
        "Int64Value" => (Shape::Wrapper, &[(1, false, is_int64)]),
        "UInt32Value" => (Shape::Wrapper, &[(1, false, |kind| matches!(kind, Type::Uint32))]),
        "UInt64Value" => (Shape::Wrapper, &[(1, false, |kind| matches!(kind, Type::Uint64))]),
        "FloatValue" => (Shape::Wrapper, &[(1, false, |kind| matches!(kind, Type::Float))]),
        "DoubleValue" => (Shape::Wrapper, &[(1, false, |kind| matches!(kind, Type::Double))]),
        "StringValue" => (Shape::Wrapper, &[(1, false, is_string)]),
        "BytesValue" => (Shape::Wrapper, &[(1, false, is_bytes)]),
        _ => return Shape::Object,
    };
    let has = |(number, is_repeated, is_kind): &Expected| {
        message
            .get_field(*number)
            .is_some_and(|field| (field.is_list() || field.is_map()) == *is_repeated && is_kind(&field.kind()))
    };
    let is_genuine = message.fields().len() == fields.len() && fields.iter().all(has);
    if is_genuine { shape } else { Shape::Object }
}

fn is_string(kind: &Type) -> bool {
    matches!(kind, Type::String)
}

fn is_bytes(kind: &Type) -> bool {
    matches!(kind, Type::Bytes)
}

fn is_bool(kind: &Type) -> bool {
    matches!(kind, Type::Bool)
}

fn is_int32(kind: &Type) -> bool {
    matches!(kind, Type::Int32)
}

fn is_int64(kind: &Type) -> bool {
    matches!(kind, Type::Int64)
}

fn is_null(kind: &Type) -> bool {
    matches!(kind, Type::Enum(of) if of.full_name() == "google.protobuf.NullValue")
}

fn is_message(kind: &Type, full_name: &str) -> bool {
    matches!(kind, Type::Message(message) if message.full_name() == full_name)
}

fn is_value(kind: &Type) -> bool {
    is_message(kind, "google.protobuf.Value")
}

/// Whether the type is the entry of a `map<string, google.protobuf.Value>`.
fn is_value_entry(kind: &Type) -> bool {
    let Type::Message(entry) = kind else { return false };
    let field = |number| entry.get_field(number).map(|field| field.kind());
    entry.is_map_entry()
        && field(1).is_some_and(|key| is_string(&key))
        && field(2).is_some_and(|value| is_value(&value))
}
