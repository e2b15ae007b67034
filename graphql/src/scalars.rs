//! The scalars of the schema, and which types of protobuf they stand for.

use async_graphql::dynamic::{Scalar, SchemaBuilder};
use prost_reflect::{Kind, MessageDescriptor};

/// The custom scalars and their descriptions.
const CUSTOM: [(&str, &str); 9] = [
    ("Int64", "A signed 64-bit integer, as a string of digits. A request may also have a number."),
    ("UInt64", "An unsigned 64-bit integer, as a string of digits. A request may also have a number."),
    ("UInt32", "An unsigned 32-bit integer."),
    ("Bytes", "Bytes in base64."),
    ("Timestamp", "A point in time (RFC 3339), such as `2026-01-31T12:00:00Z`."),
    ("Duration", "A duration in seconds, such as `1.5s`."),
    ("FieldMask", "Names of fields in lowerCamelCase, separated by commas."),
    ("JSON", "Any JSON value."),
    ("Empty", "A message without fields: `{}`."),
];

/// Whether a custom scalar has the name.
pub(crate) fn is_custom(name: &str) -> bool {
    CUSTOM.iter().any(|(custom, _)| *custom == name)
}

/// Registers the custom scalars.
pub(crate) fn register(schema: SchemaBuilder) -> SchemaBuilder {
    CUSTOM.iter().fold(schema, |schema, (name, text)| schema.register(Scalar::new(*name).description(*text)))
}

/// The scalar of a type; `None`: it is an enum or an object.
pub(crate) fn of(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => "Int",
        Kind::Uint32 | Kind::Fixed32 => "UInt32",
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => "Int64",
        Kind::Uint64 | Kind::Fixed64 => "UInt64",
        Kind::Float | Kind::Double => "Float",
        Kind::Bool => "Boolean",
        Kind::String => "String",
        Kind::Bytes => "Bytes",
        Kind::Enum(of) => return (of.full_name() == "google.protobuf.NullValue").then_some("JSON"),
        Kind::Message(message) => return of_message(message),
    })
}

/// The scalar of a well-known type, or of a message without fields.
pub(crate) fn of_message(message: &MessageDescriptor) -> Option<&'static str> {
    Some(match message.full_name().strip_prefix("google.protobuf.") {
        Some("Timestamp") => "Timestamp",
        Some("Duration") => "Duration",
        Some("FieldMask") => "FieldMask",
        Some("Struct" | "Value" | "ListValue" | "Any") => "JSON",
        Some("BoolValue") => "Boolean",
        Some("Int32Value") => "Int",
        Some("UInt32Value") => "UInt32",
        Some("Int64Value") => "Int64",
        Some("UInt64Value") => "UInt64",
        Some("FloatValue" | "DoubleValue") => "Float",
        Some("StringValue") => "String",
        Some("BytesValue") => "Bytes",
        _ if message.fields().len() == 0 => "Empty",
        _ => return None,
    })
}
