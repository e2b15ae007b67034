//! The fields of all objects: what each costs, and how its value is found.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use async_graphql::parser::types::OperationType;
use prost_reflect::MethodDescriptor;

use crate::{arguments::Paging, calls::Messages};

/// The root objects.
pub(crate) const QUERY: &str = "Query";
pub(crate) const MUTATION: &str = "Mutation";
pub(crate) const SUBSCRIPTION: &str = "Subscription";

/// The root object of an operation.
pub(crate) fn root_name(operation: OperationType) -> &'static str {
    match operation {
        OperationType::Query => QUERY,
        OperationType::Mutation => MUTATION,
        OperationType::Subscription => SUBSCRIPTION,
    }
}

/// The cost of a call whose cost in the rate limits is 1, and of a reference, which is a call for many objects.
pub(crate) const CALL: usize = 10;
/// The cost of other fields.
pub(crate) const FIELD: usize = 1;

/// The fields of all objects, by the name of the type.
#[derive(Debug, Default)]
pub(crate) struct Fields(HashMap<String, HashMap<String, Arc<FieldDef>>>);

impl Fields {
    pub(crate) fn add(&mut self, parent: &str, field: &str, of: &str, cost: usize, resolve: Resolve) {
        let fields = self.0.entry(parent.to_owned()).or_default();
        fields.insert(field.to_owned(), Arc::new(FieldDef { of: of.to_owned(), cost, resolve }));
    }

    /// A field of a type; `None`: there is none, and validation refuses the operation.
    pub(crate) fn get(&self, parent: &str, field: &str) -> Option<&Arc<FieldDef>> {
        self.0.get(parent)?.get(field)
    }
}

/// A field.
#[derive(Debug)]
pub(crate) struct FieldDef {
    /// The name of its type.
    pub(crate) of: String,
    pub(crate) cost: usize,
    pub(crate) resolve: Resolve,
}

/// How the value of a field is found.
#[derive(Debug)]
pub(crate) enum Resolve {
    /// By the call of a method.
    Call(Box<RootCall>),
    /// A member of the object.
    Member(Member),
    /// The page that the object is, as an object of its own.
    PageInfo,
    /// The token of the next page.
    EndCursor,
    /// Whether there is a next page.
    HasNextPage,
    /// The object with the id in the member `json_name`, or those of a list; from the batch method at `batch`.
    Reference { json_name: String, batch: usize, is_list: bool },
    /// `true`, without a call.
    Available,
    /// The whole schema.
    Schema,
    /// The type of the schema that the argument names.
    Type,
    /// A type of the schema, or a list of them, to which the member refers by name.
    TypeOf { json_name: &'static str },
    /// A list of the schema; without deprecated elements, unless the argument includes them.
    Described { json_name: &'static str },
}

/// A member of an object.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) json_name: String,
    pub(crate) shape: Shape,
    pub(crate) count: Count,
}

/// How a value is written.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// As the JSON of the call.
    Scalar,
    /// A number; null if it is not finite.
    Float,
    /// The names of the values, of which others are null.
    Enum(Arc<BTreeSet<String>>),
    Object,
}

/// How many values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    One,
    List,
    /// A map, as a list of entries.
    Map(Keys),
}

/// The type of a map's keys, which are strings in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    Strings,
    /// Numbers and truth values, whose text is JSON.
    Others,
}

/// The call of a root field.
#[derive(Debug)]
pub(crate) struct RootCall {
    pub(crate) messages: Messages,
    pub(crate) descriptor: MethodDescriptor,
    pub(crate) paging: Option<Paging>,
    pub(crate) shape: Shape,
}
