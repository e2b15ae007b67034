//! TLS: rustls with ring, TLS 1.2 and 1.3. Between the processes of the mesh ([`MeshTls`]), and toward whatever else
//! ([`Trust`]). A renewed file is taken over for handshakes that begin from then on.

mod channel;
mod config;
mod files;
mod mesh;
mod trust;

pub use channel::channel;
pub use config::Config;
pub use files::{Unfit, certificates, pair};
pub use mesh::MeshTls;
pub use trust::Trust;
