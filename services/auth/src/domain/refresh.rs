//! Decides about a presented refresh token: a pure function, called under the session's row lock.
//!
//! # Why a repeat within the grace period is safe
//! A client whose response was lost still has the predecessor, and must be able to repeat it after its own timeout.
//! The repeat creates nothing: it returns the same successor that the lost response carried, and only while that
//! successor is unused. The first use of the successor ends the grace period at once. So of two parties who hold the
//! predecessor, the owner and a thief, both get the same successor; one of them uses it first, and the other then
//! presents a used token, which ends the session for both. A longer grace period delays no detection: a theft is
//! noticed at the next use, as before. It bounds only how long a stolen predecessor is worth as much as the unused
//! successor, which the thief could have stolen instead.
//!
//! The successor is stored encrypted, for the grace period only.

use kit::Timestamp;

use super::{Lifetimes, State};

/// A presented token and the state of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// The state of the account.
    pub account: State,
    /// When the session ends.
    pub expire_time: Timestamp,
    /// Whether the session was ended early.
    pub revoked: bool,
    /// The first use of the token; `None`: it is unused.
    pub used: Option<Used>,
}

/// The first use of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// When it was used.
    pub at: Timestamp,
    /// Whether its successor is unused and can still be decrypted.
    pub successor_waits: bool,
}

/// The decision about a presented token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The first use: issue a successor.
    Rotate,
    /// A second tab or a lost response: return the same successor again.
    Repeat,
    /// The owner or a thief has presented an old token: end the session (RFC 9700, section 4.14.2).
    Revoke,
    /// The session has ended or expired, or the account may not sign in.
    Refuse,
}

/// Decides what to do with the presented token.
pub fn decide(presented: Presented, now: Timestamp, lifetimes: Lifetimes) -> Decision {
    if presented.revoked || presented.account != State::Active || now >= presented.expire_time {
        return Decision::Refuse;
    }
    match presented.used {
        None => Decision::Rotate,
        Some(used) if used.successor_waits && now < used.at + lifetimes.grace => Decision::Repeat,
        Some(_) => Decision::Revoke,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);
    const RULES: Lifetimes =
        Lifetimes { idle: Duration::from_secs(1_000), absolute: Duration::from_secs(5_000), grace: GRACE };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn presented(used: Option<Used>) -> Presented {
        Presented { account: State::Active, expire_time: at(1_000), revoked: false, used }
    }

    #[test]
    fn token_rotates_once_and_repeats_within_the_grace_period() {
        let waits = |successor_waits| Some(Used { at: at(100), successor_waits });
        let decide = |used, now| decide(presented(used), at(now), RULES);
        assert_eq!(decide(None, 100), Decision::Rotate);
        assert_eq!(decide(waits(true), 109), Decision::Repeat);
        assert_eq!(decide(waits(true), 110), Decision::Revoke);
        assert_eq!(decide(waits(false), 101), Decision::Revoke);
    }

    #[test]
    fn ended_session_refuses_its_tokens_and_is_not_ended_twice() {
        let used = Some(Used { at: at(1), successor_waits: false });
        for used in [None, used] {
            for account in [State::Pending, State::Suspended, State::Deleted] {
                let presented = Presented { account, ..presented(used) };
                assert_eq!(decide(presented, at(5), RULES), Decision::Refuse);
            }
            assert_eq!(decide(Presented { revoked: true, ..presented(used) }, at(5), RULES), Decision::Refuse);
            assert_eq!(decide(presented(used), at(1_000), RULES), Decision::Refuse);
        }
    }

    /// A model of a stored session, to test orders of events.
    #[derive(Clone, Default)]
    struct Family {
        used_at: Vec<Option<Timestamp>>,
        revoked: bool,
    }

    impl Family {
        /// Presents token number `n`. Returns the decision and the number of the token that the caller receives.
        fn present(&mut self, n: usize, now: Timestamp) -> (Decision, Option<usize>) {
            let successor_waits = self.used_at.get(n + 1) == Some(&None);
            let used = self.used_at[n].map(|at| Used { at, successor_waits });
            let decision = decide(Presented { revoked: self.revoked, ..presented(used) }, now, RULES);
            match decision {
                Decision::Rotate => {
                    self.used_at[n] = Some(now);
                    self.used_at.push(None);
                }
                Decision::Revoke => self.revoked = true,
                Decision::Repeat | Decision::Refuse => {}
            }
            (decision, matches!(decision, Decision::Rotate | Decision::Repeat).then_some(n + 1))
        }
    }

    /// Two tabs share a cookie and refresh in every order: within the grace period no tab is signed out, and there is
    /// one sequence of tokens.
    #[test]
    fn two_tabs_stay_signed_in_in_every_order() {
        for order in 0..1_u32 << 8 {
            let mut family = Family { used_at: vec![None], revoked: false };
            let mut now = at(10);
            // The token that each tab has read, before the other tab's response sets the cookie.
            let mut held = [0, 0];
            for step in 0..8 {
                let tab = usize::from(order >> step & 1 == 1);
                let (decision, next) = family.present(held[tab], now);
                assert!(matches!(decision, Decision::Rotate | Decision::Repeat), "{order:b} at {step}: {decision:?}");
                let next = next.unwrap();
                // The cookie is shared: after a response, both tabs read the new token.
                held = if next > held[1 - tab] { [next, next] } else { held };
                now = now + Duration::from_secs(1);
            }
            assert!(!family.revoked);
        }
    }

    /// A token whose successor was used ends the session for the owner and the thief.
    #[test]
    fn stolen_old_token_ends_the_session() {
        for stolen in 0..3 {
            let mut family = Family { used_at: vec![None], revoked: false };
            for n in 0..5 {
                family.present(n, at(10));
            }
            assert_eq!(family.present(stolen, at(11)).0, Decision::Revoke);
            assert_eq!(family.present(5, at(12)).0, Decision::Refuse);
        }
    }
}
