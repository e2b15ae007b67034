//! Decides whether and when a call is sent again. Pure: time and randomness are arguments.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use tonic::Code;

use super::{RetryBudget, RetryConfig};
use crate::grpc::{PUSHBACK, code_of};

/// The result of an attempt without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The request was not sent, or provably not processed.
    Unsent,
    /// The server refused to process the request.
    Refused,
    /// The connection or the stream broke. The request may have been processed.
    Broken(Pushback),
    /// The server responded with UNAVAILABLE. The request may have been processed.
    Unavailable(Pushback),
}

/// A server's instruction about retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushback {
    /// None given.
    None,
    /// Retry after this time.
    After(Duration),
    /// Do not retry.
    Never,
}

impl Pushback {
    /// The value in the headers of a response.
    pub fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(PUSHBACK) else { return Self::None };
        match value.to_str().ok().and_then(|text| text.parse().ok()) {
            Some(millis) => Self::After(Duration::from_millis(millis)),
            None => Self::Never,
        }
    }
}

impl Attempt {
    /// The result of a response head without a usable response: the status UNAVAILABLE before any message, or an
    /// equivalent HTTP status of a proxy (gRPC's mapping of HTTP statuses).
    pub fn of_head(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let unavailable = match code_of(headers) {
            Some(code) => code == Code::Unavailable,
            None => matches!(status.as_u16(), 429 | 502..=504),
        };
        unavailable.then(|| Self::Unavailable(Pushback::of(headers)))
    }
}

/// Why a call is not sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotRetried {
    /// The contract does not declare the method idempotent.
    Unsafe,
    /// The maximum number of attempts is reached.
    Attempts,
    /// The retry budget is used up.
    Budget,
    /// The server forbids a retry.
    Pushback,
    /// The deadline would pass before the retry, or before it has taken as long as the failed attempt.
    Deadline,
    /// More of the request was sent than is buffered.
    Buffer,
}

impl NotRetried {
    /// The metrics label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unsafe => "unsafe",
            Self::Attempts => "attempts",
            Self::Budget => "budget",
            Self::Pushback => "pushback",
            Self::Deadline => "deadline",
            Self::Buffer => "buffer",
        }
    }
}

/// The retry state of one call.
pub struct RetryState {
    /// Whether the contract declares the method idempotent.
    pub is_idempotent: bool,
    /// The deadline of the call.
    pub deadline: Option<Instant>,
    attempts: u32,
    /// The number of attempts that no server processed.
    unsent: u32,
    /// When the current attempt starts or started.
    started: Instant,
}

/// The maximum number of unprocessed attempts. Each costs a choice of endpoint or a connection attempt.
const MOST_UNSENT: u32 = 10;

impl RetryState {
    /// A call that is about to be sent.
    pub fn new(is_idempotent: bool, deadline: Option<Instant>, now: Instant) -> Self {
        Self { is_idempotent, deadline, attempts: 1, unsent: 0, started: now }
    }

    /// The number of previous attempts.
    pub fn previous(&self) -> u32 {
        self.attempts - 1
    }

    /// The pause before the next attempt. `roll` is evenly distributed between 0 and 1.
    pub fn again(
        &mut self,
        attempt: Attempt,
        config: &RetryConfig,
        budget: &RetryBudget,
        roll: f64,
        now: Instant,
    ) -> Result<Duration, NotRetried> {
        if attempt == Attempt::Unsent {
            return self.unsent(now);
        }
        if self.attempts >= config.attempts {
            return Err(NotRetried::Attempts);
        }
        let pause = match attempt {
            Attempt::Unsent | Attempt::Refused => self.backoff(config, roll),
            Attempt::Broken(_) | Attempt::Unavailable(_) if !self.is_idempotent => return Err(NotRetried::Unsafe),
            Attempt::Broken(pushback) | Attempt::Unavailable(pushback) => match pushback {
                Pushback::Never => return Err(NotRetried::Pushback),
                Pushback::After(time) => time,
                Pushback::None => self.backoff(config, roll),
            },
        };
        if self.deadline.is_some_and(|deadline| now + pause + self.expected(attempt, now) >= deadline) {
            return Err(NotRetried::Deadline);
        }
        if !budget.take(now) {
            return Err(NotRetried::Budget);
        }
        self.attempts += 1;
        self.started = now + pause;
        Ok(pause)
    }

    /// How long the next attempt is expected to take. A server that waited in vain (for a lock, for its database) would
    /// wait as long again: if the deadline ended that wait, the caller would get DEADLINE_EXCEEDED instead of the
    /// server's reason. A broken attempt predicts nothing.
    fn expected(&self, attempt: Attempt, now: Instant) -> Duration {
        match attempt {
            Attempt::Unavailable(_) => now.saturating_duration_since(self.started),
            Attempt::Unsent | Attempt::Refused | Attempt::Broken(_) => Duration::ZERO,
        }
    }

    /// An unprocessed attempt caused no load, so the call is sent elsewhere at once.
    fn unsent(&mut self, now: Instant) -> Result<Duration, NotRetried> {
        self.unsent += 1;
        self.started = now;
        if self.unsent > MOST_UNSENT { Err(NotRetried::Attempts) } else { Ok(Duration::ZERO) }
    }

    /// A random pause up to a maximum that doubles: clients that failed together retry at different times.
    fn backoff(&self, config: &RetryConfig, roll: f64) -> Duration {
        let doubled = config.backoff.0.saturating_mul(1 << (self.attempts - 1).min(16));
        doubled.min(config.most_backoff.0).mul_f64(roll.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    const UNAVAILABLE: Attempt = Attempt::Unavailable(Pushback::None);

    fn ample() -> RetryBudget {
        RetryBudget::new(100, 1_000, Instant::now())
    }

    #[test]
    fn processed_call_is_retried_only_if_idempotent() {
        let (now, config) = (Instant::now(), RetryConfig::default());
        let again = |safe, attempt| RetryState::new(safe, None, now).again(attempt, &config, &ample(), 0.5, now);
        assert_eq!(again(false, UNAVAILABLE), Err(NotRetried::Unsafe));
        assert_eq!(again(false, Attempt::Broken(Pushback::None)), Err(NotRetried::Unsafe));
        assert!(again(true, UNAVAILABLE).is_ok());
        assert!(again(true, Attempt::Broken(Pushback::None)).is_ok());
        assert_eq!(again(false, Attempt::Unsent), Ok(Duration::ZERO));
        assert!(again(false, Attempt::Refused).is_ok());
    }

    #[test]
    fn server_pushback_is_obeyed() {
        let (now, config) = (Instant::now(), RetryConfig::default());
        let again = |p| RetryState::new(true, None, now).again(Attempt::Unavailable(p), &config, &ample(), 0.0, now);
        assert_eq!(again(Pushback::Never), Err(NotRetried::Pushback));
        assert_eq!(again(Pushback::After(Duration::from_secs(7))), Ok(Duration::from_secs(7)));
        let read =
            |text: &str| Pushback::of(&[(PUSHBACK.parse().unwrap(), text.parse().unwrap())].into_iter().collect());
        assert_eq!(read("250"), Pushback::After(Duration::from_millis(250)));
        assert_eq!([read("-1"), read("soon"), read("")], [Pushback::Never; 3]);
        assert_eq!(Pushback::of(&HeaderMap::new()), Pushback::None);
    }

    #[test]
    fn no_attempt_without_the_time_of_the_failed_one() {
        let (start, config) = (Instant::now(), RetryConfig::default());
        let at = |millis| start + Duration::from_millis(millis);
        let locked = Attempt::Unavailable(Pushback::After(Duration::from_secs(1)));
        // Each attempt waits 1 s, and then the server asks for a pause of 1 s.
        let mut trial = RetryState::new(true, Some(at(5_000)), start);
        let mut again = |attempt, now| trial.again(attempt, &config, &ample(), 0.0, now);
        assert_eq!(again(locked, at(1_010)), Ok(Duration::from_secs(1)));
        assert_eq!(again(locked, at(3_020)), Err(NotRetried::Deadline));
        // The time counts from the start of the last attempt, after the pause and after unprocessed attempts.
        assert_eq!(again(Attempt::Unsent, at(3_500)), Ok(Duration::ZERO));
        assert_eq!(again(locked, at(3_600)), Ok(Duration::from_secs(1)));
        // A broken attempt is no measure of the time that the next one takes.
        let broken =
            |attempt| RetryState::new(true, Some(at(5_000)), start).again(attempt, &config, &ample(), 0.0, at(4_900));
        assert_eq!(broken(UNAVAILABLE), Err(NotRetried::Deadline));
        assert_eq!([broken(Attempt::Broken(Pushback::None)), broken(Attempt::Refused)], [Ok(Duration::ZERO); 2]);
    }

    #[test]
    fn unprocessed_call_needs_no_budget() {
        let (now, config, empty) = (Instant::now(), RetryConfig::default(), RetryBudget::new(0, 0, Instant::now()));
        let again = |attempt| RetryState::new(true, None, now).again(attempt, &config, &empty, 0.5, now);
        assert_eq!(again(Attempt::Unsent), Ok(Duration::ZERO));
        assert_eq!([again(UNAVAILABLE), again(Attempt::Refused)], [Err(NotRetried::Budget); 2]);
    }

    /// Under random events: never too many attempts, no attempt past the deadline, no pause above the maximum.
    #[test]
    fn attempts_are_bounded_in_number_and_time() {
        for seed in 0..500 {
            let chance = Rng::seeded(seed);
            let config = RetryConfig { attempts: 1 + chance.below(6) as u32, ..RetryConfig::default() };
            let (budget, mut now) = (ample(), Instant::now());
            let deadline = (chance.below(2) == 0).then(|| now + Duration::from_millis(chance.next() % 500));
            let mut trial = RetryState::new(true, deadline, now);
            let (mut sent, mut unsent) = (1, 0);
            loop {
                let attempt = [Attempt::Unsent, Attempt::Refused, UNAVAILABLE][chance.below(3)];
                unsent += u32::from(attempt == Attempt::Unsent);
                let Ok(pause) = trial.again(attempt, &config, &budget, chance.share(), now) else { break };
                assert!(pause <= config.most_backoff.0, "seed {seed}");
                now += pause + Duration::from_millis(1);
                sent += u32::from(attempt != Attempt::Unsent);
                assert_eq!(trial.previous(), sent - 1);
                let late = deadline.is_some_and(|deadline| now > deadline + Duration::from_millis(1));
                assert!(!late || attempt == Attempt::Unsent, "seed {seed}");
            }
            assert!(sent <= config.attempts && unsent <= MOST_UNSENT + 1, "seed {seed}: {sent}, {unsent}");
        }
    }

    #[test]
    fn unavailable_before_any_message_is_no_response() {
        let head = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect()
        };
        assert_eq!(Attempt::of_head(StatusCode::OK, &head(&[("grpc-status", "14")])), Some(UNAVAILABLE));
        assert_eq!(Attempt::of_head(StatusCode::SERVICE_UNAVAILABLE, &head(&[])), Some(UNAVAILABLE));
        for other in [head(&[]), head(&[("grpc-status", "0")]), head(&[("grpc-status", "13")])] {
            assert_eq!(Attempt::of_head(StatusCode::OK, &other), None);
        }
    }
}
