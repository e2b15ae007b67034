//! The clock skew of peers. Each process regularly sends health checks to its peers; each response carries the time by
//! the peer's clock. Service tokens are refused beyond [`CLOCK_SKEW`].

use std::{collections::BTreeMap, time::Duration};

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{Timestamp, jwt::CLOCK_SKEW};

/// The header of a health response with the server's time in microseconds since 1970-01-01 UTC.
pub const TIME: &str = "x-trellis-time";

/// How long a measurement counts: later the endpoint may have gone.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// The skew that is logged. Clocks that NTP keeps differ by a thousandth of it.
const NOTABLE: Duration = Duration::from_secs(5);

/// The measured skew of each peer's endpoints.
#[derive(Default)]
pub struct Skews(Mutex<BTreeMap<(String, String), ClockMeasurement>>);

#[derive(Clone, Copy)]
struct ClockMeasurement {
    /// How far the peer's clock is ahead of this process's clock, in microseconds.
    ahead: i64,
    level: Level,
    at: Instant,
}

/// The level of a skew. Each change of level is logged once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Close,
    Notable,
    BeyondBound,
}

impl Level {
    /// `least` is the skew less the uncertainty of the round trip.
    fn of(least: u64) -> Self {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        if least > micros(CLOCK_SKEW) {
            Self::BeyondBound
        } else if least > micros(NOTABLE) {
            Self::Notable
        } else {
            Self::Close
        }
    }
}

impl Skews {
    /// Records the time `reported` by `endpoint` of the peer `name`, in the response to a request that was sent at
    /// `sent`. The response arrived at `now` by the clock of this process.
    pub(crate) fn note(&self, name: &str, endpoint: String, reported: &HeaderValue, sent: Instant, now: Timestamp) {
        let Some(reported) = reported.to_str().ok().and_then(|text| text.parse::<i64>().ok()) else { return };
        let half = i64::try_from(sent.elapsed().as_micros() / 2).unwrap_or(i64::MAX);
        let ahead = reported.saturating_sub(now.as_micros().saturating_sub(half));
        let level = Level::of(ahead.unsigned_abs().saturating_sub(half.unsigned_abs()));
        let mut measured = self.0.lock();
        measured.retain(|_, known| known.at.elapsed() < FORGOTTEN);
        let of_peer = (name.to_owned(), endpoint);
        let before = measured.insert(of_peer.clone(), ClockMeasurement { ahead, level, at: Instant::now() });
        let worst = measured.iter().filter(|((peer, _), _)| peer == name).map(|(_, known)| known.ahead);
        let worst = worst.max_by_key(|ahead| ahead.unsigned_abs()).unwrap_or(ahead);
        drop(measured);
        metrics::gauge!("clock_skew_seconds", "peer" => name.to_owned()).set(seconds(worst));
        if before.map_or(Level::Close, |before| before.level) != level {
            log_change(name, &of_peer.1, ahead, level);
        }
    }

    /// Whether the skew of every peer is within the bound.
    pub fn are_bounded(&self) -> bool {
        self.0.lock().values().all(|known| known.level < Level::BeyondBound || known.at.elapsed() >= FORGOTTEN)
    }

    /// The largest skew of each peer's endpoints: how many milliseconds their clock is ahead of this process's clock.
    pub fn millis(&self) -> BTreeMap<String, i64> {
        let mut worst: BTreeMap<String, i64> = BTreeMap::new();
        for ((name, _), known) in self.0.lock().iter().filter(|(_, known)| known.at.elapsed() < FORGOTTEN) {
            let of_peer = worst.entry(name.clone()).or_default();
            let ahead = known.ahead / 1_000;
            if ahead.unsigned_abs() > of_peer.unsigned_abs() {
                *of_peer = ahead;
            }
        }
        worst
    }
}

#[expect(clippy::cast_precision_loss, reason = "a skew of centuries may be off by a microsecond")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

fn log_change(peer: &str, endpoint: &str, ahead: i64, level: Level) {
    let (skew_ms, bound_ms) = (ahead / 1_000, CLOCK_SKEW.as_millis());
    match level {
        Level::Close => {
            tracing::info!(peer, endpoint, skew_ms, "the clock of a peer agrees with this machine's clock again")
        }
        Level::Notable => {
            tracing::warn!(
                peer,
                endpoint,
                skew_ms,
                bound_ms,
                "the clock of a peer differs from this machine's clock; synchronize both"
            );
        }
        Level::BeyondBound => tracing::error!(
            peer,
            endpoint,
            skew_ms,
            bound_ms,
            "the clock of a peer differs from this machine's clock beyond the bound: calls between them are refused; synchronize both"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn skew_is_measured_to_half_the_round_trip() {
        let skews = Skews::default();
        let now = Timestamp::from_micros(1_000_000_000);
        let sent = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        let note = |endpoint: &str, reported: i64| {
            skews.note("auth", endpoint.to_owned(), &HeaderValue::try_from(reported.to_string()).unwrap(), sent, now);
        };
        // The response was written one second ago, and the clocks agree.
        note("a", 999_000_000);
        assert_eq!((skews.millis()["auth"], skews.are_bounded()), (0, true));
        note("b", 969_000_000);
        assert_eq!((skews.millis()["auth"], skews.are_bounded()), (-30_000, true));
        note("b", 1_059_500_000);
        assert!(skews.are_bounded(), "within the uncertainty of the round trip");
        note("b", 1_061_500_000);
        assert_eq!((skews.millis()["auth"], skews.are_bounded()), (62_500, false));
        tokio::time::advance(FORGOTTEN).await;
        assert!(skews.are_bounded() && skews.millis().is_empty());
    }
}
