//! Messages for mistakes in a configuration: unknown keys and values of the wrong type.

use serde_path_to_error::{Path, Segment};
use toml::{Table, Value};

use super::{ANY, key};

/// How many letters of a key may differ from the one that is suggested, and no more than half of them.
const MAX_DISTANCE: usize = 2;

/// The message for a key that `known`, the table that should hold it, does not contain. `prefix` is the path of the table
/// with a dot at its end.
pub(super) fn unknown_key(prefix: &str, key: &str, known: &Table) -> String {
    let suggestion =
        closest(key, known.keys().map(String::as_str)).map(|name| format!("; did you mean {prefix}{name}?"));
    format!("unknown key {prefix}{}{}", key::quoted(key), suggestion.unwrap_or_default())
}

/// The schema of a key in the table `known`, at the path `prefix`.
pub(super) fn find<'a>(prefix: &str, name: &str, known: &'a Table) -> Result<&'a Value, String> {
    known.get(name).or(known.get(ANY)).ok_or_else(|| unknown_key(prefix, name, known))
}

/// The message for a key that is used as a table and is none.
pub(super) fn no_table(prefix: &str, name: &str) -> String {
    with_dots(&format!("{prefix}{} is not a table", key::quoted(name)))
}

/// A message about a part of a key that may belong to the name before it.
pub(super) fn with_dots(message: &str) -> String {
    format!("{message}; {DOTS}")
}

/// What to do with a name that has dots.
const DOTS: &str = "a name with dots is in quotes, such as gateway.external.\"acme.shop\".to";

/// The name that a misspelled `word` probably means.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.into_iter().map(|name| (distance(name, word), name));
    distances.filter(|(distance, _)| *distance <= MAX_DISTANCE.min(word.len() / 2)).min().map(|(_, name)| name)
}

/// Refuses keys that the defaults do not contain. A table without defaults has keys that the operator chooses.
pub(super) fn check_known(prefix: &str, table: &Table, defaults: &Table) -> Result<(), String> {
    for (name, value) in table {
        // serde refuses unknown keys of the operator's own entries.
        if defaults.contains_key(ANY) {
            return Ok(());
        }
        let default = defaults.get(name).ok_or_else(|| unknown_key(prefix, name, defaults))?;
        if let (Value::Table(inner), Value::Table(defaults)) = (value, default)
            && !defaults.is_empty()
        {
            check_known(&format!("{prefix}{}.", key::quoted(name)), inner, defaults)?;
        }
    }
    Ok(())
}

/// serde's reason for a refused value, in the terms of TOML and with an example. `table` is the whole configuration.
pub(super) fn in_plain_words(reason: &str, path: &Path, table: &Value) -> String {
    if let Some(field) = reason.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
        // The path ends with the field, or with its table.
        let is_table = |value: Option<&Value>| value.is_some_and(Value::is_table);
        let place = at(path, table);
        let hint = is_table(place.and_then(|place| place.get(field))) || is_table(place) && ends_with(path, field);
        return if hint { with_dots(reason) } else { reason.to_owned() };
    }
    let Some((found, wanted)) = reason.split_once(", expected ").filter(|_| reason.starts_with("invalid type: "))
    else {
        return reason.to_owned();
    };
    let plain = match wanted {
        "a sequence" => match at(path, table) {
            Some(value) if !matches!(value, Value::Table(_)) => format!("a list, such as [{value}]"),
            _ => "a list, such as [\"a\", \"b\"]".to_owned(),
        },
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a map" => "a table".to_owned(),
        _ if wanted.starts_with("struct ") => "a table".to_owned(),
        _ => return reason.to_owned(),
    };
    format!("{found}, expected {plain}")
}

fn ends_with(path: &Path, field: &str) -> bool {
    matches!(path.iter().next_back(), Some(Segment::Map { key }) if key == field)
}

fn at<'a>(path: &Path, table: &'a Value) -> Option<&'a Value> {
    path.iter().try_fold(table, |value, segment| match segment {
        Segment::Map { key } => value.get(key),
        Segment::Seq { index } => value.get(*index),
        _ => None,
    })
}

/// The Levenshtein distance: how many letters have to be added, removed or replaced.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_letters() {
        for (one, other, expected) in
            [("", "", 0), ("listen", "lisen", 1), ("listen", "listne", 2), ("", "abc", 3), ("kitten", "sitting", 3)]
        {
            assert_eq!((distance(one, other), distance(other, one)), (expected, expected), "{one} {other}");
        }
    }
}
