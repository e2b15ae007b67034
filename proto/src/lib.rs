//! The contracts of Trellis and the code that is generated from them: messages, clients, servers that check their
//! inputs, and the descriptor set. The only logic is that of the contract's own rules.

pub mod codec;
pub mod validate;

/// The generated code, in the packages of the contracts.
#[expect(missing_docs, clippy::all, clippy::pedantic, clippy::allow_attributes, reason = "generated")]
pub mod trellis {
    pub mod policy {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/trellis.policy.v1.rs"));
        }
    }
    pub mod auth {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/trellis.auth.v1.rs"));
        }
    }
    pub mod users {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/trellis.users.v1.rs"));
        }
    }
    pub mod messaging {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/trellis.messaging.v1.rs"));
        }
    }
}

/// `Debug` of the messages with redacted fields.
mod redact {
    include!(concat!(env!("OUT_DIR"), "/redact.rs"));
}

pub use trellis::{auth, messaging, policy, users};

/// The encoded `google.protobuf.FileDescriptorSet` of all contracts and their imports, with custom options.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
