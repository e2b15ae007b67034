//! gRPC's headers: their names, and the values that this project writes and reads.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;
use tonic::{Code, Status};

/// The header with the remaining time of a call.
pub const TIMEOUT: &str = "grpc-timeout";
/// The header by which a server sets the retry delay; a negative or unreadable value forbids a retry.
pub const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// The number of previous attempts of a call.
pub const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";

/// The status in headers or trailers.
pub fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|status| Code::from_bytes(status.as_bytes()))
}

/// Parses gRPC's `grpc-timeout`: at most eight digits and a unit.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The time until `deadline` as a `grpc-timeout`: at most eight digits, in the finest unit for which they suffice, from
/// microseconds up. It is rounded up, so that the callee's deadline is never before the caller's. It is never 0, which
/// gRPC does not allow.
pub fn timeout(deadline: Instant) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    const UNITS: [(u128, char); 4] = [(1, 'u'), (1_000, 'm'), (1_000_000, 'S'), (3_600_000_000, 'H')];
    let left = deadline.saturating_duration_since(Instant::now()).as_nanos().div_ceil(1_000).max(1);
    let in_unit = |(micros, unit): &(u128, char)| (left.div_ceil(*micros), *unit);
    let (number, unit) = UNITS.iter().map(in_unit).find(|(number, _)| *number <= MOST).unwrap_or((MOST, 'H'));
    never_indexed(format!("{number}{unit}"))
}

/// A header value that differs in nearly every call. HPACK's dynamic table must not index it: it would evict headers
/// that occur in each call. Only sensitive values are never indexed, so it is marked as sensitive (RFC 7541, section
/// 6.2.3).
///
/// # Panics
/// If `text` contains a character that a header value must not have.
pub fn never_indexed(text: String) -> HeaderValue {
    let mut value = HeaderValue::try_from(text).expect("ours are visible ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The callee never gets less than the remaining time, and hardly more.
    #[tokio::test(start_paused = true)]
    async fn timeout_has_at_most_eight_digits() {
        for (left, written) in [
            (Duration::ZERO, "1u"),
            (Duration::from_nanos(1), "1u"),
            (Duration::from_nanos(1_234_567_001), "1234568u"),
            (Duration::from_micros(99_999_999), "99999999u"),
            (Duration::from_micros(100_000_001), "100001m"),
            (Duration::from_secs(99_999), "99999000m"),
            (Duration::from_millis(100_000_001), "100001S"),
            (Duration::from_secs(28 * 3_600), "100800S"),
            (Duration::from_secs(99_999_999 * 60), "1666667H"),
            (Duration::from_secs(u64::from(u32::MAX) * 3_600), "99999999H"),
        ] {
            let text = timeout(Instant::now() + left);
            assert_eq!(text, written, "{left:?}");
            let read = parse_timeout(text.as_bytes()).unwrap();
            assert!(read >= left || text == "99999999H", "{left:?} became {read:?}");
        }
    }

    #[test]
    fn grpc_timeouts_are_parsed() {
        assert_eq!(parse_timeout(b"250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout(b"1H"), Some(Duration::from_secs(3_600)));
        for bad in [&b""[..], b"m", b"123456789m", b"-1m", b"5", b"5x"] {
            assert_eq!(parse_timeout(bad), None, "{bad:?}");
        }
    }
}
