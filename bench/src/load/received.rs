//! A response, and whether it is the expected one.

use bytes::Bytes;

/// The parts of a response that determine its success.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) http_status: u16,
    /// From the headers, the trailers, or the trailer frame.
    pub(crate) grpc_status: Option<u32>,
    /// The content type is the dialect's.
    pub(crate) is_typed: bool,
    pub(crate) messages: u64,
    /// The size of all messages.
    pub(crate) bytes: u64,
    /// The body, in a dialect without framing.
    pub(crate) text: Bytes,
    /// The server closes the connection after this response.
    pub(crate) closes: bool,
}

/// The expected response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// One message of this size, and success. In a dialect without framing, the request's document, and success.
    Echo(usize),
    /// A refusal by the rate limit: RESOURCE_EXHAUSTED, or HTTP status 429.
    Refusal,
    /// A stream that does not end.
    Endless,
}

impl Received {
    /// Whether a response with gRPC's framing is the expected one.
    pub(super) fn is(&self, expected: Expected) -> bool {
        match expected {
            Expected::Echo(size) => {
                self.http_status == 200
                    && self.grpc_status == Some(0)
                    && self.is_typed
                    && self.messages == 1
                    && self.bytes == size as u64
            }
            Expected::Refusal => self.messages == 0 && (self.http_status == 429 || self.grpc_status == Some(8)),
            Expected::Endless => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_response_is_not_the_expected_one() {
        let success = Received { http_status: 200, grpc_status: Some(0), ..Received::default() };
        let whole = Received { is_typed: true, messages: 1, bytes: 100, ..success };
        assert!(whole.is(Expected::Echo(100)));
        assert!(!Received { bytes: 99, ..whole.clone() }.is(Expected::Echo(100)));
        assert!(!Received { is_typed: false, ..whole.clone() }.is(Expected::Echo(100)));
        assert!(!Received { grpc_status: None, ..whole.clone() }.is(Expected::Echo(100)));
        assert!(!Received { grpc_status: Some(14), ..whole.clone() }.is(Expected::Echo(100)));
        assert!(!whole.is(Expected::Refusal));
        assert!(Received { grpc_status: Some(8), messages: 0, ..whole }.is(Expected::Refusal));
    }
}
