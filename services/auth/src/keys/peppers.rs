//! The peppers: secrets that enter every hash of a password, so that a stolen database alone allows no guessing. Pure: no
//! files, no clock.
//!
//! OWASP Password Storage Cheat Sheet ("Peppering") and NIST SP 800-63B-4 (section 3.1.1.2) recommend a secret that is
//! stored apart from the hashes. RFC 9106, section 3.1 has an input for it, the secret value K, so that no second
//! construction is needed; the PHC format names it by `keyid`.
//!
//! A pepper is first *next*: every replica must know it before one replica stores a hash with it. The *current* one enters
//! new hashes. An *old* one verifies hashes that were not renewed by a sign-in yet. It is removed when no hash needs it.

use std::{fmt, str::FromStr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kit::Timestamp;
use ring::digest::{SHA256, digest};
use zeroize::Zeroizing;

use super::PUBLISHED_BEFORE;

/// RFC 9106, section 3.1 allows any length; 32 bytes are the strength of the hash.
const SECRET_BYTES: usize = 32;

/// The state of a pepper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PepperState {
    /// It is distributed and enters no hash yet.
    Next,
    /// It enters new hashes.
    Current,
    /// It verifies hashes that it entered before.
    Old,
}

impl PepperState {
    /// Its name in files and on the terminal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Current => "current",
            Self::Old => "old",
        }
    }
}

impl FromStr for PepperState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Self::Next, Self::Current, Self::Old];
        let found = known.into_iter().find(|state| state.name() == text);
        found.ok_or_else(|| format!("{text:?} is not a state of a pepper: use next, current or old"))
    }
}

/// A pepper of the set.
#[derive(Clone)]
pub(crate) struct Pepper {
    state: PepperState,
    /// When it entered this state.
    since: Timestamp,
    id: String,
    secret: Zeroizing<Vec<u8>>,
}

impl Pepper {
    fn new(state: PepperState, since: Timestamp, secret: Zeroizing<Vec<u8>>) -> Self {
        let hash = digest(&SHA256, &[b"trellis pepper ", &secret[..]].concat());
        // Eight characters that base64 writes for six bytes: in hashes, the id is the `keyid` of the PHC format.
        let id = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self { state, since, id, secret }
    }

    /// Its name in hashes: 8 hexadecimal digits, derived from the secret.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The secret value.
    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }

    fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split_ascii_whitespace();
        let (Some(state), Some(since), Some(secret), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err("a line is not of the form STATE SECONDS SECRET".to_owned());
        };
        let state = state.parse()?;
        let since: i64 = since.parse().map_err(|_| "a time is not a number of seconds since 1970".to_owned())?;
        let secret = BASE64.decode(secret).map(Zeroizing::new).map_err(|_| "a pepper is not base64".to_owned())?;
        if secret.len() != SECRET_BYTES {
            return Err("a pepper does not have 32 bytes".to_owned());
        }
        Ok(Self::new(state, Timestamp::from_micros(since.saturating_mul(1_000_000)), secret))
    }
}

/// The set. At most one pepper is current, and at most one is next. An empty set: hashes have no pepper.
#[derive(Clone, Default)]
pub struct Peppers(Vec<Pepper>);

/// The result of one step of a rotation, with the id of the pepper.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PepperStep {
    /// It is the next one.
    Added(String),
    /// It is the current one.
    Used(String),
}

/// Why a pepper stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Some replicas may not have the latest file yet.
    TooEarly(Duration),
    /// It enters new hashes.
    Current,
    /// The set has no such pepper.
    Unknown,
}

impl Peppers {
    /// Takes the next step: the next pepper becomes the current one, else `secret` is added as the next one. `is_forced`
    /// does not wait, and uses a new pepper at once.
    pub fn rotate(&mut self, secret: [u8; SECRET_BYTES], now: Timestamp, is_forced: bool) -> Result<PepperStep, Kept> {
        if self.of(PepperState::Next).is_none() {
            let secret = Zeroizing::new(secret.to_vec());
            let added = Pepper::new(PepperState::Next, now, secret);
            let id = added.id.clone();
            self.0.push(added);
            if !is_forced {
                return Ok(PepperStep::Added(id));
            }
        }
        let Some(next) = self.of(PepperState::Next) else { return Err(Kept::Unknown) };
        next.may_change(now, is_forced)?;
        let id = next.id.clone();
        for pepper in self.0.iter_mut().filter(|pepper| pepper.state != PepperState::Old) {
            pepper.state = if pepper.state == PepperState::Next { PepperState::Current } else { PepperState::Old };
            pepper.since = now;
        }
        Ok(PepperStep::Used(id))
    }

    /// Removes a pepper that no hash needs. `is_forced` ignores that a replica may still store hashes with it.
    pub fn remove(&mut self, id: &str, now: Timestamp, is_forced: bool) -> Result<(), Kept> {
        let found = self.find(id).ok_or(Kept::Unknown)?;
        if found.state == PepperState::Current {
            return Err(Kept::Current);
        }
        found.may_change(now, is_forced)?;
        self.0.retain(|pepper| pepper.id != id);
        Ok(())
    }

    /// The pepper of new hashes.
    pub(crate) fn current(&self) -> Option<&Pepper> {
        self.of(PepperState::Current)
    }

    /// The pepper with this id.
    pub(crate) fn find(&self, id: &str) -> Option<&Pepper> {
        self.0.iter().find(|pepper| pepper.id == id)
    }

    /// The id, the state, and the time of the last change of each pepper.
    pub fn list(&self) -> impl Iterator<Item = (&str, PepperState, Timestamp)> {
        self.0.iter().map(|pepper| (pepper.id.as_str(), pepper.state, pepper.since))
    }

    fn of(&self, state: PepperState) -> Option<&Pepper> {
        self.0.iter().find(|pepper| pepper.state == state)
    }

    /// The text of the file.
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(HEAD.to_owned());
        for Pepper { state, since, secret, .. } in &self.0 {
            let secret = Zeroizing::new(BASE64.encode(secret));
            text.push_str(&format!("{} {} {}\n", state.name(), since.as_secs(), secret.as_str()));
        }
        text
    }

    /// Parses the text of the file. The error contains no secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let set = Self(lines.map(Pepper::parse).collect::<Result<_, _>>()?);
        for state in [PepperState::Current, PepperState::Next] {
            let count = set.0.iter().filter(|pepper| pepper.state == state).count();
            if count > 1 {
                return Err(format!("{count} peppers are {}; at most one may be", state.name()));
            }
        }
        let mut ids: Vec<_> = set.0.iter().map(Pepper::id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a pepper is listed twice".to_owned());
        }
        Ok(set)
    }
}

impl Pepper {
    /// Refuses a change before every replica has the file with the last one.
    fn may_change(&self, now: Timestamp, is_forced: bool) -> Result<(), Kept> {
        let wait = now.until(self.since + PUBLISHED_BEFORE);
        if wait.is_zero() || is_forced { Ok(()) } else { Err(Kept::TooEarly(wait)) }
    }
}

const HEAD: &str = "# The peppers of password hashes: STATE, since when (seconds since 1970), 32 bytes in base64.\n\
                    # Without them no password can be verified: keep a copy apart from the copies of the database.\n\
                    # `trellis keys pepper` and `remove-pepper` change this file; docs/keys.md has the procedures.\n";

impl fmt::Debug for Peppers {
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

    fn states(peppers: &Peppers) -> Vec<PepperState> {
        peppers.list().map(|(_, state, _)| state).collect()
    }

    #[test]
    fn pepper_enters_hashes_after_every_replica_has_it() {
        let mut peppers = Peppers::default();
        let Ok(PepperStep::Added(first)) = peppers.rotate([1; 32], at(0), false) else { panic!("{peppers:?}") };
        assert!(peppers.current().is_none());
        let wait = Duration::from_secs(1);
        assert_eq!(peppers.rotate([2; 32], at(599), false), Err(Kept::TooEarly(wait)));
        assert_eq!(peppers.rotate([2; 32], at(600), false), Ok(PepperStep::Used(first.clone())));
        assert_eq!(peppers.current().map(Pepper::id), Some(first.as_str()));
        // The second one.
        let Ok(PepperStep::Added(second)) = peppers.rotate([2; 32], at(700), false) else { panic!("{peppers:?}") };
        assert_eq!(peppers.current().map(Pepper::id), Some(first.as_str()));
        assert_eq!(peppers.rotate([3; 32], at(1_300), false), Ok(PepperStep::Used(second.clone())));
        assert_eq!(states(&peppers), [PepperState::Old, PepperState::Current]);
        assert_eq!(peppers.find(&first).map(Pepper::secret), Some(&[1; 32][..]));
        // Removal.
        assert_eq!(peppers.remove(&second, at(9_000), true), Err(Kept::Current));
        assert_eq!(peppers.remove("00000000", at(9_000), true), Err(Kept::Unknown));
        assert_eq!(peppers.remove(&first, at(1_899), false), Err(Kept::TooEarly(wait)));
        assert_eq!(peppers.remove(&first, at(1_900), false), Ok(()));
        assert_eq!(states(&peppers), [PepperState::Current]);
    }

    #[test]
    fn forced_step_uses_a_new_pepper_at_once() {
        let mut peppers = Peppers::default();
        assert!(matches!(peppers.rotate([1; 32], at(0), true), Ok(PepperStep::Used(_))));
        assert!(matches!(peppers.rotate([2; 32], at(0), true), Ok(PepperStep::Used(_))));
        assert_eq!(states(&peppers), [PepperState::Old, PepperState::Current]);
    }

    #[test]
    fn written_set_is_parsed_and_an_invalid_one_is_refused() {
        let mut peppers = Peppers::default();
        peppers.rotate([1; 32], at(0), true).unwrap();
        peppers.rotate([2; 32], at(1), false).unwrap();
        let text = peppers.to_text();
        let read = Peppers::parse(&text).unwrap();
        assert!(read.list().eq(peppers.list()), "{read:?}");
        assert_eq!(read.current().map(Pepper::secret), Some(&[1; 32][..]));
        let current = text.lines().find(|line| line.starts_with("current")).unwrap();
        let secret = current.rsplit(' ').next().unwrap();
        for bad in [
            format!("{current}\n{current}"),
            format!("{current}\n{}", current.replace("current", "old")),
            current.replace("current", "signing"),
            format!("current soon {secret}"),
            "current 0 no_base64!".to_owned(),
            "current 0 c2hvcnQ=".to_owned(),
            format!("{current} {secret}"),
        ] {
            let why = Peppers::parse(&bad).unwrap_err();
            assert!(!why.contains(secret) && !why.contains('\n'), "{why}");
        }
        assert_eq!(Peppers::parse("").unwrap().list().count(), 0);
        assert!(!format!("{peppers:?}").contains(secret));
    }
}
