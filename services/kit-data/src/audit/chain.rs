//! The hash chain: the bytes of a record, and their hash.

use std::fmt;

use kit::audit::Facts;
use ring::digest::{Context, SHA256};

/// The version of the bytes that are hashed.
const VERSION: &[u8] = b"trellis audit 1";
/// The length of a hash.
const HASH_LEN: usize = 32;

/// A stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    pub(super) facts: Facts,
    /// Encrypted; empty: there is none, or the person was erased before it was stored.
    pub(super) personal: Vec<u8>,
    /// The number in the chain; `None`: not sealed yet.
    pub(super) seq: Option<i64>,
    pub(super) hash: Option<Vec<u8>>,
}

/// Both ends of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// The last sealed record.
    pub(super) head: Head,
    /// The last pruned record; the chain begins after it.
    pub(super) base: Head,
}

/// A position in the chain: the number of a record, and the hash of all records up to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The number; 0: before the first record.
    pub seq: i64,
    /// The hash; all zeros before the first record.
    pub hash: Vec<u8>,
}

impl Head {
    /// The position after the next record `row`.
    pub(super) fn after(&self, row: &RecordRow) -> Self {
        let seq = self.seq + 1;
        Self { seq, hash: hash(&self.hash, seq, row) }
    }

    /// Reads `SEQ:HASH`.
    pub fn parse(text: &str) -> Option<Self> {
        let (seq, hash) = text.split_once(':')?;
        let digits: Vec<char> = hash.chars().collect();
        let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok();
        let hash: Vec<u8> = digits.chunks(2).map(byte).collect::<Option<_>>()?;
        let is_whole = digits.len() == 2 * HASH_LEN && digits.iter().all(char::is_ascii_hexdigit);
        Some(Self { seq: seq.parse().ok()?, hash }).filter(|_| is_whole)
    }
}

/// `SEQ:HASH`, for the operator's notes.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.seq)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The hash of a record and of all records before it. Each field is preceded by its length, so that no two records have
/// the same bytes.
fn hash(before: &[u8], seq: i64, row: &RecordRow) -> Vec<u8> {
    let Facts {
        id,
        time,
        action,
        principal_kind,
        principal,
        session,
        peer,
        target,
        code,
        reason,
        calls,
        trace_id,
        person,
    } = &row.facts;
    let person = person.map(|person| person.as_bytes().to_vec()).unwrap_or_default();
    let (time, calls) = (time.as_micros().to_be_bytes(), calls.to_be_bytes());
    let fields: [&[u8]; 17] = [
        VERSION,
        before,
        &seq.to_be_bytes(),
        id.as_bytes(),
        &time,
        action.as_bytes(),
        principal_kind.as_bytes(),
        principal.as_bytes(),
        session.as_bytes(),
        peer.as_bytes(),
        target.as_bytes(),
        code.as_bytes(),
        reason.as_bytes(),
        &calls,
        trace_id.as_bytes(),
        &person,
        &row.personal,
    ];
    let mut context = Context::new(&SHA256);
    for field in fields {
        context.update(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(field);
    }
    context.finish().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use kit::Timestamp;
    use uuid::Uuid;

    use super::*;

    fn row() -> RecordRow {
        let text = |text: &str| text.to_owned();
        let facts = Facts {
            id: Uuid::from_u128(1),
            time: Timestamp::from_micros(1_700_000_000_000_000),
            action: text("a.B/C"),
            principal_kind: text("user"),
            principal: text("u"),
            session: text("s"),
            peer: text("gateway"),
            target: text("users/u"),
            code: text("OK"),
            reason: String::new(),
            calls: 1,
            trace_id: text("t"),
            person: Some(Uuid::from_u128(2)),
        };
        RecordRow { facts, personal: vec![1, 2, 3], seq: None, hash: None }
    }

    /// Before the first record.
    fn start() -> Head {
        Head { seq: 0, hash: vec![0; HASH_LEN] }
    }

    /// A later release must verify the chains of this one.
    #[test]
    fn chain_has_its_golden_hashes() {
        let first = start().after(&row());
        assert_eq!(first.to_string(), GOLDEN);
        assert_eq!(Head::parse(GOLDEN), Some(first));
    }

    const GOLDEN: &str = "1:9f56f70c8f2866e5c78adf8ccd4e195295ee0f05a2e19e559977949a9e8a3034";

    #[test]
    fn each_field_changes_the_hash() {
        let first = start().after(&row());
        let mut other = row();
        (other.facts.principal, other.facts.session) = ("us".to_owned(), String::new());
        assert_ne!(start().after(&other).hash, first.hash, "the lengths of the fields are hashed too");
        let mut other = row();
        other.facts.person = None;
        assert_ne!(start().after(&other).hash, first.hash);
        assert_ne!(first.after(&row()).hash, first.hash);
    }

    #[test]
    fn malformed_position_is_not_parsed() {
        for text in
            ["", "1", "1:", "x:00", "1:00", &format!("1:{}zz", "0".repeat(62)), &format!("1:{}", "é".repeat(32))]
        {
            assert_eq!(Head::parse(text), None, "{text}");
        }
    }
}
