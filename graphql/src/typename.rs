//! Directives on `__typename`, which validation of async-graphql does not visit.

use async_graphql::{
    Positioned,
    parser::types::{ExecutableDocument, InlineFragment, Selection, SelectionSet},
};

/// Moves the directives of each `__typename` to a fragment around it, where validation finds them and their variables.
pub(crate) fn expose_directives(document: &mut ExecutableDocument) {
    use async_graphql::parser::types::DocumentOperations::{Multiple, Single};
    match &mut document.operations {
        Single(operation) => expose(&mut operation.node.selection_set.node),
        Multiple(operations) => {
            operations.values_mut().for_each(|operation| expose(&mut operation.node.selection_set.node));
        }
    }
    document.fragments.values_mut().for_each(|fragment| expose(&mut fragment.node.selection_set.node));
}

fn expose(set: &mut SelectionSet) {
    for selection in &mut set.items {
        let pos = selection.pos;
        match &mut selection.node {
            Selection::Field(field) if field.node.name.node == "__typename" && !field.node.directives.is_empty() => {
                let directives = std::mem::take(&mut field.node.directives);
                let items = vec![Positioned::new(Selection::Field(field.clone()), pos)];
                let selection_set = Positioned::new(SelectionSet { items }, pos);
                let around = InlineFragment { type_condition: None, directives, selection_set };
                selection.node = Selection::InlineFragment(Positioned::new(around, pos));
            }
            Selection::Field(field) => expose(&mut field.node.selection_set.node),
            Selection::InlineFragment(inline) => expose(&mut inline.node.selection_set.node),
            Selection::FragmentSpread(_) => {}
        }
    }
}
