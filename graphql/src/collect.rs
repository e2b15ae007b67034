//! Merges the fields of an operation, as the specification states (section 6.3.2, CollectFields): those with the same
//! response key are one field, over fragments and directives. The merged fields are what is counted, and what is executed:
//! so each costs once, and calls once.

use std::collections::HashSet;

use async_graphql::{
    Name, Pos, Positioned, Value, Variables,
    indexmap::IndexMap,
    parser::types::{
        Directive, ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
    },
    registry::{MetaType, Registry},
};
use async_graphql_value::Value as Literal;
use transcode::shorten;

use crate::{
    fields::{FIELD, Fields, Resolve, root_name},
    input::{Coercion, Declared, Members},
    limits::QueryLimits,
    plan::{Node, Plan, ValueSource},
    refused::Refused,
};

/// Merges the fields of operations on one document.
pub(crate) struct Collector<'a> {
    pub(crate) document: &'a ExecutableDocument,
    pub(crate) fields: &'a Fields,
    pub(crate) registry: &'a Registry,
    /// The values of the operation's variables.
    pub(crate) variables: &'a Variables,
    pub(crate) declared: &'a Declared<'a>,
    pub(crate) limits: &'a QueryLimits,
}

/// The fields with one response key.
struct Group<'a> {
    first: &'a Positioned<Field>,
    sets: Vec<&'a SelectionSet>,
}

/// What the merged fields cost.
#[derive(Default)]
struct PlanCost {
    depth: usize,
    complexity: usize,
}

impl<'a> Collector<'a> {
    /// The merged fields of an operation, if they are within the limits. The document is not validated yet, but analyzed
    /// ([`crate::analysis`]): that bounds the selections, and the arguments of each field.
    pub(crate) fn plan(&self, operation: &'a OperationDefinition) -> Result<Plan, Refused> {
        let mut count = PlanCost::default();
        let roots = self.set(&[&operation.selection_set.node], root_name(operation.ty), 1, &mut count)?;
        for (amount, is, most, key) in [
            ("a depth of", count.depth, self.limits.depth, "depth"),
            ("a complexity of", count.complexity, self.limits.complexity, "complexity"),
            ("a number of root fields of", roots.len(), self.limits.root_fields, "root_fields"),
        ] {
            if is > most {
                return Err(Refused::beyond(amount, is, most, key));
            }
        }
        if operation.ty == OperationType::Subscription && roots.len() != 1 {
            return Err(Refused::invalid("a subscription selects exactly one field"));
        }
        Ok(Plan { roots, operation: operation.ty })
    }

    /// The fields of the selection sets of one object.
    fn set(
        &self,
        sets: &[&'a SelectionSet],
        parent: &str,
        depth: usize,
        count: &mut PlanCost,
    ) -> Result<Vec<Node>, Refused> {
        let (mut groups, mut spread) = (IndexMap::new(), HashSet::new());
        for set in sets {
            self.group(set, parent, &mut groups, &mut spread)?;
        }
        groups.into_values().map(|group| self.node(&group, parent, depth, count)).collect()
    }

    /// Adds the fields of a selection set to those of the same response key.
    fn group(
        &self,
        set: &'a SelectionSet,
        parent: &str,
        groups: &mut IndexMap<&'a str, Group<'a>>,
        spread: &mut HashSet<&'a str>,
    ) -> Result<(), Refused> {
        for selection in &set.items {
            if !self.is_included(selection.node.directives())? {
                continue;
            }
            match &selection.node {
                Selection::Field(field) => add(field, groups)?,
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref().map(|of| of.node.on.node.as_str());
                    if condition.is_none_or(|of| of == parent) {
                        self.group(&inline.node.selection_set.node, parent, groups, spread)?;
                    }
                }
                Selection::FragmentSpread(of) => {
                    let name = &of.node.fragment_name.node;
                    let fragment = self.document.fragments.get(name);
                    let applies = |on: &str| on == parent;
                    if let Some(fragment) = fragment.filter(|of| applies(&of.node.type_condition.node.on.node))
                        && spread.insert(name)
                    {
                        self.group(&fragment.node.selection_set.node, parent, groups, spread)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn node(&self, group: &Group<'a>, parent: &str, depth: usize, count: &mut PlanCost) -> Result<Node, Refused> {
        let (field, pos) = (&group.first.node, group.first.pos);
        let (key, name) = (field.response_key().node.clone(), field.name.node.as_str());
        count.depth = count.depth.max(depth);
        if name == "__typename" {
            count.complexity += FIELD;
            return Ok(Node::new(key, pos, ValueSource::TypeName(Name::new(parent)), Vec::new()));
        }
        let def = self.fields.get(parent, name);
        let def = def.ok_or_else(|| Refused::invalid(format!("{parent} has no field `{}`", shorten(name))))?;
        count.complexity = count.complexity.saturating_add(def.cost);
        let children = self.set(&group.sets, &def.of, depth + 1, count)?;
        let takes_arguments = matches!(def.resolve, Resolve::Call(_) | Resolve::Type | Resolve::Described { .. });
        let arguments = if takes_arguments { self.arguments(field, pos, parent)? } else { Members::new() };
        Ok(Node { arguments, ..Node::new(key, pos, ValueSource::Field(def.clone()), children) })
    }

    fn arguments(&self, field: &Field, pos: Pos, parent: &str) -> Result<Members, Refused> {
        let name = field.name.node.as_str();
        let declared = match self.registry.types.get(parent) {
            Some(MetaType::Object { fields, .. }) => fields.get(name).map(|field| &field.args),
            _ => None,
        };
        let Some(declared) = declared else { return Ok(Members::new()) };
        let Self { registry, variables, declared: of_operation, .. } = *self;
        let coercion = Coercion { registry, variables, declared: of_operation };
        let find = |argument: &str| field.get_argument(argument).map(|value| &value.node);
        coercion.arguments(declared, find).map_err(|problem| {
            Refused::invalid(format!("the arguments of `{name}` (line {}, column {}){problem}", pos.line, pos.column))
        })
    }

    /// Whether `@skip` and `@include` leave a selection in.
    fn is_included(&self, directives: &[Positioned<Directive>]) -> Result<bool, Refused> {
        for directive in directives {
            let name = directive.node.name.node.as_str();
            if !matches!(name, "skip" | "include") {
                continue;
            }
            let condition = match directive.node.get_argument("if").map(|value| &value.node) {
                Some(Literal::Boolean(is)) => Some(*is),
                Some(Literal::Variable(variable)) => match self.variables.get(variable) {
                    Some(Value::Boolean(is)) => Some(*is),
                    _ => None,
                },
                _ => None,
            };
            let condition =
                condition.ok_or_else(|| Refused::invalid(format!("`if` of `@{name}` is not a truth value")))?;
            if condition == (name == "skip") {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Adds a field to those of its response key, which must be the same field with the same arguments. A field has at most as
/// many as one of the schema, so that each comparison is short.
fn add<'a>(field: &'a Positioned<Field>, groups: &mut IndexMap<&'a str, Group<'a>>) -> Result<(), Refused> {
    let key = field.node.response_key().node.as_str();
    let group = groups.entry(key).or_insert_with(|| Group { first: field, sets: Vec::new() });
    let (first, other) = (&group.first.node, &field.node);
    let is_same = |(name, value): &(Positioned<_>, Positioned<Literal>)| {
        let name: &Name = &name.node;
        other.get_argument(name).is_some_and(|of| of.node == value.node)
    };
    let has_same_arguments = first.arguments.len() == other.arguments.len() && first.arguments.iter().all(is_same);
    if first.name.node != other.name.node || !has_same_arguments {
        let message =
            format!("`{}` stands for two fields, or for two sets of arguments; give each an alias", shorten(key));
        return Err(Refused::invalid(message));
    }
    group.sets.push(&other.selection_set.node);
    Ok(())
}
