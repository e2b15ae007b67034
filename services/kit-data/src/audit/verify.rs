//! Verifies the hash chain: whether its records are those that were sealed.

use std::fmt;

use super::{
    Head,
    chain::{Ends, RecordRow},
    ledger::{PRUNE, prune_target},
    store::AuditDatabase,
};
use crate::store::Error;

/// Records that are read at once.
const PAGE: i64 = 1_000;

/// A valid chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Sealed records.
    pub records: i64,
    /// The last pruned record, after which the chain begins.
    pub base: Head,
    /// The end of the chain, to be noted elsewhere.
    pub head: Head,
    /// The anchor precedes the chain: the records up to it were pruned.
    pub is_anchor_pruned: bool,
}

/// Where a chain is not what was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The number of the first bad record.
    pub seq: i64,
    /// The defect.
    pub why: &'static str,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}: {}", self.seq, self.why)
    }
}

/// Why a chain could not be verified, or is not valid.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not what was sealed.
    #[error("{0}")]
    Broken(Broken),
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<sqlx::Error> for VerifyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

fn broken<T>(seq: i64, why: &'static str) -> Result<T, VerifyError> {
    Err(VerifyError::Broken(Broken { seq, why }))
}

/// Verifies the chain in one state of the database. `anchor` is a position that was noted before. `progress` gets the
/// number of the last verified record and of the last one.
pub(super) async fn chain<D: AuditDatabase>(
    connection: &mut D::Connection,
    anchor: Option<&Head>,
    progress: &mut (dyn FnMut(i64, i64) + Send),
) -> Result<Verified, VerifyError> {
    D::begin_snapshot(connection).await?;
    let verified = in_snapshot::<D>(connection, anchor, progress).await;
    D::end_snapshot(connection).await?;
    verified
}

async fn in_snapshot<D: AuditDatabase>(
    connection: &mut D::Connection,
    anchor: Option<&Head>,
    progress: &mut (dyn FnMut(i64, i64) + Send),
) -> Result<Verified, VerifyError> {
    let Ends { head, base } = D::ends(connection).await?;
    check_base::<D>(connection, &base).await?;
    let mut at = base.clone();
    check_anchor(&at, anchor)?;
    loop {
        let page = D::sealed(connection, at.seq, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for row in &page {
            at = next(&at, &head, row)?;
            check_anchor(&at, anchor)?;
        }
        progress(at.seq, head.seq);
    }
    if at.seq < head.seq {
        return broken(at.seq + 1, "it was removed, with all after it");
    }
    if at != head {
        return broken(at.seq, "the stored end of the chain has another hash");
    }
    match anchor {
        Some(anchor) if anchor.seq > head.seq => {
            broken(head.seq + 1, "it was removed, with all after it: the anchor is beyond the end of the chain")
        }
        _ => Ok(Verified {
            records: head.seq - base.seq,
            is_anchor_pruned: anchor.is_some_and(|anchor| anchor.seq < base.seq),
            base,
            head,
        }),
    }
}

/// The position after `row`, which must be the next record.
fn next(at: &Head, head: &Head, row: &RecordRow) -> Result<Head, VerifyError> {
    let (seq, wanted) = (row.seq.unwrap_or_default(), at.seq + 1);
    if seq != wanted {
        return broken(wanted, "it was removed");
    }
    if seq > head.seq {
        return broken(seq, "it was inserted after the end of the chain");
    }
    let after = at.after(row);
    if row.hash.as_ref() != Some(&after.hash) {
        return broken(seq, "it was changed or inserted, or the records before it were replaced");
    }
    Ok(after)
}

fn check_anchor(at: &Head, anchor: Option<&Head>) -> Result<(), VerifyError> {
    match anchor {
        Some(anchor) if anchor.seq == at.seq && anchor.hash != at.hash => {
            broken(at.seq, "its hash differs from the anchor: it, or records before it, were replaced")
        }
        _ => Ok(()),
    }
}

/// A chain that begins after its first record must have the record of the pruning. Its target decides, not its time: the
/// clocks of two processes that prune may differ.
async fn check_base<D: AuditDatabase>(connection: &mut D::Connection, base: &Head) -> Result<(), VerifyError> {
    if base.seq == 0 || D::has_record(connection, PRUNE, &prune_target(base)).await? {
        return Ok(());
    }
    broken(base.seq, "the records up to it were removed, and not by pruning")
}
