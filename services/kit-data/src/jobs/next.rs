//! The next state of a job after an attempt.

use std::time::Duration;

use kit::Timestamp;

use super::{
    Failure, JobsConfig, Outcome,
    backoff::backoff,
    store::{Claimed, Next, State},
};

/// The change of a claimed job after an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is done.
    Remove,
    /// It stays, in this state.
    PutBack(Next),
}

impl Change {
    /// The outcome in metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Remove => "done",
            Self::PutBack(Next { state: State::Dead, .. }) => "dead",
            Self::PutBack(Next { failure, .. }) if failure.is_empty() => "done",
            Self::PutBack(_) => "failed",
        }
    }
}

/// The change after the result of an attempt. `schedule` is the interval of a recurring job, which is never removed and
/// never dead. `random` is the jitter.
pub(super) fn after(
    result: Result<Outcome, Failure>,
    job: &Claimed,
    schedule: Option<Duration>,
    config: &JobsConfig,
    now: Timestamp,
    random: u32,
) -> Change {
    let waiting = |attempts, due, failure| Change::PutBack(Next { state: State::Waiting, attempts, now, due, failure });
    match (result, schedule) {
        (Ok(Outcome::Done), None) => Change::Remove,
        (Ok(Outcome::Done), Some(interval)) => waiting(0, now + interval, String::new()),
        (Ok(Outcome::Continue), _) => waiting(0, now, String::new()),
        (Err(failure), None) if failure.is_permanent || job.attempts >= i64::from(config.attempts) => {
            let (attempts, failure) = (job.attempts, failure.message);
            Change::PutBack(Next { state: State::Dead, attempts, now, due: now, failure })
        }
        (Err(failure), schedule) => {
            let wait = backoff(config, job.attempts, random).min(schedule.unwrap_or(Duration::MAX));
            waiting(job.attempts, now + wait.max(failure.retry_after), failure.message)
        }
    }
}

/// The change of a job whose attempt the shutdown has cut: another process may start it at once, and the attempt does
/// not count.
pub(super) fn after_cut(job: &Claimed, now: Timestamp) -> Change {
    let failure = "the process stopped during the attempt".to_owned();
    Change::PutBack(Next { state: State::Waiting, attempts: job.attempts - 1, now, due: now, failure })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

    fn job(attempts: i64) -> Claimed {
        Claimed {
            id: uuid::Uuid::nil(),
            kind: "k".to_owned(),
            version: 1,
            payload: String::new(),
            create_time: NOW,
            claims: 7,
            attempts,
            lost_leases: 0,
        }
    }

    fn changed(result: Result<Outcome, Failure>, attempts: i64, schedule: Option<Duration>) -> Change {
        after(result, &job(attempts), schedule, &JobsConfig { attempts: 5, ..JobsConfig::default() }, NOW, 0)
    }

    fn waiting(attempts: i64, seconds: u64, failure: &str) -> Change {
        let (due, failure) = (NOW + Duration::from_secs(seconds), failure.to_owned());
        Change::PutBack(Next { state: State::Waiting, attempts, now: NOW, due, failure })
    }

    fn dead(attempts: i64, failure: &str) -> Change {
        Change::PutBack(Next { state: State::Dead, attempts, now: NOW, due: NOW, failure: failure.to_owned() })
    }

    #[test]
    fn success_removes_a_job_and_restarts_a_schedule() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(changed(Ok(Outcome::Done), 3, None), Change::Remove);
        assert_eq!(changed(Ok(Outcome::Done), 3, minute), waiting(0, 60, ""));
        assert_eq!(changed(Ok(Outcome::Continue), 3, None), waiting(0, 0, ""));
    }

    #[test]
    fn failures_back_off_until_the_job_is_dead() {
        let failed = |attempts| changed(Err(Failure::transient("no")), attempts, None);
        assert_eq!((failed(1), failed(3), failed(4)), (waiting(1, 1, "no"), waiting(3, 4, "no"), waiting(4, 8, "no")));
        assert_eq!((failed(5), failed(6)), (dead(5, "no"), dead(6, "no")));
        assert_eq!(changed(Err(Failure::permanent("never")), 1, None), dead(1, "never"));
        let later = Failure::transient("no").after(Duration::from_secs(90));
        assert_eq!(changed(Err(later), 1, None), waiting(1, 90, "no"));
    }

    #[test]
    fn schedule_never_dies_and_waits_at_most_its_interval() {
        let two = Some(Duration::from_secs(2));
        assert_eq!(changed(Err(Failure::transient("no")), 100, two), waiting(100, 2, "no"));
        assert_eq!(changed(Err(Failure::permanent("no")), 1, two), waiting(1, 1, "no"));
    }

    #[test]
    fn cut_attempt_does_not_count() {
        assert_eq!(after_cut(&job(3), NOW), waiting(2, 0, "the process stopped during the attempt"));
    }
}
