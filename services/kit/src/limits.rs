//! The one table of limits. `docs/configuration.md` shows it to operators; each row is tested at n and n + 1.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{config::Span, limiter::Multiples};

/// What one process accepts. All sizes are bytes.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// One message, in or out.
    pub message_bytes: usize,
    /// All headers of one request.
    pub header_bytes: u32,
    /// Open connections of one listener; one more is closed at once.
    pub connections: usize,
    /// Calls at once on one connection; one more waits at the caller.
    pub streams_per_connection: u32,
    /// Calls that a process works on at once; one more is refused as UNAVAILABLE.
    pub calls_in_flight: usize,
    /// The deadline of a method whose contract states none.
    pub deadline: Span,
    /// How long a connection may say nothing before it is asked for a sign of life.
    pub keepalive: Span,
    /// How long a connection lives before its caller is asked to make another one, more or less a tenth: so load spreads
    /// over what has come since. Calls under way finish on it. `0s`: for ever.
    pub connection_age: Span,
    /// How long a connection may take to send a request's head (HTTP/1.1).
    pub request_head: Span,
    /// What is limited by address is counted for wider networks too, each with a multiple of the limit.
    pub networks: Multiples,
    /// How much of a request's body is read and discarded after a response that did not wait for it (HTTP/1.1), and of
    /// what a peer still sends on a connection that is being closed.
    pub discard_bytes: u64,
    /// For how long that goes on at most.
    pub discard_time: Span,
    /// Whether reflection is served.
    pub reflection: bool,
    /// Streams of `grpc.health.v1.Health/Watch` and of reflection that one address may have open; one more is refused.
    pub introspection_streams: u32,
}

impl Limits {
    /// How old a connection may become; by a `share` from 0 to 1 each another age, so that not all go at once.
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
