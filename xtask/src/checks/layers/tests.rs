use std::collections::BTreeMap;

use super::*;

const SAMPLE: Crate = Crate {
    folder: "a",
    layers: &[
        Layer { modules: &["api"], reason: "serves" },
        Layer { modules: &["store", "cache"], reason: "keeps" },
        Layer { modules: &["domain"], reason: "decides" },
    ],
};

/// The findings in a crate of these modules.
fn findings(modules: [(&str, &str); 4], root: &str) -> Vec<String> {
    let declared = modules.map(|(name, _)| format!("mod {name};\n")).concat();
    let mut files: BTreeMap<String, String> =
        modules.into_iter().map(|(name, text)| (format!("a/src/{name}.rs"), text.to_owned())).collect();
    files.insert("a/src/lib.rs".to_owned(), declared + root);
    SAMPLE.findings(&|file| files.get(file).cloned()).unwrap()
}

#[test]
fn downward_imports_pass() {
    let modules = [
        ("api", "use crate::{domain::D, store::S};"),
        ("store", "use crate::cache::C; use crate::D;"),
        ("cache", ""),
        ("domain", "#[cfg(test)] mod tests { use crate::api::A; }"),
    ];
    assert_eq!(findings(modules, "pub use domain::D; use api::A;"), [""; 0]);
}

#[test]
fn upward_import_is_found_with_its_line() {
    for planted in ["\nuse crate::{domain::D, api::A};", "\nfn f() { crate::api::a() }", "\nuse super::api;"] {
        let found = findings([("api", ""), ("store", planted), ("cache", ""), ("domain", "")], "");
        let expected = "a/src/store.rs:2: store (keeps) imports api, which is in a higher layer (serves): ";
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
}

#[test]
fn import_of_the_root_is_found() {
    let found =
        findings([("api", "use crate::Service;"), ("store", ""), ("cache", ""), ("domain", "")], "struct Service;");
    assert!(found.len() == 1 && found[0].starts_with("a/src/api.rs:1: api imports an item of the crate's root"));
}

#[test]
fn cycle_within_a_layer_is_found() {
    let modules = [
        ("api", "use crate::store::S;"),
        ("store", "use crate::cache::C;"),
        ("cache", "use crate::store::S;"),
        ("domain", ""),
    ];
    let found = findings(modules, "");
    let expected = "a/src/store.rs:1: store imports cache\na/src/cache.rs:1: cache imports store\n";
    assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
}

#[test]
fn module_without_a_layer_is_found() {
    let found = findings([("api", ""), ("store", ""), ("cache", ""), ("other", "")], "");
    assert!(found[0].starts_with("a: the module other has no layer: "), "{found:?}");
    assert!(found[1].starts_with("a: the module domain of "), "{found:?}");
}
