//! `cargo xtask ci`: the checks that need no running mesh. All of them run; each failure states its fix.

mod contracts;
mod imports;
mod language;
mod layers;
mod modules;
mod named;
mod names;
pub(crate) mod parts;
mod reasons;
mod sources;
mod statements;
mod test_names;

use std::{cell::OnceCell, collections::BTreeSet, fs, process::Command};

use crate::{
    provision::{self, Need},
    python::Python,
    session::Session,
    web::Web,
};

/// A check: its name, its fix, and the function that returns the findings as an error.
type Check<'a> = (&'a str, &'a str, Box<dyn Fn() -> Result<(), String> + 'a>);

/// Runs the checks with the names `selected`, or all of them. Returns true if every check passed.
pub(crate) fn run(session: &Session, selected: &[String]) -> Result<bool, String> {
    let tools = Tools { session, python: OnceCell::new(), web: OnceCell::new() };
    let mut checks = all(session, &tools);
    let names: Vec<&str> = checks.iter().map(|(name, ..)| *name).collect();
    if let Some(unknown) = selected.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("there is no check {unknown:?}; the checks are: {}", names.join(", ")));
    }
    checks.retain(|(name, ..)| selected.is_empty() || selected.iter().any(|selected| selected == name));
    let failed = checks.iter().filter(|check| !passes(check)).count();
    eprintln!();
    match (failed, checks.len()) {
        (0, 1) => eprintln!("the check passed"),
        (0, all) => eprintln!("all {all} checks passed"),
        (_, all) => eprintln!("{failed} of {all} checks failed"),
    }
    Ok(failed == 0)
}

fn all<'a>(session: &'a Session, tools: &'a Tools<'a>) -> Vec<Check<'a>> {
    vec![
        ("formatting", "run cargo fmt --all", Box::new(|| quiet(session, "fmt", fmt(session)))),
        (
            "clippy",
            "fix the code, or `expect` the lint with a reason",
            Box::new(|| quiet(session, "clippy", clippy(session))),
        ),
        ("contracts: lint", "follow the rule that buf names", Box::new(|| contracts::lint(session, tools.web()?))),
        (
            "contracts: breaking",
            "add instead of changing, or start a v2",
            Box::new(|| contracts::breaking(session, tools.web()?)),
        ),
        ("import rules", "see \"Crates\" in docs/ARCHITECTURE.md", Box::new(|| imports::check(session))),
        ("services", "see docs/writing-a-service.md", Box::new(|| parts::check(session))),
        ("layers", "see xtask/src/checks/layers/table.rs", Box::new(|| layers::check(session))),
        ("type names", "give each type a name of its own in its crate", Box::new(|| names::check(session))),
        ("reasons of errors", "add a constant to gateway/src/reason.rs", Box::new(|| reasons::check(session))),
        ("places", "move the code to the module that owns it", Box::new(|| sources::places(session))),
        ("machine paths and hosts", "use a path or host that every machine has", Box::new(|| sources::leaks(session))),
        (
            "statements that wait",
            "check the condition in a statement that starts after the lock is acquired",
            Box::new(|| statements::check(session)),
        ),
        ("named tests", "name a module or test that exists, with its path", Box::new(|| named::tests(session))),
        ("test names", "shorten the name to 60 characters", Box::new(|| test_names::check(session))),
        ("ports of tests", "use ports::reserve()", Box::new(|| sources::ports(session))),
        ("language", "use the term of docs/GLOSSARY.md", Box::new(|| language::check(session))),
        ("migrations", "give both databases the same files", Box::new(|| migrations(session))),
        (
            "manifests",
            "fix the files in k8s/",
            Box::new(|| quiet(session, "kubernetes", tools.python()?.script(session, "validate_k8s.py"))),
        ),
    ]
}

/// The programs in other languages, prepared for the first check that needs them.
struct Tools<'a> {
    session: &'a Session,
    python: OnceCell<Result<Python, String>>,
    web: OnceCell<Result<Web, String>>,
}

impl Tools<'_> {
    fn python(&self) -> Result<&Python, String> {
        let prepare = || {
            provision::provision(self.session, &[Need::Python])?;
            Python::prepare(self.session)
        };
        self.python.get_or_init(prepare).as_ref().map_err(Clone::clone)
    }

    fn web(&self) -> Result<&Web, String> {
        let copy = || Web::copy(self.session, self.python()?);
        self.web.get_or_init(copy).as_ref().map_err(Clone::clone)
    }
}

fn passes((name, fix, check): &Check<'_>) -> bool {
    match check() {
        Ok(()) => {
            eprintln!("ok      {name}");
            true
        }
        Err(findings) => {
            eprintln!("{}\nFAILED  {name}: {fix}", findings.trim_end());
            false
        }
    }
}

/// Runs a command and shows its output only if it fails.
fn quiet(session: &Session, name: &str, mut command: Command) -> Result<(), String> {
    session.must(name, &mut command).map(drop)
}

fn fmt(session: &Session) -> Command {
    let mut cargo = session.cargo();
    cargo.args(["fmt", "--all", "--check"]);
    cargo
}

fn clippy(session: &Session) -> Command {
    let mut cargo = session.cargo();
    cargo.args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]);
    cargo
}

/// Checks that each service has migrations of the same names for both databases.
fn migrations(session: &Session) -> Result<(), String> {
    let services = session.root.join("services");
    let mut findings = Vec::new();
    for service in fs::read_dir(&services).map_err(|e| format!("{}: {e}", services.display()))?.flatten() {
        let folder = service.path().join("migrations");
        let names = |database: &str| -> BTreeSet<String> {
            let entries = fs::read_dir(folder.join(database)).into_iter().flatten().flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        };
        for name in names("postgres").symmetric_difference(&names("sqlite")) {
            findings.push(format!("{}: {name} exists for one database only", service.path().display()));
        }
    }
    none(&findings)
}

fn none(findings: &[String]) -> Result<(), String> {
    if findings.is_empty() { Ok(()) } else { Err(findings.join("\n")) }
}
