use super::*;

/// The filter in one unambiguous notation.
fn shown(filter: &Filter) -> String {
    let list = |parts: &[Filter]| parts.iter().map(shown).collect::<Vec<_>>().join(" ");
    match filter {
        Filter::And(parts) => format!("(and {})", list(parts)),
        Filter::Or(parts) => format!("(or {})", list(parts)),
        Filter::Not(inner) => format!("(not {})", shown(inner)),
        Filter::Restriction(Restriction { field, comparison, value, .. }) => {
            format!("{field}{}{value}", comparison.as_str())
        }
    }
}

fn parsed(text: &str) -> String {
    shown(&Filter::parse(text).unwrap().unwrap())
}

fn refused(text: &str) -> String {
    Filter::parse(text).unwrap_err().to_string()
}

#[test]
fn or_binds_more_tightly_than_and() {
    assert_eq!(parsed("a=1 AND b=2 OR c=3"), "(and a=1 (or b=2 c=3))");
    assert_eq!(parsed("a=1 OR b=2 AND c=3"), "(and (or a=1 b=2) c=3)");
    assert_eq!(parsed("(a=1 AND b=2) OR c=3"), "(or (and a=1 b=2) c=3)");
    assert_eq!(parsed("a=1 b=2"), "(and a=1 b=2)");
    assert_eq!(parsed("NOT a=1 -b=2 NOT (c=3 OR d=4)"), "(and (not a=1) (not b=2) (not (or c=3 d=4)))");
}

#[test]
fn comparisons_and_values_are_read() {
    for comparison in ["=", "!=", "<", "<=", ">", ">=", ":"] {
        assert_eq!(parsed(&format!("a.b {comparison} -7.5")), format!("a.b{comparison}-7.5"));
    }
    assert_eq!(parsed(r#"t = "say \"AND\" \\ ( 'x'""#), r#"t=say "AND" \ ( 'x'"#);
    assert_eq!(parsed("t='users/*' u:* at>2026-12-01"), "(and t=users/* u:* at>2026-12-01)");
    assert_eq!(Filter::parse("  "), Ok(None));
}

#[test]
fn positions_count_characters_from_1() {
    let Some(Filter::Restriction(read)) = Filter::parse("  ñandú = \"x\"").unwrap() else { panic!("a restriction") };
    assert_eq!((read.field_at, read.value_at, read.is_quoted), (3, 11, true));
}

#[test]
fn malformed_filter_is_refused_with_its_position() {
    for (text, error) in [
        ("a", "character 2: a comparison such as = is expected after a"),
        ("a = ", "character 5: a value is expected instead of the end"),
        ("a = =", "character 5: a value is expected instead of ="),
        ("AND a=1", "character 1: a field is expected instead of AND"),
        ("a=1 OR", "character 7: a field is expected instead of the end"),
        ("(a=1", "character 5: a ) is missing"),
        ("a=1)", "character 4: there is no ( for this )"),
        ("a = \"x", "character 5: the text has no end: a \" is missing"),
        ("é=1 AND b=;", "character 11: ';' has no meaning here; put texts in quotes"),
        ("\"a\"=1", "character 1: a field is expected instead of a text in quotes"),
    ] {
        assert_eq!(refused(text), error, "{text}");
    }
}

#[test]
fn size_and_depth_of_a_filter_are_bounded() {
    let deep = |n: usize| format!("{}a=1{}", "(".repeat(n), ")".repeat(n));
    assert!(Filter::parse(&deep(MOST_DEPTH - 1)).is_ok());
    assert_eq!(refused(&deep(MOST_DEPTH)), "character 17: the filter is nested more than 16 deep");
    assert!(refused(&"NOT ".repeat(1_000)).contains("nested more than 16 deep"));
    assert!(Filter::parse(&"a=1 ".repeat(MOST_RESTRICTIONS)).is_ok());
    assert!(refused(&"a=1 ".repeat(MOST_RESTRICTIONS + 1)).contains("more than 64 restrictions"));
    assert!(refused(&" ".repeat(MOST_BYTES + 1)).contains("4097 bytes; at most 4096"));
}
