//! The contracts of Trellis and the code that is generated from them: messages, clients, servers that check their
//! inputs, and the descriptor set. The only logic is that of the contract's own rules.

pub mod codec;
pub mod validate;

include!(concat!(env!("OUT_DIR"), "/packages.rs"));

/// `Debug` of the messages with redacted fields.
mod redact {
    include!(concat!(env!("OUT_DIR"), "/redact.rs"));
}

pub use trellis::*;

/// The encoded `google.protobuf.FileDescriptorSet` of all contracts and their imports, with custom options.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
