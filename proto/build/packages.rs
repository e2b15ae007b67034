//! Finds the contracts, and generates the modules of their packages.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
};

use prost_reflect::DescriptorPool;

/// The folder of the contracts: `trellis/<name>/<version>/<file>.proto`.
const ROOT: &str = "trellis";

/// The paths of all contracts.
pub(crate) fn contracts() -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut open = vec![ROOT.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = format!("{folder}/{}", entry?.file_name().to_string_lossy());
            if Path::new(&path).is_dir() {
                open.push(path);
            } else if path.ends_with(".proto") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Generates a module for each package, and the list of the services. The package of a service is
/// `trellis.<name>.<version>`.
pub(crate) fn generate(pool: &DescriptorPool) -> Result<String, String> {
    let mut packages: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut services = BTreeSet::new();
    let files: Vec<_> = pool.files().collect();
    for file in &files {
        let Some(rest) = file.package_name().strip_prefix("trellis.") else { continue };
        let (name, version) = rest.split_once('.').filter(|(_, version)| !version.contains('.')).ok_or(format!(
            "{}: the package {} is not trellis.<name>.<version>",
            file.name(),
            file.package_name()
        ))?;
        // A package of extensions only has no code.
        if file.messages().next().is_some() || file.services().next().is_some() {
            packages.entry(name).or_default().insert(version);
        }
        if file.services().next().is_some() {
            services.insert(name);
        }
    }
    let services: Vec<_> = services.into_iter().collect();
    let modules: Vec<_> = packages.iter().map(|(name, versions)| module(name, versions)).collect();
    Ok(format!(
        "/// The generated code, in the packages of the contracts.\n\
         #[expect(missing_docs, clippy::all, clippy::pedantic, clippy::allow_attributes, reason = \"generated\")]\n\
         pub mod trellis {{\n{}}}\n\n\
         /// The services of the contracts: `users` for `trellis.users.v1.UsersService`.\n\
         pub const SERVICES: [&str; {}] = {services:?};\n",
        modules.concat(),
        services.len(),
    ))
}

fn module(name: &str, versions: &BTreeSet<&str>) -> String {
    let include = |version: &&str| {
        let file = format!("/trellis.{name}.{version}.rs");
        format!("pub mod {version} {{ include!(concat!(env!(\"OUT_DIR\"), {file:?})); }}\n")
    };
    format!("pub mod {name} {{\n{}}}\n", versions.iter().map(include).collect::<String>())
}
