//! `cargo xtask test`: servers, the binary, then all tests of all languages and one line that sums them up.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    postgres::Postgres,
    provision::{self, Need},
    python::Python,
    redis::Redis,
    rust,
    scratch::Scratch,
    session::{Session, seconds},
    tally::{self, Tally},
    upstreams, web,
};

/// What the command line asks for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Empty: all parts.
    only: Vec<Part>,
    /// For `cargo test`.
    cargo: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Rust,
    Python,
    Web,
}

impl Options {
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let part = match arg.as_str() {
                "--" => {
                    options.cargo = args.cloned().collect();
                    break;
                }
                "--only" => args.next().ok_or("--only needs rust, python or web")?.as_str(),
                other => other.strip_prefix("--only=").ok_or(format!("unknown option {other:?}"))?,
            };
            options.only.push(match part {
                "rust" => Part::Rust,
                "python" => Part::Python,
                "web" => Part::Web,
                other => return Err(format!("--only {other}: expected rust, python or web")),
            });
        }
        Ok(options)
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn needs(&self) -> Vec<Need> {
        // Rust takes the oracle's cases from Python, and the web's Node may come from Python's packages.
        let mut needs = vec![Need::Python];
        if self.wants(Part::Rust) {
            needs.extend([Need::Postgres, Need::Redis]);
        }
        if self.wants(Part::Python) {
            needs.push(Need::Go);
        }
        if self.wants(Part::Web) {
            needs.push(Need::Chromium);
        }
        needs
    }
}

/// The variables that tell tests where things are.
#[derive(Default)]
pub(crate) struct Environment(Vec<(&'static str, String)>);

impl Environment {
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    fn set_path(&mut self, name: &'static str, path: &Path) {
        self.set(name, path.display().to_string());
    }

    pub(crate) fn apply(&self, command: &mut Command) {
        command.envs(self.0.iter().map(|(name, value)| (name, value)));
    }
}

/// Runs what is asked for. True when everything passed.
pub(crate) fn run(session: &Session, options: &Options) -> Result<bool, String> {
    let started = Instant::now();
    let mut results = Vec::new();
    let outcome = run_parts(session, options, &mut results);
    if let Err(error) = &outcome {
        eprintln!("xtask: {error}");
        results.push(Finished::broken("the run itself"));
    }
    Ok(summarise(&results, started.elapsed()))
}

fn run_parts(session: &Session, options: &Options, results: &mut Vec<Finished>) -> Result<(), String> {
    provision::provision(session, &options.needs())?;
    let python = Python::prepare(session)?;
    // All temporary files of all tests are in it, so that none outlives the run, whatever a test leaves.
    let scratch = Scratch::create(&session.guard)?;
    let mut environment = Environment::default();
    environment.set_path("TMPDIR", &scratch.folder("tmp", None)?);
    // The browser would keep reports and caches in the home folder.
    environment.set_path("XDG_CONFIG_HOME", &scratch.folder("config", None)?);
    environment.set_path("XDG_CACHE_HOME", &scratch.folder("cache", None)?);
    environment.set_path("TRELLIS_TEST_BINARY", &session.target.join("debug/trellis"));
    environment.set_path("TRELLIS_TEST_ARTIFACTS", &session.artifacts);
    if options.wants(Part::Web) {
        environment.set_path("TRELLIS_TEST_CHROMIUM", &Need::Chromium.found()?);
    }
    session.must("cargo build", session.cargo().args(["build", "--package", "trellis"]))?;

    if options.wants(Part::Rust) {
        results.push(finish("rust", || with_servers(session, options, &python, &scratch, &mut environment)));
    }
    if options.wants(Part::Python) {
        results.push(finish("python", || test_python(session, &python, &mut environment)));
    }
    if options.wants(Part::Web) {
        results.push(finish("web", || web::test(session, &python, &environment)));
    }
    Ok(())
}

/// The Rust tests, beside a private PostgreSQL and Redis that end with them.
fn with_servers(
    session: &Session,
    options: &Options,
    python: &Python,
    scratch: &Scratch,
    environment: &mut Environment,
) -> Result<Tally, String> {
    let cases = session.artifacts.join("oracle.jsonl");
    session.must("oracle", python.script(session, "oracle.py").arg(&cases))?;
    environment.set_path("TRELLIS_TEST_ORACLE_CASES", &cases);

    let postgres = Postgres::start(session, scratch, &Need::Postgres.found()?)?;
    let redis_server = Need::Redis.found()?;
    let redis = Redis::start(session, scratch, &redis_server)?;
    environment.set("TRELLIS_TEST_POSTGRES", &postgres.url);
    environment.set("TRELLIS_TEST_REDIS", &redis.url);
    // Some tests stop and empty theirs.
    environment.set_path("TRELLIS_TEST_REDIS_SERVER", &redis_server);
    rust::test(session, environment, &options.cargo)
}

fn test_python(session: &Session, python: &Python, environment: &mut Environment) -> Result<Tally, String> {
    upstreams::prepare(session, python, environment)?;
    let mut command = python.unittest(session);
    environment.apply(&mut command);
    let output = session.step("python tests", &mut command)?;
    if !output.success {
        eprintln!("{}", output.text);
    }
    Ok(tally::unittest(&output.text).with_exit(output.success))
}

/// One part, done.
struct Finished {
    name: &'static str,
    tally: Tally,
    elapsed: Duration,
}

impl Finished {
    fn broken(name: &'static str) -> Self {
        Self { name, tally: Tally::default().with_exit(false), elapsed: Duration::ZERO }
    }
}

/// Runs a part. One that cannot run counts as one failure, and the next part still runs.
fn finish(name: &'static str, part: impl FnOnce() -> Result<Tally, String>) -> Finished {
    let started = Instant::now();
    match part() {
        Ok(tally) => Finished { name, tally, elapsed: started.elapsed() },
        Err(error) => {
            eprintln!("xtask: {name}: {error}");
            Finished { elapsed: started.elapsed(), ..Finished::broken(name) }
        }
    }
}

/// The table for people, and the line that machines read.
#[expect(clippy::print_stdout, reason = "the sum is this command's result")]
fn summarise(results: &[Finished], elapsed: Duration) -> bool {
    let mut sum = Tally::default();
    eprintln!();
    for Finished { name, tally, elapsed } in results {
        let skipped = if tally.skipped > 0 { format!(", {} skipped", tally.skipped) } else { String::new() };
        eprintln!("{name:>8}: {} passed, {} failed{skipped} ({})", tally.passed, tally.failed, seconds(*elapsed));
        sum.add(*tally);
    }
    eprintln!("     all: {}", seconds(elapsed));
    println!("{} passed, {} failed", sum.passed, sum.failed);
    sum.failed == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        Options::parse(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn parts_are_named_and_the_rest_is_for_cargo() {
        let options = parse(&["--only", "rust", "--only=web", "--", "-p", "kit"]).unwrap();
        assert!(options.wants(Part::Rust) && options.wants(Part::Web) && !options.wants(Part::Python));
        assert_eq!(options.cargo, ["-p", "kit"]);
        assert!(parse(&[]).unwrap().wants(Part::Python));
    }

    #[test]
    fn mistakes_on_the_command_line_are_named() {
        assert!(parse(&["--only"]).unwrap_err().contains("rust, python or web"));
        assert!(parse(&["--only", "go"]).unwrap_err().contains("go"));
        assert!(parse(&["--fast"]).unwrap_err().contains("--fast"));
    }
}
