//! The clock that both processes share.

use std::time::SystemTime;

/// Nanoseconds since 1970, for differences of less than a minute.
#[expect(clippy::disallowed_methods, reason = "a measurement needs the real time, and no test changes it")]
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}
