//! The audit log of a service: records of changes, in their transactions, and of refusals.

use std::{fmt, sync::Arc};

use kit::{
    ClockAndRng, Timestamp,
    audit::{self, AuditEntry, AuditRecord, RefusalLog},
    keyring::Keyring,
};
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    AuditConfig,
    ledger::{Ledger, Stored},
    personal,
    refusals::Pending,
    store::AuditDatabase,
};
use crate::store::{Error, Pool, Transaction};

/// The audit log of a service. Clones share it.
#[derive(Clone)]
pub struct Log(Arc<LogParts>);

struct LogParts {
    service: &'static str,
    keys: Keyring,
    ledger: Arc<dyn Ledger>,
    refusals: Mutex<Pending>,
    /// For records outside of calls, and for encryption.
    clock_rng: ClockAndRng,
}

impl Log {
    /// The log of the service `service`, in the tables of its database. `keys` encrypt the keys of persons.
    pub fn new<D: AuditDatabase>(service: &'static str, write: Pool<D>, keys: Keyring) -> Self {
        let refusals = Mutex::new(Pending::new(AuditConfig::default().refusals_per_minute));
        let ledger = Arc::new(Stored(write));
        Self(Arc::new(LogParts { service, keys, ledger, refusals, clock_rng: ClockAndRng::system() }))
    }

    /// Writes the record of a change in its transaction. The caller is that of the current call; without a call it is
    /// the service itself.
    pub async fn record<D: AuditDatabase>(&self, tx: &mut Transaction<'_, D>, entry: AuditEntry) -> Result<(), Error> {
        let LogParts { service, keys, clock_rng, .. } = &*self.0;
        let call = match audit::current() {
            Some(call) => call,
            None => return self.record_task(tx, &format!("{service}.task"), entry).await,
        };
        let row = personal::row::<D>(&mut **tx, keys, call.record(entry), clock_rng).await?;
        D::insert(&mut **tx, &row).await?;
        tx.account_after_commit(call);
        Ok(())
    }

    /// Writes the record of a change by a task or a command, in its transaction. `action` names it: `auth.import`.
    pub async fn record_task<D: AuditDatabase>(
        &self,
        tx: &mut Transaction<'_, D>,
        action: &str,
        entry: AuditEntry,
    ) -> Result<(), Error> {
        let LogParts { keys, clock_rng, .. } = &*self.0;
        let row = personal::row::<D>(&mut **tx, keys, entry.by_system(action, clock_rng), clock_rng).await?;
        Ok(D::insert(&mut **tx, &row).await?)
    }

    /// Deletes the key of a person, in the transaction that deletes the person: no personal field of the person's records
    /// can be read again, and none is stored from then on.
    pub async fn erase<D: AuditDatabase>(
        &self,
        tx: &mut Transaction<'_, D>,
        person: Uuid,
        now: Timestamp,
    ) -> Result<(), Error> {
        Ok(D::erase_key(&mut **tx, person, now).await?)
    }

    /// The name of the service.
    pub(super) fn service(&self) -> &'static str {
        self.0.service
    }

    pub(super) fn ledger(&self) -> &dyn Ledger {
        &*self.0.ledger
    }

    /// Records of refusals in a minute that keep their callers and targets.
    pub(super) fn set_refusals_per_minute(&self, limit: u32) {
        self.0.refusals.lock().limit = limit;
    }

    /// Stores the refusals that wait.
    pub async fn store_refusals(&self) -> Result<(), Error> {
        let LogParts { keys, ledger, refusals, clock_rng, .. } = &*self.0;
        let waiting = refusals.lock().take();
        if waiting.is_empty() {
            return Ok(());
        }
        let stored = ledger.write(keys, waiting.clone(), clock_rng).await;
        if stored.is_err() {
            refusals.lock().put_back(waiting);
        }
        stored
    }
}

impl RefusalLog for Log {
    fn refused(&self, record: AuditRecord) {
        self.0.refusals.lock().add(record, Instant::now());
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.0.service).finish()
    }
}
