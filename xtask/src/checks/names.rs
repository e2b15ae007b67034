//! Type names are unique within their crate, so that a reader who searches for a name finds one type.

use std::{collections::BTreeMap, fs};

use super::modules::{self, Module, Read};
use crate::session::Session;

pub(super) fn check(session: &Session) -> Result<(), String> {
    let read = |file: &str| fs::read_to_string(session.root.join(file)).ok();
    let mut findings = Vec::new();
    for root in roots(session)? {
        findings.extend(duplicates_in(&root, &read)?);
    }
    super::none(&findings)
}

/// The roots of all crates of the workspace.
fn roots(session: &Session) -> Result<Vec<String>, String> {
    let files = super::sources::files(session, &["*/src/lib.rs", "*/src/main.rs"])?;
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

fn duplicates_in(root: &str, read: &Read<'_>) -> Result<Vec<String>, String> {
    Ok(duplicates(&modules::of_crate(root, read)?))
}

fn duplicates(modules: &[Module]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for module in modules {
        for (name, line) in &module.types {
            let place = format!("{}:{line}", module.file);
            let known = places.entry(name).or_default();
            // A file may be loaded as several modules.
            if !known.contains(&place) {
                known.push(place);
            }
        }
    }
    let several = places.into_iter().filter(|(_, places)| places.len() > 1);
    several
        .map(|(name, places)| format!("{}: {name} is also declared at {}", places[0], places[1..].join(", ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(first: &str, second: &str) -> Vec<String> {
        let read = |file: &str| match file {
            "a/src/lib.rs" => Some("mod b; mod c;".to_owned()),
            "a/src/b.rs" => Some(first.to_owned()),
            "a/src/c.rs" => Some(second.to_owned()),
            _ => None,
        };
        duplicates_in("a/src/lib.rs", &read).unwrap()
    }

    #[test]
    fn duplicate_name_is_found_with_both_places() {
        for second in ["struct Config;", "enum Config {}", "trait Config {}", "type Config = ();"] {
            assert_eq!(
                findings("\nstruct Config;", second),
                ["a/src/b.rs:2: Config is also declared at a/src/c.rs:1"],
                "{second}"
            );
        }
    }

    #[test]
    fn test_types_and_files_that_are_loaded_twice_are_no_duplicates() {
        assert_eq!(findings("struct Config;", "#[cfg(test)] mod tests { struct Config; }"), [""; 0]);
        let twice = "#[path = \"d.rs\"] mod d;";
        let read = |file: &str| match file {
            "a/src/lib.rs" => Some("mod b; mod c;".to_owned()),
            "a/src/d.rs" => Some("struct D;".to_owned()),
            _ => Some(twice.to_owned()),
        };
        assert_eq!(duplicates_in("a/src/lib.rs", &read).unwrap(), [""; 0]);
    }
}
