//! What came back, and whether it is what it should be.

/// An answer, as far as it tells success.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) http_status: u16,
    /// From headers, trailers, or the frame that holds trailers.
    pub(crate) grpc_status: Option<u32>,
    pub(crate) messages: u64,
    /// Of all messages.
    pub(crate) bytes: u64,
    /// The server ends the connection with this answer.
    pub(crate) closes: bool,
}

/// What an answer should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// One message of this size, and success.
    Echo(usize),
    /// The limiter's refusal: RESOURCE_EXHAUSTED, or HTTP's own 429.
    Refusal,
    /// It never ends by itself.
    Endless,
}

impl Answer {
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
    fn half_an_answer_is_none() {
        let whole = Answer { http_status: 200, grpc_status: Some(0), messages: 1, bytes: 100, closes: false };
        assert!(whole.is(Expected::Echo(100)));
        assert!(!Answer { bytes: 99, ..whole }.is(Expected::Echo(100)));
        assert!(!Answer { grpc_status: None, ..whole }.is(Expected::Echo(100)));
        assert!(!Answer { grpc_status: Some(14), ..whole }.is(Expected::Echo(100)));
        assert!(!whole.is(Expected::Refusal));
        assert!(Answer { grpc_status: Some(8), messages: 0, ..whole }.is(Expected::Refusal));
    }
}
