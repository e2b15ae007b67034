//! Checks that every service has what no check derives: a contract, a row in the binary's table, and manifests.

use std::fs;

use crate::session::Session;

/// The binary's table of services.
pub(crate) const TABLE: &str = "trellis/src/services.rs";

/// A listing that names every service.
struct Listing {
    /// `{}` stands for the name.
    path: &'static str,
    /// The text that the file must contain. Empty: it must exist.
    text: &'static str,
}

const LISTINGS: [Listing; 15] = [
    Listing { path: "proto/trellis/{}/v1/{}.proto", text: "package trellis.{}.v1;" },
    Listing { path: "services/{}/migrations/sqlite", text: "" },
    Listing { path: "services/{}/tests/{}/main.rs", text: "" },
    Listing { path: "trellis/Cargo.toml", text: "\n{}" },
    Listing { path: TABLE, text: "            {}: " },
    Listing { path: "trellis/src/config/ranges.rs", text: "(\"{}.pool_size\"" },
    Listing { path: "docs/configuration.md", text: "\n| `{}.pool_size` |" },
    Listing { path: "proto/examples/access_table/table.rs", text: "    (\"{}.v1." },
    Listing { path: "k8s/base/{}.yaml", text: "app.kubernetes.io/name: {}" },
    Listing { path: "k8s/README.md", text: "  --from-literal={}=" },
    Listing { path: "k8s/base/kustomization.yaml", text: "  - {}.yaml" },
    Listing { path: "k8s/overlays/dev/kustomization.yaml", text: "{name: {}," },
    Listing { path: "k8s/overlays/production/kustomization.yaml", text: "{name: {}," },
    Listing { path: "k8s/base/config.toml", text: "\n[{}]\n" },
    Listing { path: "k8s/base/config.toml", text: "\n{} = \"http://{}:" },
];

/// The services: the folders of `services/` with migrations. The shared libraries have none.
pub(crate) fn services(session: &Session) -> Result<Vec<String>, String> {
    let folder = session.root.join("services");
    let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?.flatten();
    let with_migrations = entries.filter(|entry| entry.path().join("migrations").is_dir());
    let mut names: Vec<_> = with_migrations.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Checks [`LISTINGS`] for every service.
pub(super) fn check(session: &Session) -> Result<(), String> {
    let mut findings = Vec::new();
    for name in services(session)? {
        let read = |path: &str| {
            let path = session.root.join(path);
            if path.is_dir() { Some(String::new()) } else { fs::read_to_string(path).ok() }
        };
        findings.extend(LISTINGS.iter().filter_map(|listing| finding(listing, &name, read)));
    }
    super::none(&findings)
}

fn finding(listing: &Listing, name: &str, read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let (path, text) = (listing.path.replace("{}", name), listing.text.replace("{}", name));
    match read(&path) {
        None => Some(format!("{path} is missing: the service {name} needs it")),
        Some(found) if !found.contains(&text) => {
            Some(format!("{path} does not name the service {name}: add {:?}", text.trim()))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_names_the_file_to_edit() {
        let listing = Listing { path: "a/{}.rs", text: "[{}]" };
        assert_eq!(finding(&listing, "notes", |_| Some("x [notes]".to_owned())), None);
        let found = finding(&listing, "notes", |_| None).unwrap();
        assert_eq!(found, "a/notes.rs is missing: the service notes needs it");
        let found = finding(&listing, "notes", |_| Some("[users]".to_owned())).unwrap();
        assert_eq!(found, "a/notes.rs does not name the service notes: add \"[notes]\"");
    }
}
