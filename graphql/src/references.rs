//! References: fields that hold the id of an object which a batch method returns.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};

use crate::{
    calls::Messages,
    loader::Batch,
    names,
    source::{Method, Source},
};

/// The option of a field that holds an id: the full name of the message.
const REFERENCES: &str = "trellis.resource.v1.references";
/// The beginning of the names of batch methods (AIP-231).
const BATCH_GET: &str = "BatchGet";
/// The ids of one call, if the contract does not bound them.
const IDS: usize = 100;

/// The batch methods.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    pub(crate) all: Vec<Arc<Batch>>,
    /// By the source, and the full name of the message that they return. Sources may have messages of one name.
    targets: HashMap<(usize, String), Target>,
    /// The source that is the mesh: objects of all sources may refer to its own.
    mesh: Option<usize>,
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
    /// Finds the batch methods of all sources. Of a source, the first one that returns a message counts.
    pub(crate) fn find(sources: &[Source<'_>]) -> Self {
        let mesh = sources.iter().position(|source| source.prefix.is_none());
        let mut batches = Self { mesh, ..Self::default() };
        for (at, source) in sources.iter().enumerate() {
            for method in &source.methods {
                let Some((batch, message)) = batch(method, source) else { continue };
                if let Entry::Vacant(entry) = batches.targets.entry((at, message.full_name().to_owned())) {
                    entry.insert(Target { batch: batches.all.len(), source: at, message });
                    batches.all.push(Arc::new(batch));
                }
            }
        }
        batches
    }

    /// The object to which a field of a source refers: one of the same source, or of the mesh. `None`: it is no
    /// reference, or no method returns the object.
    pub(crate) fn target(&self, source: usize, field: &FieldDescriptor) -> Option<&Target> {
        if field.kind() != Kind::String || field.is_map() {
            return None;
        }
        let options = field.options();
        let (_, message) = options.extensions().find(|(extension, _)| extension.full_name() == REFERENCES)?;
        let name = message.as_str()?;
        let of = |source: usize| self.targets.get(&(source, name.to_owned()));
        of(source).or_else(|| of(self.mesh?))
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
