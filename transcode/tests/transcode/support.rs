//! The messages of the tests, and conversions with default limits.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage as _, Value};
use protox::file::{File, FileResolver, GoogleFileResolver};
use transcode::{Limits, ParseOptions, Plan, PrintOptions, Registry, TranscodeError};

/// The source of the messages in the version `syntax` of the language.
pub(crate) fn all_types(syntax: &str) -> String {
    let optional = if syntax == "proto2" { "optional" } else { "" };
    include_str!("all_types.template").replace("{syntax}", syntax).replace("{optional}", optional)
}

struct Sources;

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match name {
            "proto3.proto" => File::from_source(name, &all_types("proto3")),
            "proto2.proto" => File::from_source(name, &all_types("proto2")),
            "old.proto" => File::from_source(name, include_str!("old.proto")),
            _ => GoogleFileResolver::new().open_file(name),
        }
    }
}

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let mut compiler = protox::Compiler::with_file_resolver(Sources);
    compiler.include_imports(true).open_files(["proto3.proto", "proto2.proto", "old.proto"]).unwrap();
    // `descriptor_pool()` would drop extensions.
    DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap()
});

pub(crate) static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::new(&POOL));

pub(crate) const PROTO3: &str = "transcode.test.proto3.AllTypes";
pub(crate) const PROTO2: &str = "transcode.test.proto2.AllTypes";
pub(crate) const OLD: &str = "transcode.test.old.Old";

pub(crate) fn descriptor(name: &str) -> MessageDescriptor {
    POOL.get_message_by_name(name).unwrap()
}

pub(crate) fn plan(name: &str) -> Plan {
    REGISTRY.message(name).unwrap()
}

pub(crate) fn to_proto_with(name: &str, json: &[u8], options: &ParseOptions) -> Result<Vec<u8>, TranscodeError> {
    let mut out = b"before".to_vec();
    let result = plan(name).to_proto(json, options, &Limits::default(), &mut out);
    let converted = out.split_off("before".len());
    assert_eq!(out, b"before");
    assert!(result.is_ok() || converted.is_empty(), "an error leaves no output");
    result.map(|()| converted)
}

pub(crate) fn to_proto(name: &str, json: impl AsRef<[u8]>) -> Result<Vec<u8>, TranscodeError> {
    to_proto_with(name, json.as_ref(), &ParseOptions::default())
}

pub(crate) fn to_json_with(name: &str, proto: &[u8], options: &PrintOptions) -> Result<String, TranscodeError> {
    let mut out = b"before".to_vec();
    let result = plan(name).to_json(proto, options, &Limits::default(), &mut out);
    let converted = out.split_off("before".len());
    assert_eq!(out, b"before");
    assert!(result.is_ok() || converted.is_empty(), "an error leaves no output");
    result.map(|()| String::from_utf8(converted).unwrap())
}

pub(crate) fn to_json(name: &str, proto: &[u8]) -> Result<String, TranscodeError> {
    to_json_with(name, proto, &PrintOptions::default())
}

pub(crate) fn decode(name: &str, proto: &[u8]) -> DynamicMessage {
    DynamicMessage::decode(descriptor(name), proto).unwrap()
}

/// A message from its text format.
pub(crate) fn text(name: &str, text: &str) -> DynamicMessage {
    DynamicMessage::parse_text_format(descriptor(name), text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Whether two messages are equal; not a number equals itself.
pub(crate) fn is_equal(one: &DynamicMessage, other: &DynamicMessage) -> bool {
    // The bytes of an `Any` may encode one message in several ways.
    if let Some((one, other)) = content_of_any(one).zip(content_of_any(other)) {
        return is_equal(&one, &other);
    }
    one.descriptor() == other.descriptor()
        && one.fields().count() == other.fields().count()
        && one.fields().all(|(field, value)| other.has_field(&field) && is_same(value, &other.get_field(&field)))
}

/// The message in an `Any`, if the type is known.
fn content_of_any(any: &DynamicMessage) -> Option<DynamicMessage> {
    if any.descriptor().full_name() != "google.protobuf.Any" {
        return None;
    }
    let (url, value) = (any.get_field_by_number(1)?, any.get_field_by_number(2)?);
    let (_, name) = url.as_str()?.rsplit_once('/')?;
    let message = any.descriptor().parent_pool().get_message_by_name(name)?;
    DynamicMessage::decode(message, value.as_bytes()?.clone()).ok()
}

/// Fails with the first field that differs. `Debug` of a message with a recursive type does not end.
#[track_caller]
pub(crate) fn assert_equal(one: &DynamicMessage, other: &DynamicMessage, context: &str) {
    let differs = |(field, value): &(FieldDescriptor, &Value)| {
        !other.has_field(field) || !is_same(value, &other.get_field(field))
    };
    let first = one.fields().find(differs).map(|(field, _)| field.name().to_owned());
    assert!(is_equal(one, other), "{first:?} differs: {} {} {context}", one.to_text_format(), other.to_text_format());
}

fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::F32(one), Value::F32(other)) => one == other || (one.is_nan() && other.is_nan()),
        (Value::F64(one), Value::F64(other)) => one == other || (one.is_nan() && other.is_nan()),
        (Value::Message(one), Value::Message(other)) => is_equal(one, other),
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, value)| other.get(key).is_some_and(|other| is_same(value, other)))
        }
        _ => one == other,
    }
}
