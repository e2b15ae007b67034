//! The metric and the log of refused tokens. Any client can cause them, so that each cause is logged at most once in a
//! minute. No line has a part of a token.

use std::{collections::HashMap, time::Duration};

use kit::jwt::IssuerRefusal;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The metric, by issuer and cause.
const REFUSED: &str = "gateway_issuer_tokens_refused_total";
/// The time between two lines about the same cause.
const PAUSE: Duration = Duration::from_secs(60);

/// The refused tokens of one issuer: when each cause was last logged.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<&'static str, Instant>>);

impl Refusals {
    /// Records a refused token.
    pub(super) fn record(&self, issuer: &str, refusal: IssuerRefusal) {
        let cause = refusal.label();
        metrics::counter!(REFUSED, "issuer" => issuer.to_owned(), "cause" => cause).increment(1);
        // All tokens expire.
        if refusal != IssuerRefusal::Expired && self.is_due(cause, Instant::now()) {
            tracing::warn!(
                issuer,
                cause,
                "a token of token issuer {issuer} is refused: {refusal}; `trellis token check` examines a token. Others \
                 with this cause are not logged for a minute"
            );
        }
    }

    fn is_due(&self, cause: &'static str, now: Instant) -> bool {
        let mut logged = self.0.lock();
        let is_due = logged.get(cause).is_none_or(|last| now.duration_since(*last) >= PAUSE);
        if is_due {
            logged.insert(cause, now);
        }
        is_due
    }
}

/// Records a token of an issuer that its upstream does not list, or that no issuer of the configuration is.
pub(crate) fn refused_unlisted(method: &str) {
    metrics::counter!(REFUSED, "issuer" => "unlisted", "cause" => "issuer").increment(1);
    tracing::debug!(method, "a token is refused: its issuer (iss) is none that the method accepts");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_logged_once_in_a_minute() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert!(refusals.is_due("audience", now) && refusals.is_due("signature", now));
        assert!(!refusals.is_due("audience", now + PAUSE - Duration::from_millis(1)));
        assert!(refusals.is_due("audience", now + PAUSE));
        assert!(!refusals.is_due("audience", now + PAUSE));
    }
}
