//! Checks an operation against the limits before it is validated and executed.
//!
//! A fragment counts at each place where it is spread. It is analyzed once, so that the time is linear in the document
//! even where the expanded document would be exponential.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{
    ExecutableDocument, Field, OperationDefinition, OperationType, Selection, SelectionSet,
};

use crate::{costs::Costs, nesting};

/// The limits of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// The maximum number of nested fields.
    pub depth: usize,
    /// The maximum sum of the costs of all fields.
    pub complexity: usize,
    /// The maximum number of root fields: each is a call.
    pub root_fields: usize,
    /// The maximum number of aliases.
    pub aliases: usize,
    /// The maximum number of directives.
    pub directives: usize,
}

/// The maximum length of an alias: it is repeated in each element of a list.
const ALIAS_BYTES: usize = 128;
/// The maximum number of nested lists in an introspection query: types refer to one another in circles.
const INTROSPECTION_LISTS: usize = 1;
/// The maximum number of fields of an introspection query: each is there for all types. The usual queries have about
/// 250.
const INTROSPECTION_FIELDS: usize = 400;
/// The type in which fields of introspection are counted.
const INTROSPECTION: &str = "__";
/// The fields of introspection that are lists of types or fields.
const LISTS: [&str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];

/// Why an operation is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refused {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn beyond(amount: &str, is: usize, most: usize, key: &str) -> Self {
        let message = format!("the operation has {amount} {is}; the limit is {most} (gateway.graphql.{key})");
        Self::new("QUERY_TOO_EXPENSIVE", message)
    }
}

/// Checks all operations of a document. Validation reads all of them, too.
pub(crate) fn check(
    document: &ExecutableDocument,
    costs: &Costs,
    limits: &QueryLimits,
    introspection: bool,
) -> Result<(), Refused> {
    let mut analysis = Analysis { document, costs, introspection, fragments: HashMap::new() };
    for (_, operation) in document.operations.iter() {
        analysis.check(&operation.node, limits)?;
    }
    // Validation reads these, too, but no limit has counted them.
    match document.fragments.keys().find(|name| !analysis.fragments.contains_key(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            Err(Refused::new("GRAPHQL_VALIDATION_FAILED", format!("the fragment `{name}` is not used by an operation")))
        }
    }
}

/// The names of the fields in the response, in the order of a selection set within the limits.
pub(crate) fn root_keys(document: &ExecutableDocument, set: &SelectionSet) -> Vec<String> {
    let keys = set.items.iter().flat_map(|selection| match &selection.node {
        Selection::Field(field) => vec![field.node.response_key().node.to_string()],
        Selection::InlineFragment(inline) => root_keys(document, &inline.node.selection_set.node),
        Selection::FragmentSpread(spread) => {
            let fragment = document.fragments.get(&spread.node.fragment_name.node);
            fragment.map(|fragment| root_keys(document, &fragment.node.selection_set.node)).unwrap_or_default()
        }
    });
    keys.collect()
}

struct Analysis<'a> {
    document: &'a ExecutableDocument,
    costs: &'a Costs,
    introspection: bool,
    /// `None`: the fragment is being analyzed.
    fragments: HashMap<&'a str, Option<Tally>>,
}

/// What a selection set counts.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    depth: usize,
    complexity: usize,
    /// The fields of the set itself.
    fields: usize,
    aliases: usize,
    directives: usize,
    /// Nested lists of introspection.
    lists: usize,
    /// The fields within `__schema` and `__type`.
    introspection: usize,
    /// Nested fields and fragments: what follows them recursively needs stack for each level.
    levels: usize,
}

impl Tally {
    /// What a set counts within a fragment.
    fn nested(self) -> Self {
        Self { levels: self.levels + 1, ..self }
    }

    /// Adds what stands beside it in the same set.
    fn add(&mut self, other: Self) {
        self.depth = self.depth.max(other.depth);
        self.lists = self.lists.max(other.lists);
        self.levels = self.levels.max(other.levels);
        self.introspection = self.introspection.saturating_add(other.introspection);
        self.complexity = self.complexity.saturating_add(other.complexity);
        self.fields = self.fields.saturating_add(other.fields);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.directives = self.directives.saturating_add(other.directives);
    }
}

impl<'a> Analysis<'a> {
    fn check(&mut self, operation: &'a OperationDefinition, limits: &QueryLimits) -> Result<(), Refused> {
        let set = &operation.selection_set.node;
        let root = match operation.ty {
            OperationType::Query => "Query",
            OperationType::Mutation => "Mutation",
            OperationType::Subscription => "Subscription",
        };
        let mut tally = self.set(set, root, 0)?;
        let of_variables = operation.variable_definitions.iter().map(|variable| variable.node.directives.len());
        let directives = operation.directives.len() + of_variables.sum::<usize>();
        tally.directives = tally.directives.saturating_add(directives);
        for (amount, is, most, key) in [
            ("a depth of", tally.depth, limits.depth, "depth"),
            ("a complexity of", tally.complexity, limits.complexity, "complexity"),
            ("a number of root fields of", tally.fields, limits.root_fields, "root_fields"),
            ("a number of aliases of", tally.aliases, limits.aliases, "aliases"),
            ("a number of directives of", tally.directives, limits.directives, "directives"),
        ] {
            if is > most {
                return Err(Refused::beyond(amount, is, most, key));
            }
        }
        if tally.lists > INTROSPECTION_LISTS {
            let message = "introspection follows types in circles; `fields` must not stand within `fields`";
            return Err(Refused::new("QUERY_TOO_EXPENSIVE", message));
        }
        if tally.introspection > INTROSPECTION_FIELDS {
            let message = format!("the introspection query has more than {INTROSPECTION_FIELDS} fields");
            return Err(Refused::new("QUERY_TOO_EXPENSIVE", message));
        }
        match operation.ty {
            OperationType::Query => Ok(()),
            OperationType::Mutation => self.check_mutation(set),
            OperationType::Subscription => check_subscription(set),
        }
    }

    /// A root field that is selected twice would be called twice.
    fn check_mutation(&self, set: &SelectionSet) -> Result<(), Refused> {
        let mut seen = HashSet::new();
        match root_keys(self.document, set).into_iter().find(|key| !seen.insert(key.clone())) {
            None => Ok(()),
            Some(key) => {
                let message = format!("the mutation selects `{key}` twice; give each call an alias");
                Err(Refused::new("GRAPHQL_VALIDATION_FAILED", message))
            }
        }
    }

    fn set(&mut self, set: &'a SelectionSet, parent: &str, nesting: usize) -> Result<Tally, Refused> {
        check_levels(nesting)?;
        let mut tally = Tally::default();
        for selection in &set.items {
            tally.directives = tally.directives.saturating_add(selection.node.directives().len());
            let part = match &selection.node {
                Selection::Field(field) => self.field(&field.node, parent, nesting)?,
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref().map(|of| of.node.on.node.as_str());
                    let parent = condition.map_or(parent, normalized);
                    self.set(&inline.node.selection_set.node, parent, nesting + 1)?.nested()
                }
                Selection::FragmentSpread(spread) => self.fragment(spread.node.fragment_name.node.as_str(), nesting)?,
            };
            // A fragment that was analyzed before may stand deeper here.
            check_levels(nesting + part.levels)?;
            tally.add(part);
        }
        Ok(tally)
    }

    fn fragment(&mut self, name: &'a str, nesting: usize) -> Result<Tally, Refused> {
        match self.fragments.get(name) {
            Some(Some(tally)) => return Ok(*tally),
            Some(None) => {
                let message = format!("the fragment `{name}` contains itself");
                return Err(Refused::new("GRAPHQL_VALIDATION_FAILED", message));
            }
            None => {}
        }
        let Some(fragment) = self.document.fragments.get(name) else {
            return Err(Refused::new("GRAPHQL_VALIDATION_FAILED", format!("there is no fragment `{name}`")));
        };
        self.fragments.insert(name, None);
        let parent = normalized(fragment.node.type_condition.node.on.node.as_str());
        let mut tally = self.set(&fragment.node.selection_set.node, parent, nesting + 1)?.nested();
        tally.directives = tally.directives.saturating_add(fragment.node.directives.len());
        self.fragments.insert(name, Some(tally));
        Ok(tally)
    }

    fn field(&mut self, field: &'a Field, parent: &str, nesting: usize) -> Result<Tally, Refused> {
        let name = field.name.node.as_str();
        let is_meta = matches!(name, "__schema" | "__type");
        if is_meta && !self.introspection {
            let message = "introspection is switched off (gateway.graphql.introspection)";
            return Err(Refused::new("INTROSPECTION_DISABLED", message));
        }
        if let Some(alias) = &field.alias {
            if alias.node.len() > ALIAS_BYTES {
                let message = format!("an alias has more than {ALIAS_BYTES} bytes");
                return Err(Refused::new("GRAPHQL_VALIDATION_FAILED", message));
            }
            if name == "__typename" {
                return Err(Refused::new("GRAPHQL_VALIDATION_FAILED", "`__typename` has no alias here; remove it"));
            }
        }
        let known = self.costs.get(parent, name);
        let is_introspection = is_meta || parent == INTROSPECTION;
        let of = if is_introspection { INTROSPECTION } else { known.map_or("", |known| known.of.as_str()) };
        let inner = self.set(&field.selection_set.node, of, nesting + 1)?;
        Ok(Tally {
            depth: inner.depth + 1,
            complexity: inner.complexity.saturating_add(known.map_or(crate::costs::FIELD, |known| known.cost)),
            fields: 1,
            aliases: inner.aliases.saturating_add(usize::from(field.alias.is_some())),
            directives: inner.directives,
            lists: inner.lists + usize::from(is_introspection && LISTS.contains(&name)),
            introspection: if is_meta { inner.complexity } else { inner.introspection },
            levels: inner.levels + 1,
        })
    }
}

fn check_levels(levels: usize) -> Result<(), Refused> {
    if levels <= nesting::MOST {
        return Ok(());
    }
    let message = format!("fields and fragments are nested in more than {} levels", nesting::MOST);
    Err(Refused::new("QUERY_TOO_EXPENSIVE", message))
}

/// The executor follows one field, which stands in the operation itself.
fn check_subscription(set: &SelectionSet) -> Result<(), Refused> {
    if let [selection] = set.items.as_slice()
        && let Selection::Field(field) = &selection.node
        && field.node.directives.is_empty()
    {
        return Ok(());
    }
    let message = "a subscription selects exactly one field, without a fragment and without directives";
    Err(Refused::new("GRAPHQL_VALIDATION_FAILED", message))
}

/// The types of introspection count as one.
fn normalized(type_name: &str) -> &str {
    if type_name.starts_with(INTROSPECTION) { INTROSPECTION } else { type_name }
}

#[cfg(test)]
mod tests;
