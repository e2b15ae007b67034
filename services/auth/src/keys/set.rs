//! The set of keys that sign access tokens, and how it is rotated. Pure: no files, no clock.
//!
//! A key is first *next*, then *signing*, then *retiring*. It is published in all three states, so that verifiers know
//! it before it signs, and as long as its tokens live. Each step of a rotation changes one state, and replicas may take
//! it at different times.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kit::{Timestamp, jwk::Jwk, jwt::AccessKey, keys::LONGEST_ACCESS};
use zeroize::Zeroizing;

/// How long a key is published before it signs: verifiers outside the mesh may keep the set for five minutes, and a
/// mounted Secret takes a minute or two to reach every pod.
pub const PUBLISHED_BEFORE: Duration = Duration::from_secs(10 * 60);
/// How long a key is published after it has signed: the longest life of a token, and the time that replicas may differ.
pub const PUBLISHED_AFTER: Duration = LONGEST_ACCESS.saturating_add(PUBLISHED_BEFORE);

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It is published and does not sign yet.
    Next,
    /// It signs.
    Signing,
    /// It is published, so that the tokens that it signed stay valid until they expire.
    Retiring,
}

impl KeyState {
    /// Its name in files and on the terminal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Signing => "signing",
            Self::Retiring => "retiring",
        }
    }
}

impl FromStr for KeyState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Next, Self::Signing, Self::Retiring];
        let found = known.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| format!("{text:?} is not a state of a key: use next, signing or retiring"))
    }
}

/// A key of the set.
#[derive(Clone)]
struct Entry {
    state: KeyState,
    /// When it entered this state.
    since: Timestamp,
    pkcs8: Zeroizing<Vec<u8>>,
    key: Arc<AccessKey>,
}

/// The set. Exactly one key is signing, and at most one is next.
#[derive(Clone)]
pub struct KeyRing(Vec<Entry>);

/// The result of one step of a rotation, with the ids of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A new key is published.
    Added(String),
    /// The next key signs, and the one that signed retires.
    Promoted(String),
    /// These keys are no longer published.
    Removed(Vec<String>),
}

/// A step that would invalidate tokens if it were taken now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooEarly {
    /// The state of the key that has to wait.
    pub state: KeyState,
    /// How long the step has to wait.
    pub wait: Duration,
}

impl KeyRing {
    /// A set of one new signing key.
    pub fn generate(now: Timestamp) -> Self {
        Self(vec![Entry::generate(KeyState::Signing, now)])
    }

    /// Takes the next step of a rotation: removes retiring keys, else promotes the next key, else adds a key.
    /// `is_forced` ignores the waiting times.
    pub fn rotate(&mut self, now: Timestamp, is_forced: bool) -> Result<Step, TooEarly> {
        let due = |entry: &Entry, after: Duration| {
            let wait = now.until(entry.since + after);
            if wait.is_zero() || is_forced { Ok(()) } else { Err(TooEarly { state: entry.state, wait }) }
        };
        if self.of(KeyState::Retiring).next().is_some() {
            self.of(KeyState::Retiring).try_for_each(|entry| due(entry, PUBLISHED_AFTER))?;
            let removed = self.of(KeyState::Retiring).map(|entry| entry.id().to_owned()).collect();
            self.0.retain(|entry| entry.state != KeyState::Retiring);
            return Ok(Step::Removed(removed));
        }
        let Some(next) = self.of(KeyState::Next).next() else {
            let next = Entry::generate(KeyState::Next, now);
            let id = next.id().to_owned();
            self.0.push(next);
            return Ok(Step::Added(id));
        };
        due(next, PUBLISHED_BEFORE)?;
        let id = next.id().to_owned();
        for entry in &mut self.0 {
            entry.state = if entry.state == KeyState::Next { KeyState::Signing } else { KeyState::Retiring };
            entry.since = now;
        }
        Ok(Step::Promoted(id))
    }

    /// Replaces all keys, whatever their states, by one new signing key. Returns the ids of the removed keys: every
    /// token that one of them signed becomes invalid.
    pub fn replace(&mut self, now: Timestamp) -> Vec<String> {
        let removed = self.0.iter().map(|entry| entry.id().to_owned()).collect();
        *self = Self::generate(now);
        removed
    }

    /// The key that signs.
    pub(crate) fn signing(&self) -> &Arc<AccessKey> {
        &self.of(KeyState::Signing).next().expect("every constructor checks that one key is signing").key
    }

    /// The key with this id.
    pub(crate) fn find(&self, id: &str) -> Option<&Arc<AccessKey>> {
        self.0.iter().find(|entry| entry.id() == id).map(|entry| &entry.key)
    }

    /// The public keys, the one that signs first.
    pub fn jwks(&self) -> Vec<Jwk> {
        let states = [KeyState::Signing, KeyState::Next, KeyState::Retiring];
        states.into_iter().flat_map(|state| self.of(state)).map(|entry| entry.key.jwk().clone()).collect()
    }

    /// The id, the state, and the time of the last change of each key.
    pub fn list(&self) -> impl Iterator<Item = (&str, KeyState, Timestamp)> {
        self.0.iter().map(|entry| (entry.id(), entry.state, entry.since))
    }

    /// How many keys are in a state.
    pub(crate) fn count(&self, state: KeyState) -> usize {
        self.of(state).count()
    }

    fn of(&self, state: KeyState) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(move |entry| entry.state == state)
    }

    /// The text of a key file.
    pub(crate) fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(HEAD.to_owned());
        for Entry { state, since, pkcs8, .. } in &self.0 {
            let secret = Zeroizing::new(BASE64.encode(pkcs8));
            text.push_str(&format!("{} {} {}\n", state.name(), since.as_secs(), secret.as_str()));
        }
        text
    }

    /// Parses the text of a key file. The error contains no secret.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let ring = Self(lines.map(Entry::parse).collect::<Result<_, _>>()?);
        match (ring.count(KeyState::Signing), ring.count(KeyState::Next)) {
            (1, 0 | 1) => Ok(ring),
            (signing, next) => Err(format!(
                "{signing} keys sign and {next} are next; a set needs one signing key and at most one next key"
            )),
        }
    }
}

const HEAD: &str = "# The keys of access tokens: STATE, since when (seconds since 1970), PKCS#8 in base64.\n\
                    # `trellis keys rotate` and `replace` change this file; docs/keys.md has the procedures.\n";

impl Entry {
    fn generate(state: KeyState, since: Timestamp) -> Self {
        let pkcs8 = Zeroizing::new(AccessKey::generate());
        let key = AccessKey::from_pkcs8(&pkcs8).expect("a fresh key is well formed");
        Self { state, since, pkcs8, key: Arc::new(key) }
    }

    fn id(&self) -> &str {
        &self.key.jwk().kid
    }

    fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_ascii_whitespace();
        let (Some(state), Some(since), Some(secret), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err("a line is not of the form STATE SECONDS KEY".to_owned());
        };
        let state = state.parse()?;
        let since: i64 = since.parse().map_err(|_| "a time is not a number of seconds since 1970".to_owned())?;
        let pkcs8 =
            BASE64.decode(secret).map(Zeroizing::new).map_err(|_| "a key is not written in base64".to_owned())?;
        let key = AccessKey::from_pkcs8(&pkcs8).ok_or("a key is not a P-256 key in PKCS#8")?;
        Ok(Self { state, since: Timestamp::from_micros(since.saturating_mul(1_000_000)), pkcs8, key: Arc::new(key) })
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list().map(|(id, state, _)| (id, state))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000) + Duration::from_secs(seconds)
    }

    fn ids(ring: &KeyRing) -> Vec<String> {
        ring.jwks().into_iter().map(|jwk| jwk.kid).collect()
    }

    #[test]
    fn key_is_published_before_and_after_it_signs() {
        let mut ring = KeyRing::generate(at(0));
        let first = ids(&ring).remove(0);
        let Ok(Step::Added(second)) = ring.rotate(at(0), false) else { panic!("{ring:?}") };
        assert_eq!(ids(&ring), [first.clone(), second.clone()]);
        assert_eq!(ring.signing().jwk().kid, first);
        let wait = Duration::from_secs(1);
        assert_eq!(ring.rotate(at(599), false), Err(TooEarly { state: KeyState::Next, wait }));
        assert_eq!(ring.rotate(at(600), false), Ok(Step::Promoted(second.clone())));
        assert_eq!(ids(&ring), [second.clone(), first.clone()]);
        assert_eq!(ring.signing().jwk().kid, second);
        let end = 600 + PUBLISHED_AFTER.as_secs();
        assert_eq!(ring.rotate(at(end - 1), false), Err(TooEarly { state: KeyState::Retiring, wait }));
        assert_eq!(ring.rotate(at(end), false), Ok(Step::Removed(vec![first])));
        assert_eq!(ids(&ring), [second]);
    }

    /// A regression: after three forced steps from the states `retiring` and `next`, an old key was still trusted.
    #[test]
    fn replacement_removes_the_keys_of_every_state() {
        let signing = KeyRing::generate(at(0));
        let mut next = signing.clone();
        next.rotate(at(1), true).unwrap();
        let mut retiring = next.clone();
        retiring.rotate(at(2), true).unwrap();
        // A set that an operator has merged.
        let mut all = retiring.clone();
        all.0.push(Entry::generate(KeyState::Next, at(3)));
        for mut ring in [signing, next, retiring, all] {
            let old = ids(&ring);
            let mut removed = ring.replace(at(4));
            assert_eq!(removed.len(), old.len());
            removed.retain(|id| !old.contains(id));
            assert_eq!(removed, [""; 0]);
            let list: Vec<_> = ring.list().collect();
            assert!(matches!(list[..], [(_, KeyState::Signing, since)] if since == at(4)), "{list:?}");
            assert!(!old.contains(&ids(&ring)[0]), "the key is new");
            assert_eq!(KeyRing::parse(&ring.to_text()).unwrap().jwks(), ring.jwks());
        }
    }

    #[test]
    fn forced_rotation_does_not_wait() {
        let mut ring = KeyRing::generate(at(0));
        let first = ids(&ring);
        for _ in 0..3 {
            ring.rotate(at(0), true).unwrap();
        }
        assert_eq!(ring.0.len(), 1);
        assert_ne!(ids(&ring), first);
    }

    #[test]
    fn written_set_is_parsed_and_an_invalid_one_is_refused() {
        let mut ring = KeyRing::generate(at(0));
        ring.rotate(at(1), true).unwrap();
        let text = ring.to_text();
        let read = KeyRing::parse(&text).unwrap();
        assert_eq!((ids(&read), read.list().count()), (ids(&ring), 2));
        assert!(read.list().eq(ring.list()));
        let signing = text.lines().find(|line| line.starts_with("signing")).unwrap();
        let secret = signing.rsplit(' ').next().unwrap();
        for bad in [
            String::new(),
            format!("{signing}\n{signing}\n"),
            signing.replace("signing", "next"),
            signing.replace("signing", "resting"),
            "signing 0 AAAA".to_owned(),
            "signing 0 no_base64!".to_owned(),
            format!("signing soon {secret}"),
            format!("signing 0 {secret} {secret}"),
        ] {
            let why = KeyRing::parse(&bad).unwrap_err();
            assert!(!why.contains(secret) && !why.contains('\n'), "{why}");
        }
    }
}
