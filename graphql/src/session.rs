//! The state of one operation while it is executed.

use std::sync::Arc;

use async_graphql::ServerError;
use parking_lot::Mutex;

use crate::{
    budget::Budget,
    calls::Calls,
    loader::{Batch, BatchLoader},
};

/// See the module.
pub(crate) struct Session {
    calls: Arc<Calls>,
    /// One loader for each batch method, by position.
    loaders: Vec<BatchLoader>,
    /// The errors of fields since the last response. The budget bounds them. The executor has such a list, too, but it
    /// returns none of a subscription's.
    errors: Mutex<Vec<ServerError>>,
}

impl Session {
    pub(crate) fn new(calls: Calls, batches: &[Arc<Batch>]) -> Self {
        let calls = Arc::new(calls);
        let loader = |batch: &Arc<Batch>| BatchLoader::new(Arc::clone(batch), Arc::clone(&calls));
        Self { loaders: batches.iter().map(loader).collect(), calls, errors: Mutex::default() }
    }

    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.calls.budget
    }

    pub(crate) fn loader(&self, position: usize) -> &BatchLoader {
        &self.loaders[position]
    }

    /// Adds the error of a field to the next response.
    pub(crate) fn fail(&self, error: ServerError) {
        self.errors.lock().push(error);
    }

    pub(crate) fn take_errors(&self) -> Vec<ServerError> {
        std::mem::take(&mut self.errors.lock())
    }
}
