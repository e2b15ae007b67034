//! The cost of each field, for the complexity of an operation.

use std::collections::HashMap;

/// The cost of a call whose cost in the rate limits is 1, and of a reference, which is a call for many objects.
pub(crate) const CALL: usize = 10;
/// The cost of other fields.
pub(crate) const FIELD: usize = 1;

/// The fields of all objects, by the name of the type.
#[derive(Debug, Default)]
pub(crate) struct Costs(HashMap<String, HashMap<String, FieldCost>>);

/// A field.
#[derive(Debug, Clone)]
pub(crate) struct FieldCost {
    /// The name of its type.
    pub(crate) of: String,
    pub(crate) cost: usize,
}

impl Costs {
    pub(crate) fn add(&mut self, parent: &str, field: &str, of: &str, cost: usize) {
        let fields = self.0.entry(parent.to_owned()).or_default();
        fields.insert(field.to_owned(), FieldCost { of: of.to_owned(), cost });
    }

    /// A field of a type; `None`: there is none, and validation refuses the operation.
    pub(crate) fn get(&self, parent: &str, field: &str) -> Option<&FieldCost> {
        self.0.get(parent)?.get(field)
    }
}
