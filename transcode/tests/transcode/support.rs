//! The messages of the tests, and conversions with default limits.

use std::sync::LazyLock;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
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
    one == other || one.encode_to_vec() == other.encode_to_vec()
}
