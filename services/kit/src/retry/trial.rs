//! Whether and when a call is sent again. Pure: time and chance are arguments.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use tokio::time::Instant;
use tonic::Code;

use super::{Budget, Config};
use crate::record::code_of;

/// By which a server says when a call may be sent again; negative or unreadable: not at all.
pub const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// How often a call was sent before.
pub const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";

/// What became of an attempt that brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The request never left, or was provably not looked at.
    Unsent,
    /// The server refused to look at it.
    Refused,
    /// It may have been worked on: the connection broke, or the answer was UNAVAILABLE.
    Unavailable(Pushback),
}

/// What a server says of sending again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushback {
    /// Nothing.
    None,
    /// After this time.
    After(Duration),
    /// Not at all.
    Never,
}

impl Pushback {
    /// What stands in an answer's headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(PUSHBACK) else { return Self::None };
        match value.to_str().ok().and_then(|text| text.parse().ok()) {
            Some(millis) => Self::After(Duration::from_millis(millis)),
            None => Self::Never,
        }
    }
}

impl Attempt {
    /// Whether the head of an answer says that there is none: UNAVAILABLE before anything else, or what a proxy says
    /// when it means that (gRPC's own table for HTTP statuses).
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
pub enum Withheld {
    /// The contract does not say that a repeat does no harm.
    Unsafe,
    /// It was sent as often as it may be.
    Attempts,
    /// Too many are sent again already.
    Budget,
    /// The server says so.
    Pushback,
    /// It would come too late.
    Deadline,
    /// More was sent of the request than is kept.
    Buffer,
}

impl Withheld {
    /// What metrics call it.
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

/// One call and how often it was sent.
pub struct Trial {
    /// The contract says that a repeat does no harm.
    pub is_idempotent: bool,
    /// When the answer comes too late.
    pub deadline: Option<Instant>,
    attempts: u32,
    /// How often nobody has looked at it.
    unsent: u32,
}

/// How often a call may meet with nobody to look at it: each costs a look at a list or a connection attempt.
const MOST_UNSENT: u32 = 10;

impl Trial {
    /// A call that is about to be sent.
    pub fn new(is_idempotent: bool, deadline: Option<Instant>) -> Self {
        Self { is_idempotent, deadline, attempts: 1, unsent: 0 }
    }

    /// How often it was sent before.
    pub fn previous(&self) -> u32 {
        self.attempts - 1
    }

    /// How long to wait before it is sent again. `roll` is evenly from 0 to 1.
    pub fn again(
        &mut self,
        attempt: Attempt,
        config: &Config,
        budget: &Budget,
        roll: f64,
        now: Instant,
    ) -> Result<Duration, Withheld> {
        if attempt == Attempt::Unsent {
            return self.unsent();
        }
        if self.attempts >= config.attempts {
            return Err(Withheld::Attempts);
        }
        let pause = match attempt {
            Attempt::Unsent | Attempt::Refused => self.backoff(config, roll),
            Attempt::Unavailable(_) if !self.is_idempotent => return Err(Withheld::Unsafe),
            Attempt::Unavailable(Pushback::Never) => return Err(Withheld::Pushback),
            Attempt::Unavailable(Pushback::After(time)) => time,
            Attempt::Unavailable(Pushback::None) => self.backoff(config, roll),
        };
        if self.deadline.is_some_and(|deadline| now + pause >= deadline) {
            return Err(Withheld::Deadline);
        }
        if !budget.take(now) {
            return Err(Withheld::Budget);
        }
        self.attempts += 1;
        Ok(pause)
    }

    /// What nobody has looked at has burdened nobody: it is sent elsewhere at once.
    fn unsent(&mut self) -> Result<Duration, Withheld> {
        self.unsent += 1;
        if self.unsent > MOST_UNSENT { Err(Withheld::Attempts) } else { Ok(Duration::ZERO) }
    }

    /// Anything up to a bound that doubles: callers that failed together come back apart.
    fn backoff(&self, config: &Config, roll: f64) -> Duration {
        let doubled = config.backoff.0.saturating_mul(1 << (self.attempts - 1).min(16));
        doubled.min(config.most_backoff.0).mul_f64(roll.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::Chance;

    const UNAVAILABLE: Attempt = Attempt::Unavailable(Pushback::None);

    fn ample() -> Budget {
        Budget::new(100, 1_000, Instant::now())
    }

    #[test]
    fn what_may_have_been_worked_on_is_sent_again_only_where_the_contract_says_so() {
        let (now, config) = (Instant::now(), Config::default());
        let again = |safe, attempt| Trial::new(safe, None).again(attempt, &config, &ample(), 0.5, now);
        assert_eq!(again(false, UNAVAILABLE), Err(Withheld::Unsafe));
        assert!(again(true, UNAVAILABLE).is_ok());
        assert_eq!(again(false, Attempt::Unsent), Ok(Duration::ZERO));
        assert!(again(false, Attempt::Refused).is_ok());
    }

    #[test]
    fn the_servers_word_counts() {
        let (now, config) = (Instant::now(), Config::default());
        let again = |p| Trial::new(true, None).again(Attempt::Unavailable(p), &config, &ample(), 0.0, now);
        assert_eq!(again(Pushback::Never), Err(Withheld::Pushback));
        assert_eq!(again(Pushback::After(Duration::from_secs(7))), Ok(Duration::from_secs(7)));
        let read =
            |text: &str| Pushback::of(&[(PUSHBACK.parse().unwrap(), text.parse().unwrap())].into_iter().collect());
        assert_eq!(read("250"), Pushback::After(Duration::from_millis(250)));
        assert_eq!([read("-1"), read("soon"), read("")], [Pushback::Never; 3]);
        assert_eq!(Pushback::of(&HeaderMap::new()), Pushback::None);
    }

    #[test]
    fn what_nobody_looked_at_needs_no_budget() {
        let (now, config, empty) = (Instant::now(), Config::default(), Budget::new(0, 0, Instant::now()));
        let again = |attempt| Trial::new(true, None).again(attempt, &config, &empty, 0.5, now);
        assert_eq!(again(Attempt::Unsent), Ok(Duration::ZERO));
        assert_eq!([again(UNAVAILABLE), again(Attempt::Refused)], [Err(Withheld::Budget); 2]);
    }

    /// Whatever comes: never too often, never past the deadline, never longer than the bound.
    #[test]
    fn a_call_is_bounded_in_number_and_time() {
        for seed in 0..500 {
            let chance = Chance::seeded(seed);
            let config = Config { attempts: 1 + chance.below(6) as u32, ..Config::default() };
            let (budget, mut now) = (ample(), Instant::now());
            let deadline = (chance.below(2) == 0).then(|| now + Duration::from_millis(chance.next() % 500));
            let mut trial = Trial::new(true, deadline);
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
    fn an_answer_that_says_unavailable_before_anything_else_is_none() {
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
