//! Refused attempts that wait to be stored. Equal ones are counted together, so that a flood costs little memory and few
//! rows. While the database is away, they wait: at most [`WAITING_PERIODS`] times [`Pending::limit`] records with their
//! callers and targets, and one record for each method and reason beyond. So the memory is bounded, and no refusal is lost.

use std::{collections::HashMap, time::Duration};

use kit::audit::{AuditRecord, Facts, Personal};
use tokio::time::Instant;

/// The time for which [`Pending::limit`] records may keep their callers and targets.
const PERIOD: Duration = Duration::from_secs(60);
/// The periods whose records may wait with their callers and targets.
const WAITING_PERIODS: usize = 10;

/// The refusals of an interval.
pub(super) struct Pending {
    records: HashMap<Key, AuditRecord>,
    /// Records with callers and targets in each period.
    pub(super) limit: u32,
    taken: u32,
    period_end: Instant,
}

/// What equal refusals have in common.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    action: String,
    code: String,
    reason: String,
    principal: String,
    target: String,
    address: String,
}

impl Key {
    fn of(record: &AuditRecord) -> Self {
        let Facts { action, code, reason, principal, target, .. } = record.facts.clone();
        Self { action, code, reason, principal, target, address: record.personal.address.clone() }
    }
}

impl Pending {
    pub(super) fn new(limit: u32) -> Self {
        Self { records: HashMap::new(), limit, taken: 0, period_end: Instant::now() + PERIOD }
    }

    /// Adds a refusal, or counts it with an equal one.
    pub(super) fn add(&mut self, record: AuditRecord, now: Instant) {
        if now >= self.period_end {
            (self.taken, self.period_end) = (0, now + PERIOD);
        }
        let key = Key::of(&record);
        if self.count(&key, record.facts.calls) {
            return;
        }
        if self.taken < self.limit && self.has_room() {
            self.taken += 1;
            self.records.insert(key, record);
        } else {
            self.fold(record);
        }
    }

    fn has_room(&self) -> bool {
        self.records.len() < WAITING_PERIODS.saturating_mul(usize::try_from(self.limit).unwrap_or(usize::MAX))
    }

    fn fold(&mut self, record: AuditRecord) {
        metrics::counter!("audit_refusals_folded_total").increment(record.facts.calls.unsigned_abs());
        let record = folded(record);
        let key = Key::of(&record);
        if !self.count(&key, record.facts.calls) {
            self.records.insert(key, record);
        }
    }

    fn count(&mut self, key: &Key, calls: i64) -> bool {
        let Some(found) = self.records.get_mut(key) else { return false };
        found.facts.calls = found.facts.calls.saturating_add(calls);
        true
    }

    /// Takes all records, in an order of their persons in which concurrent transactions do not wait for each other.
    pub(super) fn take(&mut self) -> Vec<AuditRecord> {
        let mut records: Vec<_> = std::mem::take(&mut self.records).into_values().collect();
        records.sort_by_key(|record| (record.facts.person, record.facts.id));
        records
    }

    /// Puts back records that could not be stored.
    pub(super) fn put_back(&mut self, records: Vec<AuditRecord>) {
        for record in records {
            let key = Key::of(&record);
            if self.count(&key, record.facts.calls) {
                continue;
            }
            if self.has_room() {
                self.records.insert(key, record);
            } else {
                self.fold(record);
            }
        }
    }
}

/// The record without its caller and target: one for each method and reason.
fn folded(mut record: AuditRecord) -> AuditRecord {
    let facts = &mut record.facts;
    for text in [&mut facts.principal, &mut facts.session, &mut facts.peer, &mut facts.target, &mut facts.trace_id] {
        text.clear();
    }
    facts.principal_kind = "any".to_owned();
    facts.person = None;
    record.personal = Personal::default();
    record
}

#[cfg(test)]
mod tests {
    use kit::{ClockAndRng, audit::AuditEntry};

    use super::*;

    fn refusal(target: &str) -> AuditRecord {
        let mut record = AuditEntry::new(target).by_system("a.B/C", &ClockAndRng::system());
        record.facts.code = "UNAUTHENTICATED".to_owned();
        record
    }

    fn taken(pending: &mut Pending) -> Vec<(String, i64)> {
        let mut taken: Vec<_> =
            pending.take().into_iter().map(|record| (record.facts.target, record.facts.calls)).collect();
        taken.sort();
        taken
    }

    #[test]
    fn equal_refusals_are_one_record_with_their_number() {
        let (mut pending, now) = (Pending::new(10), Instant::now());
        for target in ["a", "b", "a", "a"] {
            pending.add(refusal(target), now);
        }
        assert_eq!(taken(&mut pending), [("a".to_owned(), 3), ("b".to_owned(), 1)]);
        assert!(taken(&mut pending).is_empty());
    }

    #[test]
    fn flood_is_folded_until_the_next_minute() {
        let (mut pending, now) = (Pending::new(2), Instant::now());
        for target in 0..1_000 {
            pending.add(refusal(&target.to_string()), now);
        }
        let expected = [(String::new(), 998), ("0".to_owned(), 1), ("1".to_owned(), 1)];
        assert_eq!(taken(&mut pending), expected);
        pending.add(refusal("x"), now);
        assert_eq!(taken(&mut pending), [(String::new(), 1)], "the minute is not over");
        pending.add(refusal("x"), now + 2 * PERIOD);
        let records = pending.take();
        assert_eq!(records[0].facts.target, "x");
        pending.put_back(records);
        pending.add(refusal("x"), now + 2 * PERIOD);
        assert_eq!(taken(&mut pending), [("x".to_owned(), 2)]);
    }

    /// A database that is away for an hour, during a flood from ever new targets.
    #[test]
    fn waiting_records_are_bounded_and_all_are_counted() {
        let (mut pending, begun) = (Pending::new(5), Instant::now());
        let mut now = begun;
        for minute in 0..60 {
            now += PERIOD;
            for target in 0..20 {
                pending.add(refusal(&format!("{minute}/{target}")), now);
            }
            let waiting = pending.take();
            pending.put_back(waiting);
        }
        let records = taken(&mut pending);
        assert_eq!(records.len(), 5 * WAITING_PERIODS);
        assert_eq!(records.iter().map(|(_, calls)| calls).sum::<i64>(), 60 * 20);
        assert_eq!(records[0].0, "", "those beyond are one record");
    }
}
