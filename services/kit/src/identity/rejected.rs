//! Reasons for refusing a service token. A refusal fails the call. Ignoring the token would make the call anonymous and
//! lose its client address.

use std::{collections::HashMap, fmt, time::Duration};

use jsonwebtoken::errors::{Error, ErrorKind};
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::error;

/// The minimum time between two log lines about unknown callers: any process on the network can cause them.
const PAUSE: Duration = Duration::from_secs(60);

/// Why a service token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// It is not a service token, or its lifetime is too long.
    Malformed,
    /// Its key id is in neither `identity.trusted_dir` nor `identity.trusted`.
    Signer,
    /// It was signed with another key than the trusted one.
    Signature,
    /// It was issued for another service.
    Audience,
    /// It is outside its validity: the clocks differ too much, or the token is too old.
    Clock {
        /// By how many seconds the caller's clock is ahead of ours, at least; negative: behind.
        ahead: i64,
    },
}

impl Rejected {
    pub(super) fn by(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidSignature => Self::Signature,
            ErrorKind::InvalidAudience => Self::Audience,
            _ => Self::Malformed,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Signer => "signer",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Clock { .. } => "clock",
        }
    }

    /// The status for the caller. A clock error is no fault of a client's credentials, so it is INTERNAL.
    pub(crate) fn status(self) -> Status {
        match self {
            Self::Clock { .. } => error::status(
                Code::Internal,
                "SERVICE_CLOCK_SKEW",
                "the clocks of two processes of the mesh are too far apart; synchronize them",
            ),
            _ => error::status(
                Code::Unauthenticated,
                "SERVICE_TOKEN_INVALID",
                "the service token is not valid here; check identity.key_file and identity.trusted_dir",
            ),
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("it is not a service token"),
            Self::Signer => f.write_str("its signer is not trusted: see identity.trusted_dir"),
            Self::Signature => f.write_str("it was signed by another key than the trusted one"),
            Self::Audience => f.write_str("it was issued for another service"),
            Self::Clock { ahead } if *ahead > 0 => write!(f, "the caller's clock is {ahead} s or more ahead of ours"),
            Self::Clock { ahead } => {
                write!(f, "the caller's clock is {} s or more behind ours, or the token is too old", ahead.abs())
            }
        }
    }
}

/// Logs refusals: once per change for each trusted service, and at most once per `PAUSE` for unknown callers.
#[derive(Default)]
pub(super) struct Refusals {
    /// Service → why its tokens are currently refused.
    known: Mutex<HashMap<String, &'static str>>,
    unknown: Mutex<Option<Instant>>,
}

impl Refusals {
    /// Records a refused token of the trusted service `caller`.
    pub(super) fn refused(&self, caller: &str, why: Rejected) {
        count(why);
        let before = self.known.lock().insert(caller.to_owned(), why.label());
        if before != Some(why.label()) {
            tracing::error!(caller, %why, "the service tokens of a peer are refused, so its calls fail");
        }
    }

    /// Records a refused token of an unknown caller.
    pub(super) fn refused_unknown(&self, why: Rejected) {
        count(why);
        let mut logged = self.unknown.lock();
        if logged.is_none_or(|at| at.elapsed() >= PAUSE) {
            *logged = Some(Instant::now());
            tracing::warn!(%why, "a service token of an unknown caller was refused; further ones are not logged for a minute");
        }
    }

    pub(super) fn accepted(&self, caller: &str) {
        let mut known = self.known.lock();
        if !known.is_empty() && known.remove(caller).is_some() {
            tracing::info!(caller, "the service tokens of a peer are accepted again");
        }
    }
}

fn count(why: Rejected) {
    metrics::counter!("service_tokens_refused_total", "reason" => why.label()).increment(1);
}
