//! The merged fields of an operation, as they are executed.

use std::sync::Arc;

use async_graphql::{Name, Pos, parser::types::OperationType};

use crate::{
    fields::{FieldDef, Resolve},
    input::Members,
};

/// An operation that is ready to be executed.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) roots: Vec<Node>,
    pub(crate) operation: OperationType,
}

impl Plan {
    /// Whether its fields are executed one after another.
    pub(crate) fn is_serial(&self) -> bool {
        self.operation == OperationType::Mutation
    }

    /// How many calls the root fields make.
    pub(crate) fn calls(&self) -> usize {
        self.roots.iter().filter(|node| matches!(node.resolve(), Some(Resolve::Call(_)))).count()
    }

    /// Whether a field is part of the schema.
    pub(crate) fn has_meta(&self) -> bool {
        let is_meta = |node: &Node| matches!(node.resolve(), Some(Resolve::Schema | Resolve::Type));
        self.roots.iter().any(is_meta)
    }
}

/// A field of the response.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name in the response.
    pub(crate) key: Name,
    /// Where it stands in the document.
    pub(crate) pos: Pos,
    pub(crate) source: ValueSource,
    pub(crate) arguments: Members,
    /// The fields of its objects; empty also if directives leave all of them out.
    pub(crate) children: Vec<Self>,
    /// Whether fields within it refer to objects.
    pub(crate) has_references: bool,
}

/// Where the value comes from.
#[derive(Debug)]
pub(crate) enum ValueSource {
    /// The name of the object's type.
    TypeName(Name),
    Field(Arc<FieldDef>),
}

impl Node {
    pub(crate) fn new(key: Name, pos: Pos, source: ValueSource, children: Vec<Self>) -> Self {
        let has_references = children.iter().any(|child| child.has_references || child.is_reference());
        Self { key, pos, source, arguments: Members::new(), children, has_references }
    }

    pub(crate) fn resolve(&self) -> Option<&Resolve> {
        match &self.source {
            ValueSource::TypeName(_) => None,
            ValueSource::Field(def) => Some(&def.resolve),
        }
    }

    fn is_reference(&self) -> bool {
        matches!(self.resolve(), Some(Resolve::Reference { .. }))
    }
}
