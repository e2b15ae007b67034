//! Messages for mistakes in a configuration: unknown keys and values of the wrong type.

use serde_path_to_error::{Path, Segment};
use toml::{Table, Value};

/// How many letters of a key may differ from the one that is suggested, and no more than half of them.
const MAX_DISTANCE: usize = 2;

/// The message for a key that `known`, the table that should hold it, does not contain. `prefix` is the path of the table
/// with a dot at its end.
pub(super) fn unknown_key(prefix: &str, key: &str, known: &Table) -> String {
    let suggestion =
        closest(key, known.keys().map(String::as_str)).map(|name| format!("; did you mean {prefix}{name}?"));
    format!("unknown key {prefix}{key}{}", suggestion.unwrap_or_default())
}

/// The name that a misspelled `word` probably means.
pub(crate) fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let distances = known.into_iter().map(|name| (distance(name, word), name));
    distances.filter(|(distance, _)| *distance <= MAX_DISTANCE.min(word.len() / 2)).min().map(|(_, name)| name)
}

/// Refuses keys that the defaults do not contain. A table without defaults has keys that the operator chooses.
pub(super) fn check_known(prefix: &str, table: &Table, defaults: &Table) -> Result<(), String> {
    for (name, value) in table {
        let default = defaults.get(name).ok_or_else(|| unknown_key(prefix, name, defaults))?;
        if let (Value::Table(inner), Value::Table(defaults)) = (value, default)
            && !defaults.is_empty()
        {
            check_known(&format!("{prefix}{name}."), inner, defaults)?;
        }
    }
    Ok(())
}

/// serde's reason for a refused value, in the terms of TOML and with an example. `table` is the whole configuration.
pub(super) fn in_plain_words(reason: &str, path: &Path, table: &Value) -> String {
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
