//! The import rules between the crates of the workspace. They do not apply to development dependencies: a test may start
//! the service that it calls.

use super::parts::services;
use crate::session::Session;

/// Each crate and the workspace crates that it may import.
const RULES: [(&str, &[&str]); 9] = [
    ("proto", &[]),
    ("trellis-transcode", &[]),
    ("trellis-graphql", &["trellis-transcode"]),
    ("kit", &["proto"]),
    ("kit-data", &["kit", "proto"]),
    ("gateway", &["kit", "trellis-graphql", "trellis-transcode"]),
    ("embedded", &["gateway"]),
    ("xtask", &[]),
    ("bench", &["kit", "proto"]),
];
/// The crates that every service may import.
const OF_SERVICES: &[&str] = &["kit", "kit-data", "proto"];
/// The binary may import every crate.
const ROOT: &str = "trellis";

pub(super) fn check(session: &Session) -> Result<(), String> {
    let mut cargo = session.cargo();
    cargo.args(["tree", "--workspace", "--offline", "--depth=1", "--edges=normal", "--prefix=depth"]);
    cargo.args(["--all-features", "--format= {p}"]);
    let tree = session.output(&mut cargo)?;
    super::none(&findings(&edges(&tree, &session.root.display().to_string()), &services(session)?))
}

/// Pairs of importer and imported crate from `cargo tree`: `0 users v0.1.0 (/path)`, then a line with 1 for each
/// dependency. Workspace crates have a path under `root`.
fn edges(tree: &str, root: &str) -> Vec<(String, Option<String>)> {
    let mut importer = String::new();
    let mut edges = Vec::new();
    for line in tree.lines().filter(|line| line.contains(&format!("({root}"))) {
        let mut words = line.split(' ');
        let (depth, name) = (words.next(), words.next().unwrap_or_default().to_owned());
        if depth == Some("0") {
            importer.clone_from(&name);
            edges.push((name, None));
        } else {
            edges.push((importer.clone(), Some(name)));
        }
    }
    edges
}

/// The crate's allowed imports.
fn allowed<'a>(importer: &str, services: &[String]) -> Option<&'a [&'a str]> {
    let listed = RULES.iter().find(|(name, _)| *name == importer).map(|(_, allowed)| *allowed);
    listed.or_else(|| services.iter().any(|service| service == importer).then_some(OF_SERVICES))
}

fn findings(edges: &[(String, Option<String>)], services: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    if edges.is_empty() {
        findings.push("cargo tree lists no crate of the workspace".to_owned());
    }
    for (importer, imported) in edges.iter().filter(|(importer, _)| importer != ROOT) {
        match (allowed(importer, services), imported) {
            (None, None) => {
                findings.push(format!("{importer} has no import rule: add one to xtask/src/checks/imports.rs"))
            }
            (Some(allowed), Some(imported)) if !allowed.contains(&imported.as_str()) => {
                findings.push(format!("{importer} must not import {imported}"));
            }
            _ => {}
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
0 auth v0.1.0 (/repo/services/auth)
1 kit v0.1.0 (/repo/services/kit)
1 tokio v1.48.0
1 users v0.1.0 (/repo/services/users)

0 trellis v0.1.0 (/repo/trellis)
1 auth v0.1.0 (/repo/services/auth)

0 search v0.1.0 (/repo/services/search)
";

    #[test]
    fn finding_names_a_service_that_imports_another() {
        let services = ["auth".to_owned(), "users".to_owned()];
        let found = findings(&edges(TREE, "/repo"), &services);
        assert_eq!(found[0], "auth must not import users");
        assert!(found[1].starts_with("search has no import rule: add one to "), "{found:?}");
    }

    #[test]
    fn empty_tree_is_a_finding() {
        assert_eq!(findings(&edges("", "/repo"), &[]).len(), 1);
    }
}
