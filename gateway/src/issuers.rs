//! Issuers of tokens outside the mesh. Their tokens count only for external upstreams that list them, and their users are
//! no users of Trellis: a principal of its own kind, by the name of the issuer and the subject.
//!
//! The keys are read on a timer, and for a key id that is unknown: at most once in [`PAUSE`], whatever clients send. While
//! they cannot be read, the last ones stay in force for `keys_max_age`. Without keys nothing is decided: such calls fail
//! with UNAVAILABLE.

mod fetch;
mod refusals;
mod registry;
mod report;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use kit::{
    Timestamp,
    jwt::{IssuerClaims, IssuerKeys, IssuerRefusal, IssuerRules, stated_issuer},
    keys,
    principal::ExternalUser,
    time::{Clock, SystemClock},
};
use parking_lot::RwLock;
use quick_cache::sync::Cache;
use ring::digest::{SHA256, digest};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use crate::config::TokenIssuerConfig;
use fetch::KeySetDocument;
use refusals::Refusals;
pub(crate) use refusals::refused_unlisted;
pub(crate) use registry::{IssuerRegistry, all_claim_headers, check};
pub use report::{TokenReport, check_token};

/// The time between two requests for the keys.
const PAUSE: Duration = Duration::from_secs(10);
/// The largest number of keys.
const MOST_KEYS: usize = 64;
/// The number of verified tokens that are kept. Most take about 1 KiB; the size of the token bounds its scopes and claims.
const MOST_VERIFIED: usize = 16_384;
/// The largest value of a header from a claim.
const MOST_CLAIM: usize = 1_024;

/// An issuer, with its keys.
pub(crate) struct Issuer {
    /// The name in the configuration.
    pub(crate) name: Arc<str>,
    config: TokenIssuerConfig,
    rules: IssuerRules,
    headers: Vec<(HeaderName, String)>,
    clock: Arc<dyn Clock>,
    /// The least time between two requests for the keys that calls cause.
    pause: Duration,
    published: RwLock<Option<Published>>,
    /// When the last request for the keys began. Locked during the request, so that all callers share it.
    began: Mutex<Option<Instant>>,
    /// Whether the last request for the keys failed: an unknown key may be a new one.
    has_failed: AtomicBool,
    verified: Cache<[u8; 32], VerifiedToken>,
    refusals: Refusals,
}

/// The keys in force.
#[derive(Clone)]
struct Published {
    keys: Arc<IssuerKeys>,
    set: Bytes,
    read: Timestamp,
}

#[derive(Clone)]
struct VerifiedToken {
    user: Arc<ExternalUser>,
    /// The keys that have verified it: with others, it is verified again.
    keys: Arc<IssuerKeys>,
}

/// The result of verifying a token.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Genuine(Arc<ExternalUser>),
    Expired,
    Invalid,
    /// There are no keys yet, they are too old, or the key of the token could not be read.
    Undecided,
}

/// The issuers whose tokens an upstream accepts.
#[derive(Clone, Default)]
pub(crate) struct AcceptedIssuers(Vec<Arc<Issuer>>);

impl AcceptedIssuers {
    /// Those of this list.
    pub(crate) fn new(issuers: Vec<Arc<Issuer>>) -> Self {
        Self(issuers)
    }

    /// The issuer that the token of a request states, with the token.
    pub(crate) fn of<'a>(&self, headers: &'a HeaderMap) -> Option<(&Arc<Issuer>, &'a str)> {
        if self.0.is_empty() {
            return None;
        }
        let token = keys::bearer(headers.get(AUTHORIZATION)?)?;
        let stated = stated_issuer(token)?;
        Some((self.0.iter().find(|issuer| issuer.config.issuer == stated)?, token))
    }
}

impl Issuer {
    fn new(name: &str, config: &TokenIssuerConfig, headers: Vec<(HeaderName, String)>) -> Self {
        Self {
            name: name.into(),
            config: config.clone(),
            rules: rules(config),
            headers,
            clock: Arc::new(SystemClock),
            pause: PAUSE,
            published: RwLock::default(),
            began: Mutex::default(),
            has_failed: AtomicBool::default(),
            verified: Cache::new(MOST_VERIFIED),
            refusals: Refusals::default(),
        }
    }

    /// Reads the keys at once if there are none, and then on a timer.
    pub(crate) async fn keep_fresh(&self) {
        let mut logged = None;
        loop {
            let is_due = self
                .published
                .read()
                .as_ref()
                .is_none_or(|published| published.read.until(self.clock.now()) >= self.config.refresh.0);
            let failure = if is_due { self.read(Duration::ZERO).await.err() } else { None };
            match &failure {
                Some(error) if failure != logged => {
                    tracing::warn!(issuer = %self.name, error, "the keys of token issuer {} cannot be read", self.name);
                }
                None if logged.is_some() => {
                    tracing::info!(issuer = %self.name, "the keys of token issuer {} can be read again", self.name);
                }
                _ => {}
            }
            let pause = if failure.is_some() { self.pause.min(self.config.refresh.0) } else { self.config.refresh.0 };
            logged = failure;
            sleep(pause).await;
        }
    }

    /// Verifies a token that states this issuer.
    pub(crate) async fn verify(self: &Arc<Self>, token: &str) -> Verdict {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let Some(keys) = self.keys().await else { return Verdict::Undecided };
        if let Some(known) = self.verified.get(&hash).filter(|known| Arc::ptr_eq(&known.keys, &keys)) {
            return self.in_force(known.user);
        }
        let (keys, verified) = match self.rules.verify(token, &keys, self.clock.now()) {
            Err(IssuerRefusal::UnknownKey) => {
                // The issuer may have published the key a moment ago.
                self.refresh().await;
                let Some(keys) = self.keys().await else { return Verdict::Undecided };
                let verified = self.rules.verify(token, &keys, self.clock.now());
                (keys, verified)
            }
            verified => (keys, verified),
        };
        match verified {
            Ok(claims) => {
                let user = Arc::new(self.user(claims));
                self.verified.insert(hash, VerifiedToken { user: Arc::clone(&user), keys });
                self.in_force(user)
            }
            Err(IssuerRefusal::UnknownKey) if self.has_failed.load(Relaxed) => Verdict::Undecided,
            Err(refusal) => {
                self.refusals.record(&self.name, refusal);
                if refusal == IssuerRefusal::Expired { Verdict::Expired } else { Verdict::Invalid }
            }
        }
    }

    fn in_force(&self, user: Arc<ExternalUser>) -> Verdict {
        if self.clock.now() < user.expires { Verdict::Genuine(user) } else { Verdict::Expired }
    }

    /// The keys, unless they are too old. Reads them if there are none.
    async fn keys(self: &Arc<Self>) -> Option<Arc<IssuerKeys>> {
        let current = || {
            let published = self.published.read();
            let published = published.as_ref()?;
            let age = published.read.until(self.clock.now());
            (age < self.config.keys_max_age.0).then(|| Arc::clone(&published.keys))
        };
        match current() {
            Some(keys) => Some(keys),
            None => {
                self.refresh().await;
                current()
            }
        }
    }

    /// Reads the keys, unless that was tried a moment ago. In a task of its own: a client that leaves does not end it.
    async fn refresh(self: &Arc<Self>) {
        let issuer = Arc::clone(self);
        let reading = tokio::spawn(async move {
            if let Err(error) = issuer.read(issuer.pause).await {
                tracing::debug!(issuer = %issuer.name, error, "the keys of token issuer {} cannot be read", issuer.name);
            }
        });
        reading.await.ok();
    }

    /// Reads the keys, unless the last request began less than `pause` ago.
    async fn read(&self, pause: Duration) -> Result<(), String> {
        let mut began = self.began.lock().await;
        if began.is_some_and(|began| began.elapsed() < pause) {
            return Ok(());
        }
        *began = Some(Instant::now());
        let (outcome, result) = match fetch::key_set(&self.config).await {
            Err(error) => ("failed", Err(error)),
            Ok(KeySetDocument { address, set }) => match self.publish(set) {
                Ok(()) => ("read", Ok(())),
                Err(why) => ("unusable", Err(format!("{address} {why}"))),
            },
        };
        metrics::counter!("gateway_issuer_keys_total", "issuer" => self.name.to_string(), "outcome" => outcome)
            .increment(1);
        self.has_failed.store(result.is_err(), Relaxed);
        result
    }

    /// Puts keys in force. With an unchanged set, verified tokens are kept. The error continues the name of the set.
    fn publish(&self, set: Bytes) -> Result<(), String> {
        let now = self.clock.now();
        let mut published = self.published.write();
        if let Some(known) = published.as_mut().filter(|known| known.set == set) {
            known.read = now;
            return Ok(());
        }
        let keys = Arc::new(IssuerKeys::read(&set, &self.config.algorithms, MOST_KEYS)?);
        *published = Some(Published { keys, set, read: now });
        Ok(())
    }

    fn user(&self, claims: IssuerClaims) -> ExternalUser {
        let text = |claim: &str| claims.text(claim).filter(|text| is_plain(text));
        let headers = self.headers.iter().filter_map(|(name, claim)| {
            let value = HeaderValue::try_from(text(claim).filter(|value| value.len() <= MOST_CLAIM)?).ok()?;
            Some((name.clone(), value))
        });
        let limit_key = match text(&self.config.limit_claim) {
            Some(value) => format!("{}\0claim\0{value}", self.name),
            None => format!("{}\0subject\0{}", self.name, claims.subject),
        };
        let headers = headers.collect();
        let IssuerClaims { subject, scopes, expires, .. } = claims;
        ExternalUser { issuer: Arc::clone(&self.name), subject, scopes, limit_key, headers, expires }
    }
}

fn rules(config: &TokenIssuerConfig) -> IssuerRules {
    IssuerRules {
        issuer: config.issuer.clone(),
        audiences: config.audiences.clone(),
        algorithms: config.algorithms.clone(),
        clock_skew: config.clock_skew.0,
    }
}

/// Whether a claim can be the value of a header.
fn is_plain(text: &str) -> bool {
    let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    !text.is_empty() && is_printable && text.trim_ascii() == text
}
