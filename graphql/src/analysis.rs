//! Bounds the work of checking a document, before it is validated and its fields are merged.
//!
//! A fragment counts at each place where it is spread. It is analyzed once, so that the time is linear in the document
//! even where the expanded document would be exponential.

use std::collections::HashMap;

use async_graphql::{
    Name, Positioned, Value,
    parser::types::{Directive, ExecutableDocument, Field, OperationDefinition, Selection, SelectionSet},
    registry::{MetaType, Registry},
};
use async_graphql_value::Value as Literal;
use serde_json::{Map, Value as Json};
use transcode::shorten;

use crate::{limits::QueryLimits, nesting, refused::Refused};

/// The maximum length of an alias: it is repeated in each element of a list.
const ALIAS_BYTES: usize = 128;
/// The maximum number of nested lists in an introspection query: types refer to one another in circles.
const INTROSPECTION_LISTS: usize = 1;
/// The type in which fields of introspection are counted.
const INTROSPECTION: &str = "__";
/// The fields of introspection that are lists of types or fields.
const LISTS: [&str; 4] = ["fields", "inputFields", "interfaces", "possibleTypes"];
/// How many selections a document may have for each unit of the complexity. Those with the same name in the response are
/// one field, which costs once.
const SELECTIONS: usize = 10;
/// What a value takes in memory besides its text.
const VALUE: usize = 32;

/// The number of arguments of the field with the most.
pub(crate) fn most_arguments(registry: &Registry) -> usize {
    let of_objects = registry.types.values().filter_map(|of| match of {
        MetaType::Object { fields, .. } => fields.values().map(|field| field.args.len()).max(),
        _ => None,
    });
    // A directive has one.
    of_objects.max().unwrap_or(0).max(1)
}

/// Checks all operations of a document. Validation reads all of them, too. `most_arguments` is that of the schema.
pub(crate) fn check(
    document: &ExecutableDocument,
    variables: &Map<String, Json>,
    limits: &QueryLimits,
    most_arguments: usize,
    introspection: bool,
) -> Result<(), Refused> {
    let sent = variables.iter().fold(0_usize, |sum, (name, value)| sum.saturating_add(name.len() + json_bytes(value)));
    check_argument_bytes("variables", sent, limits)?;
    let variables = variable_bytes(document, variables);
    let mut analysis = Analysis { document, variables, most_arguments, introspection, fragments: HashMap::new() };
    for (_, operation) in document.operations.iter() {
        analysis.check(&operation.node, limits)?;
    }
    // Validation reads these, too, but no limit has counted them.
    match document.fragments.keys().find(|name| !analysis.fragments.contains_key(name.as_str())) {
        None => Ok(()),
        Some(name) => Err(Refused::invalid(format!("the fragment `{}` is not used by an operation", shorten(name)))),
    }
}

struct Analysis<'a> {
    document: &'a ExecutableDocument,
    /// The bytes of each variable.
    variables: HashMap<&'a str, usize>,
    most_arguments: usize,
    introspection: bool,
    /// `None`: the fragment is being analyzed.
    fragments: HashMap<&'a str, Option<Tally>>,
}

/// What a selection set counts.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// The fields and fragments.
    selections: usize,
    aliases: usize,
    directives: usize,
    /// The bytes of the arguments, with the values of their variables.
    arguments: usize,
    /// Nested lists of introspection.
    lists: usize,
    /// Nested fields and fragments: what follows them recursively needs stack for each level.
    levels: usize,
}

impl Tally {
    /// What a set counts within a field or fragment.
    fn nested(self) -> Self {
        Self { levels: self.levels + 1, ..self }
    }

    /// Adds what stands beside it in the same set.
    fn add(&mut self, other: Self) {
        self.lists = self.lists.max(other.lists);
        self.levels = self.levels.max(other.levels);
        self.selections = self.selections.saturating_add(other.selections);
        self.aliases = self.aliases.saturating_add(other.aliases);
        self.arguments = self.arguments.saturating_add(other.arguments);
        self.directives = self.directives.saturating_add(other.directives);
    }
}

impl<'a> Analysis<'a> {
    fn check(&mut self, operation: &'a OperationDefinition, limits: &QueryLimits) -> Result<(), Refused> {
        let mut tally = self.set(&operation.selection_set.node, "", 0)?;
        self.add_directives(&operation.directives, &mut tally)?;
        for variable in &operation.variable_definitions {
            self.add_directives(&variable.node.directives, &mut tally)?;
        }
        for (amount, is, most, key) in [
            ("a number of aliases of", tally.aliases, limits.aliases, "aliases"),
            ("a number of directives of", tally.directives, limits.directives, "directives"),
        ] {
            if is > most {
                return Err(Refused::beyond(amount, is, most, key));
            }
        }
        let most = limits.complexity.saturating_mul(SELECTIONS);
        if tally.selections > most {
            let message = format!(
                "the operation selects fields and fragments {} times; the limit is {most}, \
                 {SELECTIONS} times gateway.graphql.complexity",
                tally.selections
            );
            return Err(Refused::new("QUERY_TOO_EXPENSIVE", message));
        }
        if tally.lists > INTROSPECTION_LISTS {
            let message = "introspection follows types in circles; `fields` must not stand within `fields`";
            return Err(Refused::new("QUERY_TOO_EXPENSIVE", message));
        }
        check_argument_bytes("arguments", tally.arguments, limits)
    }

    fn set(&mut self, set: &'a SelectionSet, parent: &str, nesting: usize) -> Result<Tally, Refused> {
        check_levels(nesting)?;
        let mut tally = Tally::default();
        for selection in &set.items {
            self.add_directives(selection.node.directives(), &mut tally)?;
            tally.selections = tally.selections.saturating_add(1);
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
            Some(None) => return Err(Refused::invalid(format!("the fragment `{}` contains itself", shorten(name)))),
            None => {}
        }
        let Some(fragment) = self.document.fragments.get(name) else {
            return Err(Refused::invalid(format!("there is no fragment `{}`", shorten(name))));
        };
        self.fragments.insert(name, None);
        let parent = normalized(fragment.node.type_condition.node.on.node.as_str());
        let mut tally = self.set(&fragment.node.selection_set.node, parent, nesting + 1)?.nested();
        self.add_directives(&fragment.node.directives, &mut tally)?;
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
        if name == "__typename" && !(field.arguments.is_empty() && field.selection_set.node.items.is_empty()) {
            return Err(Refused::invalid("`__typename` has no arguments and no fields"));
        }
        if field.alias.as_ref().is_some_and(|alias| alias.node.len() > ALIAS_BYTES) {
            return Err(Refused::invalid(format!("an alias has more than {ALIAS_BYTES} bytes")));
        }
        let is_introspection = is_meta || parent == INTROSPECTION;
        let of = if is_introspection { INTROSPECTION } else { "" };
        let mut tally = self.set(&field.selection_set.node, of, nesting + 1)?.nested();
        tally.aliases = tally.aliases.saturating_add(usize::from(field.alias.is_some()));
        tally.lists += usize::from(is_introspection && LISTS.contains(&name));
        self.add_arguments(name, &field.arguments, &mut tally)?;
        Ok(tally)
    }

    fn add_directives(&self, directives: &[Positioned<Directive>], tally: &mut Tally) -> Result<(), Refused> {
        tally.directives = tally.directives.saturating_add(directives.len());
        directives.iter().try_for_each(|directive| {
            let Directive { name, arguments } = &directive.node;
            self.add_arguments(&name.node, arguments, tally)
        })
    }

    /// What follows looks for each argument among all of the field, so that their number must be bounded.
    fn add_arguments(
        &self,
        of: &str,
        arguments: &[(Positioned<Name>, Positioned<Literal>)],
        tally: &mut Tally,
    ) -> Result<(), Refused> {
        if arguments.len() > self.most_arguments {
            let (is, most) = (arguments.len(), self.most_arguments);
            let message = format!("`{}` has {is} arguments; no field of the schema has more than {most}", shorten(of));
            return Err(Refused::invalid(message));
        }
        for (_, argument) in arguments {
            tally.arguments = tally.arguments.saturating_add(self.bytes(&argument.node));
        }
        Ok(())
    }

    /// The bytes of an argument.
    fn bytes(&self, literal: &Literal) -> usize {
        let inner = match literal {
            Literal::Variable(name) => return self.variables.get(name.as_str()).copied().unwrap_or(VALUE),
            Literal::String(text) => text.len(),
            Literal::Enum(name) => name.len(),
            Literal::List(items) => items.iter().fold(0, |sum: usize, item| sum.saturating_add(self.bytes(item))),
            Literal::Object(members) => {
                members.iter().fold(0, |sum: usize, (name, of)| sum.saturating_add(name.len() + self.bytes(of)))
            }
            Literal::Null | Literal::Number(_) | Literal::Boolean(_) | Literal::Binary(_) => 0,
        };
        inner.saturating_add(VALUE)
    }
}

/// The bytes of each variable: those of its value or of its default. Operations that share a fragment may declare it twice.
fn variable_bytes<'a>(document: &'a ExecutableDocument, sent: &Map<String, Json>) -> HashMap<&'a str, usize> {
    let mut bytes = HashMap::new();
    let operations = document.operations.iter().map(|(_, operation)| operation);
    for variable in operations.flat_map(|operation| &operation.node.variable_definitions) {
        let name = variable.node.name.node.as_str();
        let is = match (sent.get(name), &variable.node.default_value) {
            (Some(value), _) => json_bytes(value),
            (None, Some(default)) => value_bytes(&default.node),
            (None, None) => VALUE,
        };
        let most = bytes.entry(name).or_insert(is);
        *most = is.max(*most);
    }
    bytes
}

fn json_bytes(value: &Json) -> usize {
    let inner = match value {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(json_bytes).sum(),
        Json::Object(members) => members.iter().map(|(name, of)| name.len() + json_bytes(of)).sum(),
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
    };
    inner + VALUE
}

fn value_bytes(value: &Value) -> usize {
    let inner = match value {
        Value::String(text) => text.len(),
        Value::Enum(name) => name.len(),
        Value::List(items) => items.iter().map(value_bytes).sum(),
        Value::Object(members) => members.iter().map(|(name, of)| name.len() + value_bytes(of)).sum(),
        Value::Null | Value::Number(_) | Value::Boolean(_) | Value::Binary(_) => 0,
    };
    inner + VALUE
}

fn check_argument_bytes(what: &str, is: usize, limits: &QueryLimits) -> Result<(), Refused> {
    let most = limits.argument_bytes;
    if is <= most {
        return Ok(());
    }
    let message = format!(
        "the {what} of the operation have {is} bytes, with {VALUE} for each value and with the value of a variable at each \
         place; the limit is {most} (gateway.graphql.argument_bytes)"
    );
    Err(Refused::new("ARGUMENTS_TOO_LARGE", message))
}

fn check_levels(levels: usize) -> Result<(), Refused> {
    if levels <= nesting::MOST {
        return Ok(());
    }
    let message = format!("fields and fragments are nested in more than {} levels", nesting::MOST);
    Err(Refused::new("QUERY_TOO_EXPENSIVE", message))
}

/// The types of introspection count as one.
fn normalized(type_name: &str) -> &str {
    if type_name.starts_with(INTROSPECTION) { INTROSPECTION } else { "" }
}

#[cfg(test)]
mod tests;
