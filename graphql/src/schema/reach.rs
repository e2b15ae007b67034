//! The types that the root fields reach.

use std::collections::{BTreeMap, HashSet};

use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor};

use super::Root;
use crate::{
    arguments::Paging,
    names::{TypeKey, TypeOrigin, Use},
    references::Batches,
    scalars,
    source::Source,
};

/// See the module. Each type with the position of its source.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// The messages of responses; a connection with its list.
    pub(super) outputs: Vec<(usize, MessageDescriptor, Option<Paging>)>,
    /// The messages within requests.
    pub(super) inputs: Vec<(usize, MessageDescriptor)>,
    pub(super) enums: Vec<(usize, EnumDescriptor)>,
    seen: HashSet<TypeKey>,
}

impl Reached {
    pub(super) fn from(roots: &[Root<'_>], batches: &Batches) -> Self {
        let mut reached = Self::default();
        for root in roots {
            reached.add_output(root.source, &root.method.descriptor.output(), root.paging.as_ref(), batches);
            for field in root.method.descriptor.input().fields() {
                reached.add_kind(root.source, &field.kind(), Use::Input, batches);
            }
        }
        reached
    }

    /// What the names of the types are made of.
    pub(super) fn origins(&self, sources: &[Source<'_>]) -> BTreeMap<TypeKey, TypeOrigin> {
        let message = |source: usize, message: &MessageDescriptor, of| {
            let key = (source, message.full_name().to_owned(), of);
            (key, TypeOrigin::message(sources[source].prefix, message))
        };
        let outputs = self.outputs.iter().map(|(source, of, paging)| {
            message(*source, of, if paging.is_some() { Use::Connection } else { Use::Output })
        });
        let inputs = self.inputs.iter().map(|(source, of)| message(*source, of, Use::Input));
        let enums = self.enums.iter().map(|(source, of)| {
            ((*source, of.full_name().to_owned(), Use::Enum), TypeOrigin::enumeration(sources[*source].prefix, of))
        });
        outputs.chain(inputs).chain(enums).collect()
    }

    fn add_output(&mut self, source: usize, message: &MessageDescriptor, paging: Option<&Paging>, batches: &Batches) {
        let of = if paging.is_some() { Use::Connection } else { Use::Output };
        if !self.is_new(source, message, of) {
            return;
        }
        self.outputs.push((source, message.clone(), paging.cloned()));
        for field in message.fields() {
            self.add_kind(source, &field.kind(), Use::Output, batches);
            if let Some(target) = batches.target(source, &field) {
                self.add_output(target.source, &target.message, None, batches);
            }
        }
    }

    fn add_kind(&mut self, source: usize, kind: &Kind, of: Use, batches: &Batches) {
        if scalars::of(kind).is_some() {
            return;
        }
        match kind {
            Kind::Enum(of) => self.add_enum(source, of),
            Kind::Message(message) if of == Use::Input => self.add_input(source, message, batches),
            Kind::Message(message) => self.add_output(source, message, None, batches),
            _ => {}
        }
    }

    fn add_enum(&mut self, source: usize, of: &EnumDescriptor) {
        if self.seen.insert((source, of.full_name().to_owned(), Use::Enum)) {
            self.enums.push((source, of.clone()));
        }
    }

    fn add_input(&mut self, source: usize, message: &MessageDescriptor, batches: &Batches) {
        if self.is_new(source, message, Use::Input) {
            self.inputs.push((source, message.clone()));
            message.fields().for_each(|field| self.add_kind(source, &field.kind(), Use::Input, batches));
        }
    }

    fn is_new(&mut self, source: usize, message: &MessageDescriptor, of: Use) -> bool {
        scalars::of_message(message).is_none() && self.seen.insert((source, message.full_name().to_owned(), of))
    }
}
