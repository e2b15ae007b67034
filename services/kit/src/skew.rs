//! How far the clocks of peers are from ours. Each process asks its peers for their health now and then; with the
//! response comes the time by the peer's clock. [`CLOCK_SKEW`] is the bound beyond which service tokens are refused.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderValue;
use tokio::time::{Instant, sleep};

use crate::{Timestamp, client::Peer, health::peer_is_serving, jwt::CLOCK_SKEW, shutdown::Shutdown};

/// The header of a health response that tells the time: microseconds since 1970.
pub const TIME: &str = "x-trellis-time";

/// How often peers are asked.
const INTERVAL: Duration = Duration::from_secs(10);
/// An endpoint that was not heard of for so long may have gone.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// Clocks that NTP keeps are a thousand times closer.
const NOTABLE: Duration = Duration::from_secs(5);

/// What is known of peers' clocks.
#[derive(Default)]
pub struct Skews(Mutex<BTreeMap<(String, String), Measured>>);

#[derive(Clone, Copy)]
struct Measured {
    /// How far the peer's clock is ahead of ours, in microseconds.
    ahead: i64,
    level: Level,
    at: Instant,
}

/// What is told once a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Close,
    Notable,
    BeyondBound,
}

impl Level {
    /// `least`: the skew, less what the round trip leaves open.
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
    /// Takes note of the time that the peer `name` told from `endpoint` in a response that was asked for at `asked` and
    /// came when our clock said `now`.
    pub(crate) fn note(&self, name: &str, endpoint: String, told: &HeaderValue, asked: Instant, now: Timestamp) {
        let Some(told) = told.to_str().ok().and_then(|text| text.parse::<i64>().ok()) else { return };
        let half = i64::try_from(asked.elapsed().as_micros() / 2).unwrap_or(i64::MAX);
        let ahead = told.saturating_sub(now.as_micros().saturating_sub(half));
        let level = Level::of(ahead.unsigned_abs().saturating_sub(half.unsigned_abs()));
        let mut measured = self.lock();
        measured.retain(|_, known| known.at.elapsed() < FORGOTTEN);
        let of_peer = (name.to_owned(), endpoint);
        let before = measured.insert(of_peer.clone(), Measured { ahead, level, at: Instant::now() });
        let worst = measured.iter().filter(|((peer, _), _)| peer == name).map(|(_, known)| known.ahead);
        let worst = worst.max_by_key(|ahead| ahead.unsigned_abs()).unwrap_or(ahead);
        drop(measured);
        metrics::gauge!("clock_skew_seconds", "peer" => name.to_owned()).set(seconds(worst));
        if before.map_or(Level::Close, |before| before.level) != level {
            tell(name, &of_peer.1, ahead, level);
        }
    }

    /// Whether every peer's clock is within the bound.
    pub fn are_bounded(&self) -> bool {
        self.lock().values().all(|known| known.level < Level::BeyondBound || known.at.elapsed() >= FORGOTTEN)
    }

    /// Peer → how many milliseconds the clock of its worst endpoint is ahead of ours.
    pub fn millis(&self) -> BTreeMap<String, i64> {
        let mut worst: BTreeMap<String, i64> = BTreeMap::new();
        for ((name, _), known) in self.lock().iter().filter(|(_, known)| known.at.elapsed() < FORGOTTEN) {
            let of_peer = worst.entry(name.clone()).or_default();
            let ahead = known.ahead / 1_000;
            if ahead.unsigned_abs() > of_peer.unsigned_abs() {
                *of_peer = ahead;
            }
        }
        worst
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Measured>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a skew of centuries may be off by a microsecond")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

fn tell(peer: &str, endpoint: &str, ahead: i64, level: Level) {
    let (skew_ms, bound_ms) = (ahead / 1_000, CLOCK_SKEW.as_millis());
    match level {
        Level::Close => tracing::info!(peer, endpoint, skew_ms, "the clock of a peer is close to ours again"),
        Level::Notable => {
            tracing::warn!(
                peer,
                endpoint,
                skew_ms,
                bound_ms,
                "the clock of a peer differs from ours; synchronize both"
            );
        }
        Level::BeyondBound => tracing::error!(
            peer,
            endpoint,
            skew_ms,
            bound_ms,
            "the clock of a peer differs from ours beyond the bound: calls between us are refused; synchronize both"
        ),
    }
}

/// Measures the clock of `peer` until the process is cut.
pub async fn follow(peer: Peer, shutdown: Shutdown) {
    let measuring = async {
        loop {
            peer_is_serving(peer.clone()).await;
            sleep(INTERVAL).await;
        }
    };
    tokio::select! {
        () = measuring => {}
        () = shutdown.cut() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn skew_is_measured_to_half_the_round_trip() {
        let skews = Skews::default();
        let now = Timestamp::from_micros(1_000_000_000);
        let asked = Instant::now();
        tokio::time::advance(Duration::from_secs(2)).await;
        let note = |endpoint: &str, told: i64| {
            skews.note("auth", endpoint.to_owned(), &HeaderValue::try_from(told.to_string()).unwrap(), asked, now);
        };
        // It was written one second ago, and shows the same time.
        note("a", 999_000_000);
        assert_eq!((skews.millis()["auth"], skews.are_bounded()), (0, true));
        note("b", 969_000_000);
        assert_eq!((skews.millis()["auth"], skews.are_bounded()), (-30_000, true));
        note("b", 1_059_500_000);
        assert!(skews.are_bounded(), "within what the round trip leaves open");
        note("b", 1_061_500_000);
        assert_eq!((skews.millis()["auth"], skews.are_bounded()), (62_500, false));
        tokio::time::advance(FORGOTTEN).await;
        assert!(skews.are_bounded() && skews.millis().is_empty());
    }
}
