//! `cargo xtask test`: starts the servers, builds the binary, runs the tests of all languages, and prints a summary.

use std::time::{Duration, Instant};

use crate::{
    environment::Environment,
    guide,
    postgres::Postgres,
    provision::{self, Need},
    python::Python,
    redis::Redis,
    rust,
    scratch::Scratch,
    session::{Session, seconds},
    tally::{self, Tally},
    up, upstreams, web,
};

/// An implementation in Python that a test compares with. Its script writes cases to a file.
struct Oracle {
    package: &'static str,
    test: &'static str,
    script: &'static str,
    cases: &'static str,
    /// The environment variable with the path of the cases.
    variable: &'static str,
}

const ORACLES: [Oracle; 2] = [
    Oracle {
        package: "proto",
        test: "oracle",
        script: "oracle.py",
        cases: "oracle.jsonl",
        variable: "TRELLIS_TEST_ORACLE_CASES",
    },
    Oracle {
        package: "trellis-transcode",
        test: "transcode",
        script: "transcode_oracle.py",
        cases: "transcode.jsonl",
        variable: "TRELLIS_TEST_TRANSCODE_CASES",
    },
];

/// The options of the command line.
#[derive(Debug, Default)]
pub(crate) struct TestOptions {
    /// Empty: all parts.
    only: Vec<Part>,
    /// Arguments for `cargo test`.
    cargo: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Rust,
    Python,
    /// The steps of `docs/writing-a-service.md`.
    Guide,
    Web,
}

impl TestOptions {
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let part = match arg.as_str() {
                "--" => {
                    options.cargo = args.cloned().collect();
                    break;
                }
                "--only" => args.next().ok_or("--only needs rust, python, guide or web")?.as_str(),
                other => other.strip_prefix("--only=").ok_or(format!("unknown option {other:?}"))?,
            };
            options.only.push(match part {
                "rust" => Part::Rust,
                "python" => Part::Python,
                "guide" => Part::Guide,
                "web" => Part::Web,
                other => return Err(format!("--only {other}: expected rust, python, guide or web")),
            });
        }
        Ok(options)
    }

    /// Arguments for `cargo test` select Rust's tests, unless `--only` names other parts.
    fn wants(&self, part: Part) -> bool {
        if self.only.is_empty() { self.cargo.is_empty() || part == Part::Rust } else { self.only.contains(&part) }
    }

    /// The values of an option of cargo.
    fn values(&self, names: [&str; 2]) -> Vec<&str> {
        let of_next = self.cargo.windows(2).filter(|pair| names.contains(&pair[0].as_str()));
        let joined = self.cargo.iter().filter_map(|argument| {
            let (name, value) = argument.split_once('=')?;
            names.contains(&name).then_some(value)
        });
        of_next.map(|pair| pair[1].as_str()).chain(joined).collect()
    }

    /// Whether the arguments for cargo select the test binary `test` of `package`: they name it, or none.
    fn selects(&self, package: &str, test: &str) -> bool {
        let (packages, tests) = (self.values(["-p", "--package"]), self.values(["--test", "--test"]));
        (packages.is_empty() || packages.contains(&package)) && (tests.is_empty() || tests.contains(&test))
    }

    /// Whether a test starts the binary: those of `trellis` do, and those in other languages.
    fn needs_binary(&self) -> bool {
        self.wants(Part::Rust) && self.selects("trellis", "mesh") || self.wants(Part::Python) || self.wants(Part::Web)
    }

    /// The arguments of cargo that build the binary. Its dependencies have more features beside the tests than alone, so
    /// that most crates would be compiled twice: it is built with the tests if all of them run.
    fn build(&self) -> &'static [&'static str] {
        let with_tests = self.wants(Part::Rust) && self.cargo.is_empty();
        if with_tests { &["test", "--workspace", "--no-run"] } else { &["build", "--package", "trellis"] }
    }

    /// The oracles that the selected tests compare with.
    fn oracles(&self) -> impl Iterator<Item = &'static Oracle> {
        ORACLES.iter().filter(|oracle| self.wants(Part::Rust) && self.selects(oracle.package, oracle.test))
    }

    /// Whether Python runs: it makes the oracle's cases and runs tests, and pip may provide Node.
    fn needs_python(&self) -> bool {
        self.oracles().next().is_some() || [Part::Python, Part::Guide, Part::Web].iter().any(|part| self.wants(*part))
    }

    fn needs(&self) -> Vec<Need> {
        let mut needs = Vec::new();
        if self.needs_python() {
            needs.push(Need::Python);
        }
        // The guide runs tests of its own service.
        if self.wants(Part::Rust) || self.wants(Part::Guide) {
            needs.extend([Need::Postgres, Need::Redis]);
        }
        if self.wants(Part::Python) {
            needs.extend([Need::Go, Need::Curl]);
        }
        if self.wants(Part::Web) {
            needs.push(Need::Chromium);
        }
        needs
    }
}

/// Runs the selected parts. Returns true if all tests passed.
pub(crate) fn run(session: &Session, options: &TestOptions) -> Result<bool, String> {
    let started = Instant::now();
    let mut results = Vec::new();
    let outcome = run_parts(session, options, &mut results);
    if let Err(error) = &outcome {
        eprintln!("xtask: {error}");
        results.push(Finished::broken("setup"));
    }
    Ok(summarise(&results, started.elapsed()))
}

fn run_parts(session: &Session, options: &TestOptions, results: &mut Vec<Finished>) -> Result<(), String> {
    provision::provision(session, &options.needs())?;
    let python = if options.needs_python() { Some(Python::prepare(session)?) } else { None };
    let with_python = || python.as_ref().ok_or("this part needs Python".to_owned());
    // Holds the temporary files of all tests, so that none outlives the run.
    let scratch = Scratch::create(&session.guard)?;
    let mut environment = Environment::default();
    environment.set_path("TMPDIR", &scratch.folder("tmp", None)?);
    // By default the browser keeps reports and caches in the home folder.
    environment.set_path("XDG_CONFIG_HOME", &scratch.folder("config", None)?);
    environment.set_path("XDG_CACHE_HOME", &scratch.folder("cache", None)?);
    environment.set_path("TRELLIS_TEST_BINARY", &session.target.join("debug/trellis"));
    environment.set_path("TRELLIS_TEST_ARTIFACTS", &session.artifacts);
    if options.wants(Part::Web) {
        environment.set_path("TRELLIS_TEST_CHROMIUM", &Need::Chromium.found()?);
    }
    if options.needs_binary() {
        session.must("cargo build", session.cargo().args(options.build()))?;
    }

    if options.wants(Part::Rust) {
        results.push(finish("rust", || with_servers(session, options, python.as_ref(), &scratch, &mut environment)));
    }
    if options.wants(Part::Python) {
        results.push(finish("python", || test_python(session, with_python()?, &mut environment)));
    }
    if options.wants(Part::Guide) {
        results.push(finish("guide", || guide::test(session, with_python()?)));
    }
    if options.wants(Part::Web) {
        results.push(finish("web", || test_web(session, with_python()?, &mut environment)));
    }
    Ok(())
}

/// Runs the Rust tests with a private PostgreSQL and Redis, and stops both afterwards.
fn with_servers(
    session: &Session,
    options: &TestOptions,
    python: Option<&Python>,
    scratch: &Scratch,
    environment: &mut Environment,
) -> Result<Tally, String> {
    for oracle in options.oracles() {
        let Some(python) = python else { continue };
        let cases = session.artifacts.join(oracle.cases);
        session.must("oracle", python.script(session, oracle.script).arg(&cases))?;
        environment.set_path(oracle.variable, &cases);
    }

    let redis_server = Need::Redis.found()?;
    // Some tests start a Redis of their own, which they stop and flush.
    environment.set_path("TRELLIS_TEST_REDIS_SERVER", &redis_server);
    if let Some(up::Servers { postgres, redis }) = up::running(session) {
        environment.set("TRELLIS_TEST_POSTGRES", postgres);
        environment.set("TRELLIS_TEST_REDIS", redis);
        return rust::test(session, environment, &options.cargo);
    }
    let postgres = Postgres::start(session, scratch, &Need::Postgres.found()?)?;
    let redis = Redis::start(session, scratch, &redis_server)?;
    environment.set("TRELLIS_TEST_POSTGRES", &postgres.url);
    environment.set("TRELLIS_TEST_REDIS", &redis.url);
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

fn test_web(session: &Session, python: &Python, environment: &mut Environment) -> Result<Tally, String> {
    environment.set("TRELLIS_TEST_PYTHON_UPSTREAM", upstreams::python(session, python));
    web::test(session, python, environment)
}

/// The result of a part.
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

/// Runs a part. A part that cannot run counts as one failure; the next part still runs.
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

/// Prints a table on stderr, and one machine-readable line on stdout.
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

    fn parse(args: &[&str]) -> Result<TestOptions, String> {
        TestOptions::parse(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_select_parts_and_pass_the_rest_to_cargo() {
        let options = parse(&["--only", "rust", "--only=web", "--", "-p", "kit"]).unwrap();
        assert!(options.wants(Part::Rust) && options.wants(Part::Web) && !options.wants(Part::Python));
        assert_eq!(options.cargo, ["-p", "kit"]);
        assert!(parse(&[]).unwrap().wants(Part::Python));
    }

    #[test]
    fn one_package_needs_no_binary() {
        let options = parse(&["--", "-p", "messaging", "locks"]).unwrap();
        assert!(!options.needs_binary() && !options.needs_python() && !options.wants(Part::Web));
        let options = parse(&["--", "--test", "messaging"]).unwrap();
        assert!(!options.needs_binary() && !options.needs_python());
        let options = parse(&["--", "--package=trellis"]).unwrap();
        assert!(options.needs_binary() && options.oracles().next().is_none());
        assert!(parse(&[]).unwrap().needs_binary());
        assert_eq!(parse(&[]).unwrap().build()[0], "test");
        assert_eq!(options.build()[0], "build");
        assert_eq!(parse(&["--only", "web"]).unwrap().build()[0], "build");
    }

    #[test]
    fn error_names_the_invalid_argument() {
        assert!(parse(&["--only"]).unwrap_err().contains("rust, python, guide or web"));
        assert!(parse(&["--only", "go"]).unwrap_err().contains("go"));
        assert!(parse(&["--fast"]).unwrap_err().contains("--fast"));
    }
}
