//! `cargo xtask new-service NAME`: creates a complete service from the template in `new_service/template`, and adds it to
//! the files that list the services.

mod edits;
mod name;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{checks::parts, session::Session};
use edits::Edit;

/// The files of the template, and their places. `{{name}}` stands for the name, `{{Name}}` for the type, `{{port}}` for
/// the port.
const TEMPLATE: [(&str, &str); 16] = [
    ("proto/trellis/{{name}}/v1/{{name}}.proto", include_str!("new_service/template/contract.proto.tmpl")),
    ("services/{{name}}/Cargo.toml", include_str!("new_service/template/Cargo.toml.tmpl")),
    ("services/{{name}}/src/lib.rs", include_str!("new_service/template/lib.rs.tmpl")),
    ("services/{{name}}/src/config.rs", include_str!("new_service/template/config.rs.tmpl")),
    ("services/{{name}}/src/domain.rs", include_str!("new_service/template/domain.rs.tmpl")),
    ("services/{{name}}/src/api.rs", include_str!("new_service/template/api.rs.tmpl")),
    ("services/{{name}}/src/service.rs", include_str!("new_service/template/service.rs.tmpl")),
    ("services/{{name}}/src/store.rs", include_str!("new_service/template/store.rs.tmpl")),
    ("services/{{name}}/src/store/sql.rs", include_str!("new_service/template/sql.rs.tmpl")),
    ("services/{{name}}/src/store/postgres.rs", include_str!("new_service/template/postgres.rs.tmpl")),
    ("services/{{name}}/src/store/sqlite.rs", include_str!("new_service/template/sqlite.rs.tmpl")),
    (
        "services/{{name}}/migrations/postgres/0001_{{name}}.sql",
        include_str!("new_service/template/migration.postgres.sql.tmpl"),
    ),
    (
        "services/{{name}}/migrations/sqlite/0001_{{name}}.sql",
        include_str!("new_service/template/migration.sqlite.sql.tmpl"),
    ),
    ("services/{{name}}/tests/{{name}}/main.rs", include_str!("new_service/template/tests_main.rs.tmpl")),
    ("services/{{name}}/tests/{{name}}/store.rs", include_str!("new_service/template/tests_store.rs.tmpl")),
    ("services/{{name}}/tests/{{name}}/api.rs", include_str!("new_service/template/tests_api.rs.tmpl")),
];
/// The implementation of `Wired` in the binary's table.
const WIRING: &str = include_str!("new_service/template/wiring.rs.tmpl");
/// The manifests that those of a new service are copied from, their name and port.
const MANIFESTS: (&str, &str, &str) = ("k8s/base/users.yaml", "users", "7001");

/// A service to create.
struct NewService {
    name: String,
    port: u16,
}

/// Creates the service that `args` names. Changes nothing if a file exists or a list has an unknown form.
pub(crate) fn run(session: &Session, args: &[String]) -> Result<bool, String> {
    let [name] = args else {
        return Err("usage: cargo xtask new-service NAME, for example cargo xtask new-service notes".to_owned());
    };
    name::check(session, name)?;
    let service = NewService { name: name.clone(), port: free_port(session)? };
    let created = service.files(session)?;
    let edited = service.edits(session)?;
    if let Some((path, _)) = created.iter().find(|(path, _)| session.root.join(path).exists()) {
        return Err(format!("{} exists already and is not overwritten", path.display()));
    }
    for (path, text) in created.iter().chain(&edited) {
        write(&session.root.join(path), text)?;
    }
    // Lines with the name are as long as the name; rustfmt breaks them.
    session.output(session.cargo().args(["fmt", "-p", name, "-p", "trellis", "-p", "proto"]))?;
    report(&service, &edited);
    Ok(true)
}

impl NewService {
    /// The new files.
    fn files(&self, session: &Session) -> Result<Vec<(PathBuf, String)>, String> {
        let mut files: Vec<_> =
            TEMPLATE.iter().map(|(path, text)| (PathBuf::from(self.fill(path)), self.fill(text))).collect();
        let (model, model_name, model_port) = MANIFESTS;
        let manifests = read(&session.root.join(model))?;
        let (_, manifests) = manifests.split_once('\n').ok_or(format!("{model} has one line only"))?;
        let manifests = manifests
            .replace(model_name, &self.name)
            .replace(&model_name.to_uppercase(), &self.name.to_uppercase())
            .replace(model_port, &self.port.to_string());
        let manifests = format!("# The {} service.\n{manifests}", self.name);
        files.push((PathBuf::from(format!("k8s/base/{}.yaml", self.name)), manifests));
        Ok(files)
    }

    /// The new contents of the files that list the services.
    fn edits(&self, session: &Session) -> Result<Vec<(PathBuf, String)>, String> {
        let mut edited: Vec<(PathBuf, String)> = Vec::new();
        for Edit { path, before, text } in edits::all(session, WIRING)? {
            let old = match edited.iter().find(|(of, _)| *of == path) {
                Some((_, text)) => text.clone(),
                None => read(&session.root.join(&path))?,
            };
            let new = edits::insert(&path, &old, before, &self.fill(text))?;
            edited.retain(|(of, _)| *of != path);
            edited.push((path, new));
        }
        Ok(edited)
    }

    fn fill(&self, template: &str) -> String {
        let (first, rest) = self.name.split_at(1);
        template
            .replace("{{name}}", &self.name)
            .replace("{{Name}}", &(first.to_uppercase() + rest))
            .replace("{{port}}", &self.port.to_string())
    }
}

/// The port after the highest default port of the services.
fn free_port(session: &Session) -> Result<u16, String> {
    let mut highest = 7_000;
    for name in parts::services(session)? {
        let config = read(&session.root.join(format!("services/{name}/src/config.rs")))?;
        let ports = config.split("\"127.0.0.1:").skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok());
        highest = ports.fold(highest, u16::max);
    }
    Ok(highest + 1)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| fs::write(path, text)).map_err(|e| format!("{}: {e}", path.display()))
}

#[expect(clippy::print_stdout, reason = "the next steps are the command's result")]
fn report(service: &NewService, edited: &[(PathBuf, String)]) {
    let NewService { name, port } = service;
    let edited: Vec<_> = edited.iter().map(|(path, _)| path.display().to_string()).collect();
    println!(
        "Created the service {name}, which listens on port {port}:
  proto/trellis/{name}/v1/{name}.proto
  services/{name}/
  k8s/base/{name}.yaml
Added it to:
  {}
Next:
  cargo xtask test -- --test {name}
                    runs its tests on both databases
  cargo xtask gen   writes the TypeScript types and docs/access.md
  cargo xtask ci    checks everything
  cargo run         starts it with the other parts
Then change its contract, and follow docs/writing-a-service.md. In Kubernetes it needs an identity and a database URL, as
k8s/README.md describes.",
        edited.join("\n  ")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_is_filled_completely() {
        let service = NewService { name: "notes".to_owned(), port: 7_004 };
        for (path, text) in TEMPLATE {
            let (path, text) = (service.fill(path), service.fill(text));
            assert!(!path.contains("{{") && !text.contains("{{"), "{path}");
        }
        assert_eq!(service.fill("{{name}} {{Name}} {{port}}"), "notes Notes 7004");
    }
}
