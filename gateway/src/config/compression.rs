//! The section `[gateway.compression]`.

use serde::{Deserialize, Serialize};

/// How responses are compressed whose body is complete before it is sent: JSON, Connect's unary responses, OpenAPI
/// documents, and the page. Streams, gRPC and gRPC-Web are not compressed by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compression {
    /// Whether the gateway compresses.
    pub enabled: bool,
    /// The smallest body that is compressed, in bytes: below it the time costs more than the bytes.
    pub least_bytes: usize,
    /// The largest body that is compressed for one response, in bytes. It bounds how long one response occupies a
    /// thread. Bodies that many responses share are compressed once, whatever their size.
    pub most_bytes: usize,
    /// The effort, from 1 (fast) to 9 (small), as gzip, Brotli and Zstandard number it.
    pub level: u8,
}

impl Default for Compression {
    fn default() -> Self {
        Self { enabled: true, least_bytes: 1024, most_bytes: 256 * 1024, level: 4 }
    }
}

impl Compression {
    /// Whether the body of one response is compressed if it has this size.
    pub(crate) fn covers(&self, size: usize) -> bool {
        self.covers_shared(size) && size <= self.most_bytes
    }

    /// Whether a body that many responses share is compressed if it has this size.
    pub(crate) fn covers_shared(&self, size: usize) -> bool {
        self.enabled && size >= self.least_bytes
    }
}
