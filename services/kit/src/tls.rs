//! TLS: rustls with ring, TLS 1.2 and 1.3. [`MeshTls`] is for connections between the processes of the mesh, [`Trust`]
//! for connections to upstreams. Renewed files apply to handshakes that begin afterwards.

mod config;
mod files;
mod mesh;
mod trust;

pub use config::TlsConfig;
pub use files::{Unfit, certificates, pair};
pub use mesh::MeshTls;
pub use trust::Trust;
