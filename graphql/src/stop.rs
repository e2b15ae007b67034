//! Why no response can be written.

use crate::{budget::Exceeded, json_text::Malformed};

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The operation needs more than its limit of bytes.
    TooLarge(Exceeded),
    /// The JSON of a call does not have the form that the contract states.
    Malformed,
}

impl From<Exceeded> for Stop {
    fn from(exceeded: Exceeded) -> Self {
        Self::TooLarge(exceeded)
    }
}

impl From<Malformed> for Stop {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
