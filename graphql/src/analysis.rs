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
    Ok(())
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
}

impl Tally {
    /// Adds what stands beside it in the same set.
    fn add(&mut self, other: Self) {
        self.depth = self.depth.max(other.depth);
        self.lists = self.lists.max(other.lists);
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
        tally.directives = tally.directives.saturating_add(operation.directives.len());
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
        if nesting > nesting::MOST {
            let message = format!("fields and fragments are nested in more than {} levels", nesting::MOST);
            return Err(Refused::new("QUERY_TOO_EXPENSIVE", message));
        }
        let mut tally = Tally::default();
        for selection in &set.items {
            tally.directives = tally.directives.saturating_add(selection.node.directives().len());
            let part = match &selection.node {
                Selection::Field(field) => self.field(&field.node, parent, nesting)?,
                Selection::InlineFragment(inline) => {
                    let condition = inline.node.type_condition.as_ref().map(|of| of.node.on.node.as_str());
                    let parent = condition.map_or(parent, normalized);
                    self.set(&inline.node.selection_set.node, parent, nesting + 1)?
                }
                Selection::FragmentSpread(spread) => self.fragment(spread.node.fragment_name.node.as_str(), nesting)?,
            };
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
        let mut tally = self.set(&fragment.node.selection_set.node, parent, nesting + 1)?;
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
        if is_meta && inner.complexity > INTROSPECTION_FIELDS {
            let message = format!("the introspection query has more than {INTROSPECTION_FIELDS} fields");
            return Err(Refused::new("QUERY_TOO_EXPENSIVE", message));
        }
        Ok(Tally {
            depth: inner.depth + 1,
            complexity: inner.complexity.saturating_add(known.map_or(crate::costs::FIELD, |known| known.cost)),
            fields: 1,
            aliases: inner.aliases.saturating_add(usize::from(field.alias.is_some())),
            directives: inner.directives,
            lists: inner.lists + usize::from(is_introspection && LISTS.contains(&name)),
        })
    }
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
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;
    use crate::costs::CALL;

    const LIMITS: QueryLimits = QueryLimits { depth: 4, complexity: 60, root_fields: 3, aliases: 2, directives: 2 };

    fn checked(query: &str, introspection: bool) -> Result<(), Refused> {
        let mut costs = Costs::default();
        costs.add("Query", "user", "User", 2 * CALL);
        costs.add("Query", "call", "Int", CALL);
        costs.add("Mutation", "change", "Int", CALL);
        costs.add("User", "friend", "User", CALL);
        check(&parse_query(query).unwrap(), &costs, &LIMITS, introspection)
    }

    fn refusal(query: &str) -> String {
        checked(query, true).unwrap_err().message
    }

    #[test]
    fn operations_within_the_limits_pass() {
        for query in [
            "{ user { name friend { friend { name } } } }",
            "{ user { friend { friend { name } } name } }",
            "{ a: call b: call call }",
            "{ ...F } fragment F on Query { call }",
            "mutation { a: change change }",
            "subscription { stream { a b } }",
            "{ __schema { types { fields { name } } } }",
        ] {
            assert_eq!(checked(query, true), Ok(()), "{query}");
        }
    }

    #[test]
    fn operations_beyond_a_limit_are_refused() {
        for (query, key) in [
            ("{ user { friend { friend { friend { name } } } } }", "depth"),
            ("{ user { a: friend { name } b: friend { name } friend { friend { name } } } }", "complexity"),
            ("{ call ...F } fragment F on Query { call ... { call call } }", "root_fields"),
            ("{ user { a: x ...F } } fragment F on User { b: x c: x }", "aliases"),
            ("query @a { call @b ... @c { call } }", "directives"),
        ] {
            assert!(refusal(query).contains(&format!("gateway.graphql.{key})")), "{query}: {}", refusal(query));
        }
        // A second operation that is not executed is validated, too.
        assert!(refusal("query A { call } query B { a: call b: call c: call }").contains("aliases"));
    }

    #[test]
    fn repeated_fragments_count_each_time() {
        let mut query = "{ ...F0 } ".to_owned();
        for n in 0..60 {
            query += &format!("fragment F{n} on Query {{ ...F{m} ...F{m} }} ", m = n + 1);
        }
        query += "fragment F60 on Query { call }";
        let refused = refusal(&query);
        assert!(refused.contains("complexity") || refused.contains("levels"), "{refused}");
        assert!(refusal("{ ...F } fragment F on Query { ...G } fragment G on Query { ...F }").contains("itself"));
        assert!(refusal("{ ...F } fragment F on Query { ...G ...G }").contains("no fragment `G`"));
        let chain: String = (0..200).map(|n| format!("fragment F{n} on Query {{ ...F{} }} ", n + 1)).collect();
        assert!(refusal(&format!("{{ ...F0 }} {chain} fragment F200 on Query {{ call }}")).contains("levels"));
    }

    #[test]
    fn introspection_in_circles_is_refused() {
        let query = "{ __type(name: \"User\") { fields { type { fields { name } } } } }";
        let limits = QueryLimits { depth: 100, complexity: 1_000, ..LIMITS };
        let document = parse_query(query).unwrap();
        assert!(check(&document, &Costs::default(), &limits, true).unwrap_err().message.contains("circles"));
        let spread = "{ __schema { types { fields { ...T } } } } fragment T on __Field { type { fields { name } } }";
        let document = parse_query(spread).unwrap();
        assert!(check(&document, &Costs::default(), &limits, true).unwrap_err().message.contains("circles"));
        let wide = format!("{{ __schema {{ types {{ {} }} }} }}", "name ".repeat(INTROSPECTION_FIELDS));
        let refused = check(&parse_query(&wide).unwrap(), &Costs::default(), &limits, true).unwrap_err();
        assert!(refused.message.contains("more than 400 fields"), "{refused:?}");
        assert_eq!(checked("{ __schema { types { name } } }", false).unwrap_err().code, "INTROSPECTION_DISABLED");
        assert_eq!(checked("{ user { __typename } }", false), Ok(()));
    }

    #[test]
    fn shapes_that_cannot_be_executed_are_refused() {
        for query in [
            "mutation { change change }",
            "mutation { change ...F } fragment F on Mutation { change }",
            "subscription { a b }",
            "subscription { ...F } fragment F on Subscription { a }",
            "subscription { a @skip(if: true) }",
            "{ user { t: __typename } }",
        ] {
            assert_eq!(checked(query, true).unwrap_err().code, "GRAPHQL_VALIDATION_FAILED", "{query}");
        }
        let long = "a".repeat(ALIAS_BYTES + 1);
        assert!(refusal(&format!("{{ {long}: call }}")).contains("alias"));
    }
}
