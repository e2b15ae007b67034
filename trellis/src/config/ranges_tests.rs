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
            Some(_) => assert_eq!(loaded, Ok(()), "{}", range.key),
            // A share of 0 exports no trace; the limiter has a check of its own.
            None if range.key == "trace.ratio" => assert_eq!(loaded, Ok(())),
            None => {
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

/// One step below and above each range: the table is the only check of most keys.
#[test]
fn bounds_of_each_range_are_enforced() {
    for range in RANGES.iter().filter(|range| range.unit != Unit::Share) {
        let unit = if range.unit == Unit::Time { "ms" } else { "" };
        let mut outside = vec![(range.most + 1, "is above the maximum of")];
        // 0 may have a meaning of its own.
        if range.least > 1 || (range.least == 1 && range.zero.is_none()) {
            outside.push((range.least - 1, "is below the minimum of"));
        }
        for (value, why) in outside {
            let error = load(range.key, &format!("{value}{unit}")).expect_err(range.key);
            assert!(error.contains(&format!("{}: ", range.key)), "{value}: {error}");
            // A narrow type of the key may refuse a value before its range does.
            assert!(error.contains(why) || error.contains("invalid value"), "{}: {error}", range.key);
        }
    }
}

/// The timeout of the SDK is 20 s. Regression: with 10 s a lost response ended the session of a client that waited for it.
#[test]
fn least_refresh_grace_is_longer_than_a_client_waits() {
    let error = load("auth.refresh_grace", "29s").unwrap_err();
    assert_eq!(error, "configuration: auth.refresh_grace: 29s is below the minimum of 30s");
    load("auth.refresh_grace", "30s").unwrap();
}

#[test]
fn zero_names_the_key_that_turns_the_feature_off() {
    let error = load("users.cooling_handles", "0").unwrap_err();
    assert!(
        error.ends_with("0 is below the minimum of 1; to reserve none, set users.handle_cooling = \"0s\""),
        "{error}"
    );
    let error = load("users.cooling_handles", "1001").unwrap_err();
    assert!(error.ends_with("is above the maximum of 1000"), "{error}");
}

/// Pairs of keys whose values must be in order. One is set beyond the default of the other.
#[test]
fn settings_that_contradict_each_other_are_refused() {
    for (setting, expected) in [
        ("auth.refresh_lifetime=1m", "auth.access_lifetime: 15m is above auth.refresh_lifetime, 1m"),
        ("auth.session_lifetime=1d", "auth.refresh_lifetime: 30d is above auth.session_lifetime, 1d"),
        ("balance.retry.most_backoff=1ms", "balance.retry.backoff: 50ms is above balance.retry.most_backoff, 1ms"),
        ("jobs.most_backoff=500ms", "jobs.backoff: 1s is above jobs.most_backoff, 500ms"),
        ("messaging.streams_per_user=2", "messaging.streams_per_session: 8 is above messaging.streams_per_user, 2"),
        ("balance.shed.most_calls=8", "balance.shed.least_calls: 32 is above balance.shed.most_calls, 8"),
    ] {
        assert_eq!(Config::load(None, &[setting.to_owned()]).unwrap_err(), format!("configuration: {expected}"));
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
