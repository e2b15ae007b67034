//! The text forms of values that are not JSON by themselves: numbers, base64, timestamps, durations, field masks.

pub(crate) mod base64;
pub(crate) mod field_mask;
pub(crate) mod number;
pub(crate) mod time;
