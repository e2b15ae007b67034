//! `cargo xtask ci`: the checks that need no running mesh. All of them run; each failure states its fix.

mod contracts;
mod imports;
mod language;
mod layers;
mod modules;
mod named;
mod names;
pub(crate) mod parts;
mod sources;
mod statements;

use std::{collections::BTreeSet, fs, process::Command};

use crate::{
    provision::{self, Need},
    python::Python,
    session::Session,
    web::Web,
};

/// A check: its name, its fix, and the function that returns the findings as an error.
type Check<'a> = (&'a str, &'a str, Box<dyn Fn() -> Result<(), String> + 'a>);

/// Runs all checks. Returns true if every check passed.
pub(crate) fn run(session: &Session) -> Result<bool, String> {
    provision::provision(session, &[Need::Python])?;
    let python = Python::prepare(session)?;
    let web = Web::copy(session, &python);
    let with_web = |check: fn(&Session, &Web) -> Result<(), String>| {
        web.as_ref().map_err(Clone::clone).and_then(|web| check(session, web))
    };

    let checks: Vec<Check<'_>> = vec![
        ("formatting", "run cargo fmt --all", Box::new(|| quiet(session, "fmt", fmt(session)))),
        (
            "clippy",
            "fix the code, or `expect` the lint with a reason",
            Box::new(|| quiet(session, "clippy", clippy(session))),
        ),
        ("contracts: lint", "follow the rule that buf names", Box::new(|| with_web(contracts::lint))),
        ("contracts: breaking", "add instead of changing, or start a v2", Box::new(|| with_web(contracts::breaking))),
        ("import rules", "see \"Crates\" in docs/ARCHITECTURE.md", Box::new(|| imports::check(session))),
        ("services", "see docs/writing-a-service.md", Box::new(|| parts::check(session))),
        ("layers", "see xtask/src/checks/layers/table.rs", Box::new(|| layers::check(session))),
        ("type names", "give each type a name of its own in its crate", Box::new(|| names::check(session))),
        ("places", "move the code to the module that owns it", Box::new(|| sources::places(session))),
        ("machine paths and hosts", "use a path or host that every machine has", Box::new(|| sources::leaks(session))),
        (
            "statements that wait",
            "check the condition in a statement that starts after the lock is acquired",
            Box::new(|| statements::check(session)),
        ),
        ("named tests", "name a test that exists", Box::new(|| named::tests(session))),
        ("ports of tests", "use ports::reserve()", Box::new(|| sources::ports(session))),
        ("language", "use the term of docs/GLOSSARY.md", Box::new(|| language::check(session))),
        ("migrations", "give both databases the same files", Box::new(|| migrations(session))),
        (
            "manifests",
            "fix the files in k8s/",
            Box::new(|| quiet(session, "kubernetes", python.script(session, "validate_k8s.py"))),
        ),
    ];
    let failed = checks.iter().filter(|check| !passes(check)).count();
    eprintln!();
    match failed {
        0 => eprintln!("all {} checks passed", checks.len()),
        _ => eprintln!("{failed} of {} checks failed", checks.len()),
    }
    Ok(failed == 0)
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
