//! The contracts of Trellis and what is generated from them: messages, clients, servers that check their
//! inputs, and the descriptor set. There is no logic here beyond the meaning of the contract's own rules.

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

/// `Debug` of the messages with secrets.
mod redact {
    include!(concat!(env!("OUT_DIR"), "/redact.rs"));
}

pub use trellis::{auth, messaging, policy, users};

/// The encoded `google.protobuf.FileDescriptorSet` of all contracts with what they import, custom options
/// included.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
