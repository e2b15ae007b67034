//! Loads the objects to which fields refer: one call of a batch method for many ids.
//!
//! The executor polls the fields of all elements of a list in one turn. The first field that needs an object opens a
//! round, and the other fields join it. At the next turn of the task the first field closes the round and makes its calls.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::Shared, stream};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tokio::{sync::oneshot, task::yield_now};

use crate::{
    budget::REFERENCES,
    caller::CallError,
    calls::{CANCELLED, Calls, Failed, Messages, RESOURCE_EXHAUSTED},
};

/// The maximum number of calls of a round at the same time.
const CALLS: usize = 4;

/// A method that returns many objects by their ids.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) messages: Messages,
    /// The list of ids in the request, in JSON.
    pub(crate) ids: String,
    /// The list of objects in the response, in JSON.
    pub(crate) objects: String,
    /// The id of an object, in JSON.
    pub(crate) id: String,
    /// The maximum number of ids in one call.
    pub(crate) size: usize,
}

/// The objects that exist, by id.
pub(crate) type Objects = HashMap<String, Arc<Json>>;
/// The result of a round, which all its fields share.
type Loaded = Result<Arc<Objects>, Arc<Failed>>;

/// Collects the ids of one operation.
pub(crate) struct BatchLoader {
    batch: Arc<Batch>,
    calls: Arc<Calls>,
    open: Mutex<Option<Round>>,
}

/// The ids that are collected, and the result for the fields that have joined.
struct Round {
    ids: BTreeSet<String>,
    loaded: Shared<oneshot::Receiver<Loaded>>,
}

/// The part of a field in a round.
enum Part {
    /// It makes the calls.
    Leads(oneshot::Sender<Loaded>),
    Joins(Shared<oneshot::Receiver<Loaded>>),
}

impl BatchLoader {
    pub(crate) fn new(batch: Arc<Batch>, calls: Arc<Calls>) -> Self {
        Self { batch, calls, open: Mutex::default() }
    }

    pub(crate) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Loads objects, together with those of other fields.
    pub(crate) async fn load(&self, ids: impl IntoIterator<Item = String>) -> Loaded {
        match self.join(ids) {
            Part::Leads(result) => {
                yield_now().await;
                let loaded = self.load_round().await;
                // An error means that no other field has joined.
                result.send(loaded.clone()).ok();
                loaded
            }
            Part::Joins(loaded) => {
                let ended = || CallError::new(CANCELLED, "the field that made the call has ended");
                loaded.await.unwrap_or_else(|_| Err(Arc::new(Failed::Call(ended()))))
            }
        }
    }

    /// Joins the open round, or opens one.
    fn join(&self, ids: impl IntoIterator<Item = String>) -> Part {
        let mut open = self.open.lock();
        if let Some(round) = &mut *open {
            round.ids.extend(ids);
            return Part::Joins(round.loaded.clone());
        }
        let (result, loaded) = oneshot::channel();
        *open = Some(Round { ids: ids.into_iter().collect(), loaded: loaded.shared() });
        Part::Leads(result)
    }

    /// Closes the round, and makes its calls. Objects that do not exist are left out.
    async fn load_round(&self) -> Loaded {
        let ids: Vec<_> = self.open.lock().take().map(|round| round.ids).unwrap_or_default().into_iter().collect();
        if !self.calls.budget.refer(ids.len()) {
            let message = format!("the operation refers to more than {REFERENCES} objects");
            return Err(Arc::new(Failed::Call(CallError::new(RESOURCE_EXHAUSTED, message))));
        }
        let calls: Vec<_> = ids.chunks(self.batch.size).map(|part| self.call(part)).collect();
        let parts: Vec<_> = stream::iter(calls).buffer_unordered(CALLS).try_collect().await?;
        Ok(Arc::new(parts.into_iter().flatten().collect()))
    }

    async fn call(&self, ids: &[String]) -> Result<Vec<(String, Arc<Json>)>, Arc<Failed>> {
        let Batch { messages, ids: argument, objects, id, .. } = &*self.batch;
        let called = messages.call(&json!({ argument: ids }), &self.calls).await;
        let mut response = called.map_err(|failed| Arc::new(*failed))?;
        let Some(Json::Array(objects)) = response.get_mut(objects).map(Json::take) else { return Ok(Vec::new()) };
        let with_id = |object: Json| Some((object.get(id)?.as_str()?.to_owned(), Arc::new(object)));
        Ok(objects.into_iter().filter_map(with_id).collect())
    }
}
