//! A response, and whether it is the expected one.

/// The parts of a response that determine its success.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) http_status: u16,
    /// From the headers, the trailers, or the trailer frame.
    pub(crate) grpc_status: Option<u32>,
    pub(crate) messages: u64,
    /// The size of all messages.
    pub(crate) bytes: u64,
    /// The server closes the connection after this response.
    pub(crate) closes: bool,
}

/// The expected response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// One message of this size, and success.
    Echo(usize),
    /// A refusal by the rate limit: RESOURCE_EXHAUSTED, or HTTP status 429.
    Refusal,
    /// A stream that does not end.
    Endless,
}

impl Received {
    pub(crate) fn is(&self, expected: Expected) -> bool {
        match expected {
            Expected::Echo(size) => {
                self.http_status == 200
                    && self.grpc_status == Some(0)
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
        let whole = Received { http_status: 200, grpc_status: Some(0), messages: 1, bytes: 100, closes: false };
        assert!(whole.is(Expected::Echo(100)));
        assert!(!Received { bytes: 99, ..whole }.is(Expected::Echo(100)));
        assert!(!Received { grpc_status: None, ..whole }.is(Expected::Echo(100)));
        assert!(!Received { grpc_status: Some(14), ..whole }.is(Expected::Echo(100)));
        assert!(!whole.is(Expected::Refusal));
        assert!(Received { grpc_status: Some(8), messages: 0, ..whole }.is(Expected::Refusal));
    }
}
