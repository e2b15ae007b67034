//! Every number and duration of the configuration has a range, and values outside of it are errors that name the key.

use toml::{Table, Value};

use super::*;
use crate::config::Config;

fn defaults() -> Table {
    Table::try_from(Config::default()).unwrap()
}

/// The numeric keys of the configuration: numbers, and texts that are durations.
fn numeric(prefix: &str, table: &Table, keys: &mut Vec<(String, Unit)>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(inner) => numeric(&format!("{key}."), inner, keys),
            Value::Integer(_) => keys.push((key, Unit::Count)),
            Value::Float(_) => keys.push((key, Unit::Share)),
            Value::String(text) if text.parse::<Span>().is_ok() => keys.push((key, Unit::Time)),
            _ => {}
        }
    }
}

#[test]
fn every_numeric_key_has_a_range() {
    let mut keys = Vec::new();
    numeric("", &defaults(), &mut keys);
    let mut listed: Vec<_> = RANGES.iter().map(|range| (range.key.to_owned(), range.unit)).collect();
    keys.sort_by(|one, other| one.0.cmp(&other.0));
    listed.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(listed, keys);
    check(&defaults()).unwrap();
}

/// Loads the configuration with one value, as a start does, and with a TLS listener, without which TLS settings are refused.
fn load(key: &str, value: &str) -> Result<(), String> {
    let flags = [format!("{key}={value}"), "gateway.tls.listen=localhost:8443".to_owned()];
    Config::load(None, &flags).map(drop)
}

#[test]
fn zero_is_refused_or_has_a_documented_meaning() {
    for range in RANGES {
        let zero = if range.unit == Unit::Time { "0s" } else { "0" };
        let loaded = load(range.key, zero);
        match range.zero {
            Zero::Means(_) => assert_eq!(loaded, Ok(()), "{}", range.key),
            // A share of 0 exports no trace; the limiter has a check of its own.
            Zero::Ordinary if range.key == "trace.ratio" => assert_eq!(loaded, Ok(())),
            Zero::Ordinary => {
                let error = loaded.expect_err(range.key);
                assert!(error.contains(range.key), "{}: {error}", range.key);
            }
        }
    }
}

#[test]
fn absurd_value_is_refused_with_its_key() {
    for range in RANGES {
        let absurd: &[&str] = match range.unit {
            Unit::Time => &["20000000d", "213503982334d"],
            Unit::Count => &["9000000000000000000", "-1"],
            Unit::Share => &["1.5", "-0.5", "nan", "inf"],
        };
        for value in absurd {
            let error = load(range.key, value).expect_err(range.key);
            assert!(error.contains(range.key), "{}={value}: {error}", range.key);
        }
    }
}

#[test]
fn documentation_lists_the_ranges() {
    let text = include_str!("../../../docs/configuration.md");
    let listed: Vec<&str> = text.lines().skip_while(|line| *line != "## Permitted values").collect();
    let rows: Vec<String> = RANGES.iter().map(Range::row).collect();
    let found: Vec<&str> = listed.into_iter().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(found, rows, "docs/configuration.md must list:\n{}", rows.join("\n"));
}
