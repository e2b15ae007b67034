//! The state of one operation while it is executed.

use std::sync::Arc;

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
}

impl Session {
    pub(crate) fn new(calls: Calls, batches: &[Arc<Batch>]) -> Self {
        let calls = Arc::new(calls);
        let loader = |batch: &Arc<Batch>| BatchLoader::new(Arc::clone(batch), Arc::clone(&calls));
        Self { loaders: batches.iter().map(loader).collect(), calls }
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
}
