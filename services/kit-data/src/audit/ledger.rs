//! The changes of the audit log outside of the transactions of stores: refusals, seals and pruning.

use async_trait::async_trait;
use kit::{
    ClockAndRng, Timestamp,
    audit::{AuditEntry, AuditRecord},
    keyring::Keyring,
};
use uuid::Uuid;

use super::{Head, personal, store::AuditDatabase};
use crate::store::{Error, Pool};

/// The action of a record that states where a pruned chain begins.
pub(super) const PRUNE: &str = "audit.prune";

/// The changes on one database.
#[async_trait]
pub(super) trait Ledger: Send + Sync {
    /// Stores records in a transaction.
    async fn write(&self, keys: &Keyring, records: Vec<AuditRecord>, clock_rng: &ClockAndRng) -> Result<(), Error>;

    /// Seals at most `limit` records. Returns their number, and the end of the chain.
    async fn seal(&self, limit: i64) -> Result<(i64, Head), Error>;

    /// Prunes at most `limit` records.
    async fn prune(&self, before: Timestamp, limit: i64, clock_rng: &ClockAndRng) -> Result<u64, Error>;
}

/// The chain in the database of a pool.
pub(super) struct Stored<D: sqlx::Database>(pub(super) Pool<D>);

#[async_trait]
impl<D: AuditDatabase> Ledger for Stored<D> {
    async fn write(&self, keys: &Keyring, records: Vec<AuditRecord>, clock_rng: &ClockAndRng) -> Result<(), Error> {
        let mut tx = self.0.begin().await?;
        for record in records {
            let row = personal::row::<D>(&mut *tx, keys, record, clock_rng).await?;
            D::insert(&mut *tx, &row).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Each statement that assigns a number or a hash starts after the ends of the chain are locked: it sees what
    /// another process has sealed before. Without a new record it locks nothing, so that idle processes do not wait for
    /// each other.
    async fn seal(&self, limit: i64) -> Result<(i64, Head), Error> {
        let mut tx = self.0.begin().await?;
        if D::unsealed(&mut *tx, 1).await?.is_empty() {
            return Ok((0, D::ends(&mut *tx).await?.head));
        }
        let mut ends = D::lock_ends(&mut *tx).await?;
        let rows = D::unsealed(&mut *tx, limit).await?;
        if rows.is_empty() {
            return Ok((0, ends.head));
        }
        let mut sealed: Vec<(Uuid, Head)> = Vec::with_capacity(rows.len());
        for row in &rows {
            ends.head = ends.head.after(row);
            sealed.push((row.facts.id, ends.head.clone()));
        }
        let count = D::seal(&mut *tx, &sealed).await?;
        if usize::try_from(count) != Ok(sealed.len()) {
            return Err(Error::Corrupt(format!("{count} of {} audit records were sealed", sealed.len())));
        }
        D::set_ends(&mut *tx, &ends).await?;
        tx.commit().await?;
        Ok((i64::try_from(count).unwrap_or(limit), ends.head))
    }

    async fn prune(&self, before: Timestamp, limit: i64, clock_rng: &ClockAndRng) -> Result<u64, Error> {
        let mut tx = self.0.begin().await?;
        let mut ends = D::lock_ends(&mut *tx).await?;
        let oldest = D::sealed(&mut *tx, ends.base.seq, limit).await?;
        let Some(last) = oldest.iter().take_while(|row| row.facts.time < before).last() else { return Ok(0) };
        let (Some(seq), Some(hash)) = (last.seq, last.hash.clone()) else {
            return Err(Error::Corrupt("a sealed audit record has no hash".to_owned()));
        };
        ends.base = Head { seq, hash };
        let pruned = D::delete_through(&mut *tx, seq).await?;
        D::set_ends(&mut *tx, &ends).await?;
        let record = AuditEntry::new(prune_target(&ends.base)).by_system(PRUNE, clock_rng);
        let row = personal::row::<D>(&mut *tx, &Keyring::default(), record, clock_rng).await?;
        D::insert(&mut *tx, &row).await?;
        tx.commit().await?;
        Ok(pruned)
    }
}

/// The target of the record of a pruning: the last pruned record and its hash.
pub(super) fn prune_target(base: &Head) -> String {
    format!("audit_events/{base}")
}
