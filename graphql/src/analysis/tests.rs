use async_graphql::parser::parse_query;

use super::*;

const LIMITS: QueryLimits =
    QueryLimits { depth: 4, complexity: 6, root_fields: 3, aliases: 2, directives: 2, argument_bytes: 1_000 };

const MOST_ARGUMENTS: usize = 3;

fn checked(query: &str, introspection: bool) -> Result<(), Refused> {
    check(&parse_query(query).unwrap(), &Map::new(), &LIMITS, MOST_ARGUMENTS, introspection)
}

fn refusal(query: &str) -> String {
    checked(query, true).unwrap_err().message
}

#[test]
fn operations_within_the_limits_pass() {
    for query in [
        "{ user { name friend { friend { name } } } }",
        "{ a: call b: call call }",
        "{ ...F } fragment F on Query { call }",
        "mutation { a: change change }",
        "subscription { stream { a b } }",
        "{ user { t: __typename } }",
        "{ __schema { types { fields { name } } } }",
    ] {
        assert_eq!(checked(query, true), Ok(()), "{query}");
    }
}

#[test]
fn operations_beyond_a_limit_are_refused() {
    for (query, key) in [
        ("{ user { a: x ...F } } fragment F on User { b: x c: x }", "aliases"),
        ("query @a { call @b ... @c { call } }", "directives"),
        ("query ($a: Int @a, $b: Int @b @c) { call }", "directives"),
        (&format!("{{ {} }}", "call ".repeat(61)), "complexity"),
        (&format!("{{ call(a: \"{}\") }}", "a".repeat(1_000)), "argument_bytes"),
        (&format!("{{ call @a(a: [{}]) }}", "1 ".repeat(40)), "argument_bytes"),
    ] {
        assert!(refusal(query).contains(&format!("gateway.graphql.{key}")), "{query}: {}", refusal(query));
    }
    // A second operation that is not executed is validated, too.
    assert!(refusal("query A { call } query B { a: call b: call c: call }").contains("aliases"));
    let long = "a".repeat(ALIAS_BYTES + 1);
    assert!(refusal(&format!("{{ {long}: call }}")).contains("alias"));
}

/// Merging and validation look for each argument among all of its field: the number of comparisons is the square of what
/// passes here.
#[test]
fn fields_have_no_more_arguments_than_the_schema() {
    let list = |count: usize| (0..count).map(|n| format!("a{n}: 1 ")).collect::<String>();
    assert_eq!(checked(&format!("{{ call({}) @skip({}) }}", list(3), list(3)), true), Ok(()));
    let many = list(5_000);
    for query in [
        format!("{{ call({many}) {{ a }} call({many}) {{ a }} }}"),
        format!("{{ call @skip({many}) }}"),
        format!("{{ ... @skip({many}) {{ call }} }}"),
        format!("{{ ...F @skip({many}) }} fragment F on Query {{ call }}"),
        format!("query @a({many}) {{ call }}"),
        format!("query ($a: Int @a({many})) {{ call }}"),
        format!("{{ ...F }} fragment F on Query @a({many}) {{ call }}"),
    ] {
        assert!(refusal(&query).contains("has 5000 arguments; no field of the schema has more than 3"), "{query:.80}");
    }
}

#[test]
fn repeated_fragments_count_each_time() {
    let mut query = "{ ...F0 } ".to_owned();
    for n in 0..60 {
        query += &format!("fragment F{n} on Query {{ ...F{m} ...F{m} }} ", m = n + 1);
    }
    query += "fragment F60 on Query { call }";
    assert!(refusal(&query).contains("gateway.graphql.complexity"), "{}", refusal(&query));
    assert!(refusal("{ ...F } fragment F on Query { ...G } fragment G on Query { ...F }").contains("itself"));
    assert!(refusal("{ ...F } fragment F on Query { ...G ...G }").contains("no fragment `G`"));
    let chain: String = (0..200).map(|n| format!("fragment F{n} on Query {{ ...F{} }} ", n + 1)).collect();
    assert!(refusal(&format!("{{ ...F0 }} {chain} fragment F200 on Query {{ call }}")).contains("levels"));
}

/// Each fragment is nested within the limit when it is analyzed, but not where another fragment spreads it.
#[test]
fn chained_fragments_count_all_their_levels() {
    let fragment = |n: usize| {
        let inner = if n == 0 { "call".to_owned() } else { format!("...F{}", n - 1) };
        format!("fragment F{n} on Query {}{{{inner}}}{} ", "{...".repeat(58), "}".repeat(58))
    };
    let fragments: String = (0..100).map(fragment).collect();
    let bottom_up: String = (0..100).map(|n| format!("...F{n} ")).collect();
    for query in [format!("{{ x {{ {bottom_up} }} ...F99 }} {fragments}"), format!("{{ ...F99 }} {fragments}")] {
        let document = parse_query(query).unwrap();
        let limits = QueryLimits { depth: 60, complexity: 100_000, ..LIMITS };
        let refuse = move || check(&document, &Map::new(), &limits, MOST_ARGUMENTS, true).unwrap_err().message;
        // Without the limit, the recursion overflows this stack.
        let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(refuse).unwrap();
        let message = thread.join().unwrap();
        assert!(message.contains("64 levels"), "{message}");
    }
}

#[test]
fn fragments_that_are_not_used_are_refused() {
    let query = format!("{{ call }} fragment U on Query {{ {} }}", "a ".repeat(10_000));
    assert!(refusal(&query).contains("`U` is not used"));
    assert!(refusal("{ call } fragment U on Query { ...V } fragment V on Query { ...U }").contains("not used"));
}

#[test]
fn introspection_in_circles_is_refused() {
    for query in [
        "{ __type(name: \"User\") { fields { type { fields { name } } } } }",
        "{ __schema { types { fields { ...T } } } } fragment T on __Field { type { fields { name } } }",
    ] {
        assert!(refusal(query).contains("circles"), "{query}");
    }
    assert_eq!(checked("{ __schema { types { name } } }", false).unwrap_err().code, "INTROSPECTION_DISABLED");
    assert_eq!(checked("{ user { __typename } }", false), Ok(()));
}
