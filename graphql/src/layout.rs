//! The differences between what the executor runs and what the client has asked for.

use async_graphql::{
    Name, Positioned, Value,
    parser::types::{DocumentOperations, ExecutableDocument, Field, Selection, SelectionSet},
};

use crate::analysis;

/// The alias of an added `__typename`. No client can write it.
const ADDED: &str = "\0";

/// How the data of a response is put in its form.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// The names of the root fields, in the order of the operation.
    order: Vec<String>,
    /// Whether a `__typename` was added.
    has_added: bool,
}

impl Layout {
    /// The layout of an operation of the document with the selection set.
    pub(crate) fn of(document: &ExecutableDocument, set: &SelectionSet) -> Self {
        Self { order: analysis::root_keys(document, set), has_added: false }
    }

    /// Adds a `__typename` to each set that directives can make empty: the executor returns null for an empty set,
    /// where the specification states an object without members.
    pub(crate) fn fill(&mut self, document: &mut ExecutableDocument) {
        let operations = match &mut document.operations {
            DocumentOperations::Single(one) => vec![one],
            DocumentOperations::Multiple(all) => all.values_mut().collect(),
        };
        let of_operations = operations.into_iter().map(|operation| &mut operation.node.selection_set.node);
        let of_fragments = document.fragments.values_mut().map(|fragment| &mut fragment.node.selection_set.node);
        for set in of_operations.chain(of_fragments) {
            self.has_added |= fill(set);
        }
    }

    /// Sorts the root fields, and removes what was added.
    pub(crate) fn apply(&self, data: &mut Value) {
        if self.has_added {
            strip(data);
        }
        if let Value::Object(data) = data {
            // Calls end in any order.
            let position = |name: &str| self.order.iter().position(|key| key == name);
            data.sort_by(|one, _, other, _| position(one).cmp(&position(other)));
        }
    }
}

/// Returns whether a set was changed.
fn fill(set: &mut SelectionSet) -> bool {
    let mut has_added = false;
    for selection in &mut set.items {
        has_added |= match &mut selection.node {
            Selection::Field(field) => fill(&mut field.node.selection_set.node),
            Selection::InlineFragment(inline) => fill(&mut inline.node.selection_set.node),
            Selection::FragmentSpread(_) => false,
        };
    }
    let Some(first) = set.items.first().filter(|_| set.items.iter().all(|item| !item.node.directives().is_empty()))
    else {
        return has_added;
    };
    let at = first.pos;
    let field = Field {
        alias: Some(Positioned::new(Name::new(ADDED), at)),
        name: Positioned::new(Name::new("__typename"), at),
        arguments: Vec::new(),
        directives: Vec::new(),
        selection_set: Positioned::default(),
    };
    set.items.push(Positioned::new(Selection::Field(Positioned::new(field, at)), at));
    true
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.shift_remove(ADDED);
            members.values_mut().for_each(strip);
        }
        Value::List(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
