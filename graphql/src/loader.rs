//! Loads the objects to which fields refer: one call of a batch method for many ids. An object is loaded once.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use futures_util::{StreamExt as _, future::join_all, stream};
use serde_json::{json, value::RawValue};

use crate::{
    budget::{REFERENCES, Share},
    caller::{CallError, RESOURCE_EXHAUSTED},
    calls::{Calls, Failed, Messages, Text},
    json_text::{Malformed, elements, members, text},
    stop::Stop,
};

/// The maximum number of calls of one batch method at the same time.
const CALLS: usize = 4;
/// What an object takes in memory besides its id and its text.
const OBJECT: usize = 96;

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

/// The objects that the fields of one response refer to.
pub(crate) struct Objects<'a> {
    calls: &'a Calls,
    batches: &'a [Arc<Batch>],
    /// Those of each batch method, by id.
    found: Vec<HashMap<String, Found>>,
    /// How many ids were looked up.
    references: usize,
    share: Share,
}

/// What the batch method returns for an id.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    Object(LoadedObject),
    /// There is no such object, or the caller may not see it.
    Missing,
    Failed(Arc<Failed>),
}

/// An object, as a part of the response of a call.
#[derive(Debug, Clone)]
pub(crate) struct LoadedObject {
    response: Arc<Text>,
    at: Range<usize>,
}

impl LoadedObject {
    pub(crate) fn json(&self) -> Result<&RawValue, Malformed> {
        let part = self.response.json.get().get(self.at.clone()).ok_or(Malformed)?;
        serde_json::from_str(part).map_err(|_| Malformed)
    }
}

impl<'a> Objects<'a> {
    pub(crate) fn new(calls: &'a Calls, batches: &'a [Arc<Batch>]) -> Self {
        let found = batches.iter().map(|_| HashMap::new()).collect();
        Self { calls, batches, found, references: 0, share: calls.budget.share() }
    }

    pub(crate) fn batch(&self, position: usize) -> &'a Batch {
        &self.batches[position]
    }

    /// The result for an id; `None`: it has not been loaded.
    pub(crate) fn get(&self, batch: usize, id: &str) -> Option<&Found> {
        self.found[batch].get(id)
    }

    /// Loads the objects with these ids, by the position of the batch method.
    pub(crate) async fn load(&mut self, wanted: HashMap<usize, BTreeSet<String>>) -> Result<(), Stop> {
        let mut rounds = Vec::new();
        for (batch, ids) in wanted {
            let ids: Vec<_> = ids.into_iter().filter(|id| !self.found[batch].contains_key(id)).collect();
            self.share.hold(ids.iter().map(|id| OBJECT + id.len()).sum())?;
            self.references += ids.len();
            if self.references > REFERENCES {
                let message = format!("the operation refers to more than {REFERENCES} objects");
                let failed = Arc::new(Failed::Call(CallError::new(RESOURCE_EXHAUSTED, message)));
                self.found[batch].extend(ids.into_iter().map(|id| (id, Found::Failed(failed.clone()))));
                continue;
            }
            rounds.push((batch, ids));
        }
        let loads = rounds.iter().map(|(batch, ids)| load_all(&self.batches[*batch], ids, self.calls));
        for ((batch, _), parts) in rounds.iter().zip(join_all(loads).await) {
            for part in parts {
                self.found[*batch].extend(part?);
            }
        }
        Ok(())
    }
}

/// What the calls for some ids find.
async fn load_all(batch: &Batch, ids: &[String], calls: &Calls) -> Vec<Result<Vec<(String, Found)>, Stop>> {
    let parts: Vec<_> = ids.chunks(batch.size).map(|ids| load(batch, ids, calls)).collect();
    stream::iter(parts).buffer_unordered(CALLS).collect().await
}

/// What one call finds.
async fn load(batch: &Batch, ids: &[String], calls: &Calls) -> Result<Vec<(String, Found)>, Stop> {
    let called = async {
        let request = batch.messages.encode(&json!({ batch.ids.as_str(): ids }), calls)?;
        batch.messages.call(request, calls).await
    };
    let called = called.await;
    let mut found: HashMap<_, _> = ids.iter().map(|id| (id.clone(), Found::Missing)).collect();
    match called {
        Err(failed) => {
            let failed = Arc::new(*failed);
            found.values_mut().for_each(|found| *found = Found::Failed(failed.clone()));
        }
        Ok(response) => find(batch, &Arc::new(response), &mut found)?,
    }
    Ok(found.into_iter().collect())
}

/// Finds the objects of a response.
fn find(batch: &Batch, response: &Arc<Text>, found: &mut HashMap<String, Found>) -> Result<(), Stop> {
    members(&response.json, |(name, objects)| match name == batch.objects {
        false => Ok(()),
        true => elements(objects, |object| {
            let mut id = None;
            members(object, |(name, value)| {
                if name == batch.id {
                    id = text(value);
                }
                Ok::<_, Stop>(())
            })?;
            if let Some(found) = id.and_then(|id| found.get_mut(id.as_ref())) {
                let begin = object.get().as_ptr() as usize - response.json.get().as_ptr() as usize;
                let at = begin..begin + object.get().len();
                *found = Found::Object(LoadedObject { response: Arc::clone(response), at });
            }
            Ok(())
        }),
    })
}
