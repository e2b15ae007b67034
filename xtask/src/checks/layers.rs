//! The layers of each crate: a module imports only from its own layer and from lower ones, and no modules import one
//! another in a cycle. The imports come from the code, the layers from the [`table`].

mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::{
    modules::{self, Module, Read},
    parts,
};
use crate::session::Session;
use table::{CRATES, SERVICE};

/// The file with the layers.
const TABLE: &str = "xtask/src/checks/layers/table.rs";

/// A crate and its layers, the highest first. The root of the crate is above them and may import every module.
struct Crate<'a> {
    /// The folder, from the root of the workspace.
    folder: &'a str,
    layers: &'static [Layer],
}

/// Modules that may import one another, and all modules of lower layers.
struct Layer {
    modules: &'static [&'static str],
    /// What the layer is for.
    reason: &'static str,
}

pub(super) fn check(session: &Session) -> Result<(), String> {
    let read = |file: &str| fs::read_to_string(session.root.join(file)).ok();
    let mut findings = missing(session);
    for of_crate in CRATES {
        findings.extend(of_crate.findings(&read)?);
    }
    for name in parts::services(session)? {
        let folder = format!("services/{name}");
        if CRATES.iter().all(|known| known.folder != folder) {
            findings.extend(Crate { folder: &folder, layers: SERVICE }.findings(&read)?);
        }
    }
    super::none(&findings)
}

/// The crates that have no layers. Each library in `services/` has them, `xtask`, the gateway,
/// `graphql` and `transcode`.
fn missing(session: &Session) -> Vec<String> {
    let libraries = fs::read_dir(session.root.join("services")).into_iter().flatten().flatten();
    let libraries = libraries
        .filter(|entry| entry.path().join("Cargo.toml").exists() && !entry.path().join("migrations").is_dir())
        .map(|entry| format!("services/{}", entry.file_name().to_string_lossy()));
    let folders = libraries.chain(["gateway", "graphql", "transcode", "xtask"].map(str::to_owned));
    let has_layers = |folder: &String| CRATES.iter().any(|known| known.folder == *folder);
    folders
        .filter(|folder| !has_layers(folder))
        .map(|folder| format!("{folder}: the crate has no layers: add it to {TABLE}"))
        .collect()
}

/// An import of a module by another module of the crate.
struct Import {
    from: String,
    to: String,
    /// `file:line`.
    at: String,
}

/// The name of the crate's root in findings.
const ROOT: &str = "the crate's root";

impl Crate<'_> {
    fn findings(&self, read: &Read<'_>) -> Result<Vec<String>, String> {
        let roots = ["lib", "main"].map(|name| format!("{}/src/{name}.rs", self.folder));
        let root = roots.iter().find(|root| read(root).is_some());
        let root = root.ok_or_else(|| format!("{}: the folder has no lib.rs and no main.rs", self.folder))?;
        let modules = modules::of_crate(root, read)?;
        let imports = imports(&modules);
        let mut findings = self.unlisted(&modules);
        findings.extend(imports.iter().filter_map(|import| self.upward(import)));
        findings.extend(cycle(&imports));
        Ok(findings)
    }

    /// Modules without a layer, and layers of modules that do not exist.
    fn unlisted(&self, modules: &[Module]) -> Vec<String> {
        let existing: BTreeSet<&str> =
            modules.iter().filter_map(|module| module.path.first()).map(String::as_str).collect();
        let listed: BTreeSet<&str> = self.layers.iter().flat_map(|layer| layer.modules).copied().collect();
        let without = existing
            .difference(&listed)
            .map(|name| format!("{}: the module {name} has no layer: add it to {TABLE}", self.folder));
        let gone = listed
            .difference(&existing)
            .map(|name| format!("{}: the module {name} of {TABLE} does not exist: remove it", self.folder));
        without.chain(gone).collect()
    }

    /// The position of a module's layer, from above.
    fn position(&self, module: &str) -> Option<usize> {
        self.layers.iter().position(|layer| layer.modules.contains(&module))
    }

    fn upward(&self, Import { from, to, at }: &Import) -> Option<String> {
        let fix = "move what both need to a lower layer, or pass it as an argument";
        if to == ROOT {
            return Some(format!("{at}: {from} imports an item of {ROOT}, which is above all layers: {fix}"));
        }
        let (lower, higher) = (self.position(from)?, self.position(to)?);
        (higher < lower).then(|| {
            let reason = |at: usize| self.layers[at].reason;
            format!(
                "{at}: {from} ({}) imports {to}, which is in a higher layer ({}): {fix}",
                reason(lower),
                reason(higher)
            )
        })
    }
}

/// The imports between the top-level modules of a crate, and from them to its root. A re-export of the root counts as an
/// import of the module that it comes from.
fn imports(modules: &[Module]) -> Vec<Import> {
    let names: BTreeSet<&str> = modules.iter().filter_map(|module| module.path.first()).map(String::as_str).collect();
    let root = modules.iter().find(|module| module.path.is_empty());
    let exports: BTreeMap<&str, &str> = root
        .into_iter()
        .flat_map(|root| &root.exports)
        .filter_map(|(name, path)| Some((name.as_str(), path.first()?.as_str())))
        .collect();
    let module_of = |path: &[String]| {
        let first = path.first().map(String::as_str)?;
        let found = names.get(first).or_else(|| exports.get(first));
        Some(found.map_or(ROOT, |name| *name).to_owned())
    };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for module in modules {
        let Some(from) = module.path.first() else { continue };
        for (path, line) in &module.imports {
            let to = module_of(path).unwrap_or_else(|| ROOT.to_owned());
            let at = format!("{}:{line}", module.file);
            // A file may be loaded as several modules.
            if to != *from && seen.insert((at.clone(), to.clone())) {
                found.push(Import { from: from.clone(), to, at });
            }
        }
    }
    found
}

/// A cycle of imports, if there is one.
fn cycle(imports: &[Import]) -> Option<String> {
    let mut left: Vec<&Import> = imports.iter().filter(|import| import.to != ROOT).collect();
    // Removes the imports of modules that import nothing else, until only cycles and their importers are left.
    loop {
        let importers: BTreeSet<&str> = left.iter().map(|import| import.from.as_str()).collect();
        let before = left.len();
        left.retain(|import| importers.contains(import.to.as_str()));
        if left.len() == before {
            break;
        }
    }
    let mut way = vec![*left.first()?];
    loop {
        let last = way.last()?.to.as_str();
        if let Some(start) = way.iter().position(|import| import.from == last) {
            let steps = way[start..].iter().map(|Import { from, to, at }| format!("{at}: {from} imports {to}"));
            let steps = steps.collect::<Vec<_>>().join("\n");
            return Some(format!("{steps}\nthese imports are a cycle: move what they share to a module below them"));
        }
        way.push(left.iter().copied().find(|import| import.from == last)?);
    }
}

#[cfg(test)]
mod tests;
