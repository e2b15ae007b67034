//! Imports accounts of another service, with the hashes of their passwords.
//!
//! An account can sign in as soon as its line is stored: the hash is verified as the other program made it, and replaced
//! by one of this service at the first sign-in. Users creates the profile in a durable job, which is stored in the same
//! transaction. A line whose address has an account changes nothing, so that an import can be repeated.

mod account;
mod lines;
mod profile;

use std::{
    collections::{HashMap, hash_map::Entry},
    io::BufRead,
    sync::Arc,
};

use kit::ClockAndRng;
use kit_data::store::Error;
use serde::Serialize;

use crate::{
    config::Config,
    domain::EmailAddress,
    password::Memory,
    store::{AuthStore, NewImport},
};
use lines::Lines;
pub(crate) use profile::create_profile;

/// Lines that are stored in one transaction.
const BATCH: usize = 100;

/// A line that was not imported, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// The number of the line, from 1.
    pub line: u64,
    /// The field; empty: the whole line.
    pub field: String,
    /// The reason, without the value.
    pub reason: String,
}

/// How many lines there were, and what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All lines with an account.
    pub lines: u64,
    /// New accounts; in a dry run, accounts that would be new.
    pub imported: u64,
    /// Lines whose address has an account already.
    pub present: u64,
    /// Lines that were not imported.
    pub bad: u64,
}

/// Why an import ended before the end of the file. All batches before are stored.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It is neither JSON lines nor CSV with the known columns.
    #[error("{0}")]
    Format(String),
    /// The store failed.
    #[error("the accounts cannot be stored: {0}")]
    Store(#[from] Error),
}

/// What an import reports while it runs.
pub trait Observer {
    /// A line was not imported.
    fn bad_line(&mut self, line: &BadLine);
    /// A batch is done.
    fn progress(&mut self, counts: Counts);
}

/// An import.
pub struct Import<'a> {
    store: Arc<dyn AuthStore>,
    clock_rng: ClockAndRng,
    memory: Memory,
    is_dry: bool,
    observer: &'a mut dyn Observer,
    counts: Counts,
    /// The line of each address of this file.
    seen: HashMap<EmailAddress, u64>,
}

impl<'a> Import<'a> {
    /// Imports into `store`; a dry run only checks the lines.
    pub fn new(
        config: &Config,
        store: Arc<dyn AuthStore>,
        clock_rng: ClockAndRng,
        is_dry: bool,
        observer: &'a mut dyn Observer,
    ) -> Self {
        let memory = Memory::here(config.hashing_threads, config.argon2);
        Self { store, clock_rng, memory, is_dry, observer, counts: Counts::default(), seen: HashMap::new() }
    }

    /// Imports all lines of `file`: JSON lines, or CSV with a line of names.
    pub async fn run(mut self, file: impl BufRead) -> Result<Counts, ImportError> {
        let mut lines = Lines::open(file)?;
        let mut batch = Vec::with_capacity(BATCH);
        while let Some((line, record)) = lines.next()? {
            self.counts.lines += 1;
            let checked = record.and_then(|record| record.check(&self.memory, &self.clock_rng));
            let checked = checked.and_then(|new| self.refuse_repeated(new, line));
            match checked {
                Ok(new) => batch.push(new),
                Err((field, reason)) => {
                    self.counts.bad += 1;
                    self.observer.bad_line(&BadLine { line, field: field.to_owned(), reason });
                }
            }
            if batch.len() == BATCH {
                self.store(std::mem::take(&mut batch)).await?;
            }
        }
        self.store(batch).await?;
        Ok(self.counts)
    }

    /// Refuses an address that an earlier line has.
    fn refuse_repeated(&mut self, new: NewImport, line: u64) -> Result<NewImport, (&'static str, String)> {
        match self.seen.entry(new.account.email.clone()) {
            Entry::Occupied(first) => Err(("email", format!("is the address of line {} too", first.get()))),
            Entry::Vacant(free) => {
                free.insert(line);
                Ok(new)
            }
        }
    }

    async fn store(&mut self, mut batch: Vec<NewImport>) -> Result<(), ImportError> {
        // In one order, so that two imports at once do not wait for each other in a circle.
        batch.sort_by(|one, other| one.account.email.as_str().cmp(other.account.email.as_str()));
        let mut imported = 0;
        if self.is_dry {
            for new in &batch {
                imported += u64::from(self.store.find_by_email(&new.account.email).await?.is_none());
            }
        } else if !batch.is_empty() {
            imported = self.store.import(&batch, &self.clock_rng).await?;
        }
        self.counts.imported += imported;
        self.counts.present += batch.len() as u64 - imported;
        self.observer.progress(self.counts);
        Ok(())
    }
}
