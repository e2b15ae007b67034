//! Why a service token is refused. A refusal is an error of the call: what a service says of itself is never dropped, or
//! the call would go on as an anonymous one, without its client's address.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jsonwebtoken::errors::{Error, ErrorKind};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::error;

/// Between two lines about callers that are not known: any process on the network can cause them.
const PAUSE: Duration = Duration::from_secs(60);

/// Why a service token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// It is no service token, or made out for too long.
    Malformed,
    /// It names no service that `identity.trusted_dir` or `identity.trusted` knows.
    Signer,
    /// It was signed by another key than the one that is trusted.
    Signature,
    /// It was made out to another service.
    Audience,
    /// It is good at another time: the clocks are too far apart, or it was kept for too long.
    Clock {
        /// The least number of seconds by which the caller's clock is ahead of ours; below zero: behind.
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

    /// What the caller is told. Clocks are nobody's credentials: that is a fault of ours.
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
            Self::Malformed => f.write_str("it is no service token"),
            Self::Signer => f.write_str("its signer is not trusted: see identity.trusted_dir"),
            Self::Signature => f.write_str("it was signed by another key than the trusted one"),
            Self::Audience => f.write_str("it was made out to another service"),
            Self::Clock { ahead } if *ahead > 0 => write!(f, "the caller's clock is {ahead} s or more ahead of ours"),
            Self::Clock { ahead } => {
                write!(f, "the caller's clock is {} s or more behind ours, or the token was kept", ahead.abs())
            }
        }
    }
}

/// Tells of refusals: once a change for each service that is trusted, and now and then for anybody else.
#[derive(Default)]
pub(super) struct Refusals {
    /// Service → what its tokens are refused for now.
    known: Mutex<HashMap<String, &'static str>>,
    strangers: Mutex<Option<Instant>>,
}

impl Refusals {
    /// `caller` is trusted; its token is refused.
    pub(super) fn refused(&self, caller: &str, why: Rejected) {
        count(why);
        let before = self.lock().insert(caller.to_owned(), why.label());
        if before != Some(why.label()) {
            tracing::error!(caller, %why, "the service tokens of a peer are refused, and its calls with them");
        }
    }

    /// A token of nobody who is trusted.
    pub(super) fn refused_stranger(&self, why: Rejected) {
        count(why);
        let mut told = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|at| at.elapsed() >= PAUSE) {
            *told = Some(Instant::now());
            tracing::warn!(%why, "a service token is refused; more of the kind may follow unsaid for a minute");
        }
    }

    pub(super) fn accepted(&self, caller: &str) {
        let mut known = self.lock();
        if !known.is_empty() && known.remove(caller).is_some() {
            tracing::info!(caller, "the service tokens of a peer are accepted again");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, &'static str>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(why: Rejected) {
    metrics::counter!("service_tokens_refused_total", "reason" => why.label()).increment(1);
}
