//! References: fields that hold the id of an object which a batch method returns.

use std::{collections::HashMap, sync::Arc};

use async_graphql::dynamic::{FieldFuture, FieldValue, ResolverContext};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value as Json;

use crate::{
    budget::OBJECT,
    calls::Messages,
    loader::Batch,
    names, output,
    session::Session,
    source::{Method, Source},
};

/// The option of a field that holds an id: the full name of the message.
const REFERENCES: &str = "trellis.resource.v1.references";
/// The beginning of the names of batch methods (AIP-231).
const BATCH_GET: &str = "BatchGet";
/// The ids of one call, if the contract does not bound them.
const IDS: usize = 100;

/// The batch methods, by the full name of the message that they return.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    pub(crate) all: Vec<Arc<Batch>>,
    positions: HashMap<String, Target>,
}

/// The object to which a field refers.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The position of the batch method.
    pub(crate) batch: usize,
    /// The position of the source.
    pub(crate) source: usize,
    pub(crate) message: MessageDescriptor,
}

impl Batches {
    /// Finds the batch methods of all sources. The first one that returns a message counts.
    pub(crate) fn find(sources: &[Source<'_>]) -> Self {
        let mut batches = Self::default();
        for (at, source) in sources.iter().enumerate() {
            for method in &source.methods {
                let Some((batch, message)) = batch(method, source) else { continue };
                if !batches.positions.contains_key(message.full_name()) {
                    let target = Target { batch: batches.all.len(), source: at, message: message.clone() };
                    batches.positions.insert(message.full_name().to_owned(), target);
                    batches.all.push(Arc::new(batch));
                }
            }
        }
        batches
    }

    /// The object to which a field refers; `None`: it is no reference, or no method returns the object.
    pub(crate) fn target(&self, field: &FieldDescriptor) -> Option<&Target> {
        if field.kind() != Kind::String || field.is_map() {
            return None;
        }
        let options = field.options();
        let (_, message) = options.extensions().find(|(extension, _)| extension.full_name() == REFERENCES)?;
        self.positions.get(message.as_str()?)
    }
}

/// The batch method of a method's descriptor, and the message that it returns.
fn batch(method: &Method, source: &Source<'_>) -> Option<(Batch, MessageDescriptor)> {
    let descriptor = &method.descriptor;
    let is_batch = descriptor.name().starts_with(BATCH_GET)
        && method.is_query()
        && !descriptor.is_client_streaming()
        && !descriptor.is_server_streaming();
    let ids = only(descriptor.input().fields().filter(FieldDescriptor::is_list)).filter(|_| is_batch)?;
    let objects = only(descriptor.output().fields().filter(FieldDescriptor::is_list))?;
    let Kind::Message(message) = objects.kind() else { return None };
    let id = message.get_field_by_name(ids.name().strip_suffix('s')?)?;
    let are_texts = ids.kind() == Kind::String && id.kind() == Kind::String && !id.is_list();
    let messages = Messages::of(descriptor, source.registry).filter(|_| are_texts)?;
    let batch = Batch {
        messages,
        ids: ids.json_name().to_owned(),
        objects: objects.json_name().to_owned(),
        id: id.json_name().to_owned(),
        size: most_items(&ids).unwrap_or(IDS),
    };
    Some((batch, message))
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let (first, None) = (items.next()?, items.next()) else { return None };
    Some(first)
}

/// `repeated.max_items` of the rules of a field.
fn most_items(field: &FieldDescriptor) -> Option<usize> {
    let options = field.options();
    let (_, rules) = options.extensions().find(|(extension, _)| extension.full_name() == "buf.validate.field")?;
    let member = |of: &DynamicMessage, name: &str| of.get_field_by_name(name).map(|value| value.into_owned());
    let list = member(rules.as_message()?, "repeated")?;
    let most = member(list.as_message()?, "max_items")?.as_u64()?;
    usize::try_from(most).ok().filter(|most| *most > 0)
}

/// The name of the field with the object: `author_id` becomes `author`, `user_ids` becomes `users`, and other names get
/// the object's.
pub(crate) fn name(field: &FieldDescriptor, target: &Target) -> String {
    let object = names::snake(target.message.name());
    let name = match (field.name().strip_suffix("_ids"), field.name().strip_suffix("_id")) {
        (Some(stem), _) if field.is_list() && stem == object => format!("{object}s"),
        (Some(stem), _) if field.is_list() => format!("{stem}_{object}s"),
        (_, Some(stem)) if !field.is_list() => stem.to_owned(),
        _ => format!("{}_{object}", field.name()),
    };
    names::camel(&name)
}

/// Resolves a field that holds one id.
pub(crate) fn one<'a>(context: ResolverContext<'a>, json_name: &str, batch: usize) -> FieldFuture<'a> {
    let json_name = json_name.to_owned();
    FieldFuture::new(async move {
        let session = context.data_unchecked::<Arc<Session>>();
        session.budget().write(context.item.node.response_key().node.as_str(), OBJECT);
        let id = output::parent(context.parent_value)?.get(&json_name).and_then(Json::as_str).unwrap_or_default();
        if id.is_empty() {
            return Ok(None);
        }
        let loader = session.loader(batch);
        match loader.load([id.to_owned()]).await {
            Ok(objects) => Ok(objects.get(id).cloned().map(FieldValue::owned_any)),
            Err(failed) => {
                output::fail(&context, loader.batch().messages.error(&failed));
                Ok(None)
            }
        }
    })
}

/// Resolves a field that holds a list of ids.
pub(crate) fn many<'a>(context: ResolverContext<'a>, json_name: &str, batch: usize) -> FieldFuture<'a> {
    let json_name = json_name.to_owned();
    FieldFuture::new(async move {
        let session = context.data_unchecked::<Arc<Session>>();
        let ids = output::parent(context.parent_value)?.get(&json_name).and_then(Json::as_array);
        let ids: Vec<String> = ids.into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect();
        session.budget().write(context.item.node.response_key().node.as_str(), OBJECT * ids.len());
        let loader = session.loader(batch);
        match loader.load(ids.iter().cloned()).await {
            Ok(objects) => {
                let found = ids.iter().filter_map(|id| objects.get(id).cloned()).map(FieldValue::owned_any);
                Ok(Some(FieldValue::list(found)))
            }
            Err(failed) => {
                output::fail(&context, loader.batch().messages.error(&failed));
                Ok(None)
            }
        }
    })
}
