//! The audit log of a service: records of changes, in their transactions, and of refusals.

use std::{fmt, sync::Arc};

use kit::{
    ClockAndRng, Timestamp,
    audit::{self, AuditEntry, AuditRecord, Personal, RefusalLog},
    keyring::Keyring,
};
use parking_lot::Mutex;
use proto::audit::v1::AuditEvent;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    AuditConfig, EventPage, ListedRecord,
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
    pub fn new<D: AuditDatabase>(service: &'static str, read: Pool<D>, write: Pool<D>, keys: Keyring) -> Self {
        let refusals = Mutex::new(Pending::new(AuditConfig::default().refusals_per_minute));
        let ledger = Arc::new(Stored { read, write });
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

    /// Writes the record of a call that changes nothing but must be known, such as a reading, in a transaction of its own.
    pub async fn note(&self, entry: AuditEntry) -> Result<(), Error> {
        let LogParts { keys, ledger, clock_rng, .. } = &*self.0;
        let Some(call) = audit::current() else { return Ok(()) };
        ledger.write(keys, vec![call.record(entry)], clock_rng).await?;
        call.recorded();
        Ok(())
    }

    /// The records of a page, and one more if there is another page. `shows_personal`: with their personal fields.
    pub async fn events(&self, page: &EventPage, shows_personal: bool) -> Result<Vec<AuditEvent>, Error> {
        let LogParts { service, keys, ledger, .. } = &*self.0;
        let records = ledger.list(keys, page.query()).await?;
        Ok(records.into_iter().map(|record| event(service, record, shows_personal)).collect())
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

/// A record as the contracts state it.
fn event(service: &str, record: ListedRecord, shows_personal: bool) -> AuditEvent {
    let ListedRecord { facts, personal, is_erased, sealed } = record;
    let Personal { address, user_agent, email, handle } = personal.filter(|_| shows_personal).unwrap_or_default();
    AuditEvent {
        service: service.to_owned(),
        event_id: facts.id.to_string(),
        create_time: Some(facts.time.into()),
        action: facts.action,
        principal_kind: facts.principal_kind,
        principal: facts.principal,
        session: facts.session,
        peer: facts.peer,
        target: facts.target,
        code: facts.code,
        reason: facts.reason,
        calls: facts.calls,
        trace_id: facts.trace_id,
        person_id: facts.person.map(|person| person.to_string()).unwrap_or_default(),
        address,
        user_agent,
        email,
        handle,
        personal_erased: is_erased,
        seq: sealed.as_ref().map_or(0, |sealed| sealed.seq),
        hash: sealed.map(|sealed| sealed.hash.into()).unwrap_or_default(),
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
