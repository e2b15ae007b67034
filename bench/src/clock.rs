//! The one clock that two processes share.

use std::time::SystemTime;

/// Nanoseconds since 1970; differences of less than a minute are what it is for.
#[expect(clippy::disallowed_methods, reason = "a measurement wants the real time, and no test moves it")]
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(0)
}
