//! The table of limits. `docs/configuration.md` documents it; each row is tested at n and n + 1.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{config::Span, limiter::Multiples};

/// The limits of one process. All sizes are in bytes.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The size of one message, in either direction.
    pub message_bytes: usize,
    /// The size of all headers of one request.
    pub header_bytes: u32,
    /// Open connections of one listener. One more is closed at once.
    pub connections: usize,
    /// Concurrent calls on one connection. One more waits at the client.
    pub streams_per_connection: u32,
    /// Concurrent calls of a process. One more is refused with UNAVAILABLE.
    pub calls_in_flight: usize,
    /// The deadline of methods whose contract states none.
    pub deadline: Span,
    /// The idle time of a connection after which a keepalive PING is sent.
    pub keepalive: Span,
    /// The maximum age of a connection, varied by a tenth. After that the client is asked to reconnect, so that load
    /// spreads over new replicas. Calls in progress finish. `0s`: unlimited.
    pub connection_age: Span,
    /// How long a client may take to send the head of a request (HTTP/1.1).
    pub request_head: Span,
    /// Limits by address also count for wider networks, each with a multiple of the limit.
    pub networks: Multiples,
    /// How much of a request body is read and discarded after an early response (HTTP/1.1), and of the data that a peer
    /// still sends on a closing connection.
    pub discard_bytes: u64,
    /// The maximum duration of discarding.
    pub discard_time: Span,
    /// Whether reflection is served.
    pub reflection: bool,
    /// Open streams of `grpc.health.v1.Health/Watch` and of reflection per address. One more is refused.
    pub introspection_streams: u32,
}

impl Limits {
    /// The maximum age of a connection. A `share` from 0 to 1 varies it, so that not all connections close at once.
    pub fn age(&self, share: f64) -> Option<Duration> {
        let age = self.connection_age.0;
        (!age.is_zero()).then(|| age.mul_f64(0.9 + 0.2 * share.clamp(0.0, 1.0)))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 4 * 1024 * 1024,
            header_bytes: 16 * 1024,
            connections: 10_000,
            streams_per_connection: 200,
            calls_in_flight: 4_096,
            deadline: Span(Duration::from_secs(30)),
            keepalive: Span(Duration::from_secs(30)),
            connection_age: Span(Duration::from_secs(30 * 60)),
            request_head: Span(Duration::from_secs(10)),
            networks: Multiples::default(),
            discard_bytes: 4 * 1024 * 1024,
            discard_time: Span(Duration::from_secs(5)),
            reflection: true,
            introspection_streams: 32,
        }
    }
}
