//! Time, randomness, and the ids made of them. Both are passed in, so that tests control them; `clippy.toml` bans the
//! ambient ones.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ring::rand::{SecureRandom, SystemRandom};
use uuid::Uuid;

/// A point in time: microseconds since 1970 in UTC, the precision of both databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, as in JWT claims.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The time until `later`; zero if it has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_micros(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// Saturates beyond the range.
impl From<prost_types::Timestamp> for Timestamp {
    fn from(wire: prost_types::Timestamp) -> Self {
        let micros = wire.seconds.saturating_mul(1_000_000).saturating_add(i64::from(wire.nanos) / 1_000);
        Self::from_micros(micros)
    }
}

impl From<Timestamp> for prost_types::Timestamp {
    fn from(at: Timestamp) -> Self {
        let nanos = i32::try_from(at.0.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
        Self { seconds: at.as_secs(), nanos }
    }
}

/// A source of time.
pub trait Clock: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;
}

/// The system clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the only place that reads the system clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A monotonic clock that starts at the system time. For periods and pauses, which must not last an hour longer because
/// the system clock was set back.
pub struct SteadyClock {
    began: Timestamp,
    since: tokio::time::Instant,
}

impl SteadyClock {
    /// Starts at the current time.
    pub fn start() -> Self {
        Self { began: SystemClock.now(), since: tokio::time::Instant::now() }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.began + self.since.elapsed()
    }
}

/// A clock that stands still until a test moves it.
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.0))
    }

    /// Moves the clock forward.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_micros()).unwrap_or(0), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's random generator.
pub struct SystemEntropy(SystemRandom);

impl Default for SystemEntropy {
    fn default() -> Self {
        Self(SystemRandom::new())
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        // getrandom(2) fails only on a system that cannot protect any secret, so stopping is right.
        self.0.fill(bytes).expect("the operating system gives randomness");
    }
}

/// The clock and randomness of a service.
#[derive(Clone)]
pub struct ClockAndRng {
    /// The clock. Shared, so that tests move it for all parts at once.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl ClockAndRng {
    /// The system clock and real randomness.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy::default()) }
    }

    /// The current time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// `N` unpredictable bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }

    /// A random duration: jitter, so that many processes do not act at the same moment.
    pub fn between(&self, least: Duration, most: Duration) -> Duration {
        let [random] = self.random::<1>();
        least + most.saturating_sub(least) * u32::from(random) / u32::from(u8::MAX)
    }

    /// A new UUIDv7: ordered by time to the millisecond, unpredictable beyond it.
    pub fn new_id(&self) -> Uuid {
        let millis = u64::try_from(self.now().0.div_euclid(1_000)).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &self.random::<10>()).into_uuid()
    }
}
