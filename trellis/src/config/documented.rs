//! The pages of `docs/` state the meaning of every key that `trellis config` prints.

use std::{fs, path::Path};

use toml::{Table, Value};

use super::Config;
use crate::services::Service;

/// The section that lists ranges, and states no meaning.
const RANGES: &str = "## Permitted values";

/// The keys of a table. An empty table is a key too: the operator chooses the names in it.
fn keys(prefix: &str, table: &Table, found: &mut Vec<String>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(inner) if !inner.is_empty() => keys(&format!("{key}."), inner, found),
            _ => found.push(key),
        }
    }
}

/// Whether a line states the meaning of a key: a sentence, or a row of a table whose last cell is not empty. A row
/// `<service>.listen` describes the key of every service.
fn describes(line: &str, key: &str) -> bool {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let is_service = Service::ALL.iter().any(|service| service.name() == section);
    let is_named = line.contains(&format!("`{key}`")) || is_service && line.contains(&format!("`<service>.{name}`"));
    let is_empty = line.starts_with('|') && line.trim_end_matches('|').ends_with("| ");
    is_named && !is_empty
}

#[test]
fn documentation_describes_every_key() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let pages = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let texts: Vec<String> = pages.map(|path| fs::read_to_string(path).unwrap()).collect();
    let lines = || texts.iter().flat_map(|text| text.split(RANGES).next().unwrap_or_default().lines());
    let mut all = Vec::new();
    keys("", &Table::try_from(Config::default()).unwrap(), &mut all);
    assert!(all.len() > 100, "{all:?}");
    all.retain(|key| !lines().any(|line| describes(line, key)));
    assert_eq!(all, [""; 0], "no page of docs/ states the meaning of these keys");
}

#[test]
fn row_without_a_meaning_describes_no_key() {
    assert!(describes("| `a.b` | 1 | the meaning |", "a.b"));
    assert!(describes("Set `a.b`, so that", "a.b"));
    assert!(describes("| `<service>.listen` | the address |", "users.listen"));
    for line in ["| `a.b` | 1 | |", "a.b = 1", "| `a.bc` | 1 | another key |"] {
        assert!(!describes(line, "a.b"), "{line}");
    }
    assert!(!describes("| `<service>.listen` | the address |", "gateway.listen"));
}
