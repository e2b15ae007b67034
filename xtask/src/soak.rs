//! `cargo xtask soak`: tests that take too long for every change.

use std::{fs, path::Path};

use crate::session::Session;

/// The default duration of a fuzzer run.
const SECONDS: u32 = 600;
const TOOL: &str = "cargo-fuzz";

/// The options of the command line.
pub(crate) struct SoakOptions {
    seconds: u32,
}

impl SoakOptions {
    /// `fuzz [SECONDS]`.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let wanted = "expected: cargo xtask soak fuzz [SECONDS]";
        match args {
            [what] if what == "fuzz" => Ok(Self { seconds: SECONDS }),
            [what, seconds] if what == "fuzz" => {
                let least = TARGETS.len() as u32;
                // libFuzzer takes 0 seconds as no limit.
                match seconds.parse() {
                    Ok(seconds) if seconds >= least => Ok(Self { seconds }),
                    _ => Err(format!("{seconds:?} is not a number of seconds of at least {least}; {wanted}")),
                }
            }
            _ => Err(wanted.to_owned()),
        }
    }
}

/// A fuzz target, and its corpora in the order of the first byte, which selects one of its properties.
const TARGETS: [(&str, &[&str]); 2] = [
    (
        "parsers",
        &[
            "framing",
            "text",
            "headers",
            "address",
            "proxy",
            "configuration",
            "websocket",
            "websocket_text",
            "graphql",
            "graphql_socket",
        ],
    ),
    ("transcode", &["json", "protobuf"]),
];

/// The longest input: quadratic time exceeds [`INPUT_TIMEOUT_S`].
const INPUT_BYTES: u32 = 64 * 1024;
/// How long one input may take.
const INPUT_TIMEOUT_S: u32 = 10;

/// Fuzzes the parsers of the gateway, GraphQL operations, and the conversion between JSON and protobuf. Each target runs
/// for an equal part of the time. Returns true if no input failed.
pub(crate) fn run(session: &Session, options: &SoakOptions) -> Result<bool, String> {
    let tools = session.target.join("tools");
    if !tools.join("bin").join(TOOL).exists() {
        let mut install = session.cargo();
        session.must("cargo install cargo-fuzz", install.args(["install", TOOL, "--locked", "--root"]).arg(&tools))?;
    }
    // The fuzzers are a workspace of their own: they test the crates of the product in the same versions.
    let lock = session.root.join("Cargo.lock");
    fs::copy(&lock, session.root.join("fuzz/Cargo.lock")).map_err(|e| format!("{}: {e}", lock.display()))?;
    let mut passed = true;
    for (target, corpora) in TARGETS {
        passed &= fuzz(session, &tools, target, corpora, options.seconds / TARGETS.len() as u32)?;
    }
    Ok(passed)
}

fn fuzz(session: &Session, tools: &Path, target: &str, corpora: &[&str], seconds: u32) -> Result<bool, String> {
    let seeds = session.target.join("fuzz/seeds").join(target);
    seed(&session.root.join("fuzz/corpus"), corpora, &seeds)?;
    let found = session.target.join("fuzz/found").join(target);
    fs::create_dir_all(&found).map_err(|e| format!("{}: {e}", found.display()))?;
    let mut fuzz = session.command(tools.join("bin").join(TOOL));
    // The stable compiler has no sanitizers. The project has no unsafe code for them to check.
    fuzz.args(["run", "--sanitizer", "none", "--target-dir"]).arg(session.target.join("fuzz/build"));
    fuzz.arg(target).args([&found, &seeds]).arg("--").arg(format!("-max_total_time={seconds}"));
    fuzz.args([format!("-max_len={INPUT_BYTES}"), format!("-timeout={INPUT_TIMEOUT_S}")]);
    let output = session.step(&format!("fuzz {target} for {seconds} s"), &mut fuzz)?;
    if !output.success {
        eprintln!(
            "{}",
            output.text.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        );
        eprintln!(
            "The failing input is in fuzz/artifacts. Remove its first byte, which selects the property, and add it to fuzz/corpus."
        );
    }
    Ok(output.success)
}

/// Copies the corpora `names` into `seeds`, with the first byte that selects the property.
fn seed(corpora: &Path, names: &[&str], seeds: &Path) -> Result<(), String> {
    fs::create_dir_all(seeds).map_err(|e| format!("{}: {e}", seeds.display()))?;
    for (choice, name) in (0_u8..).zip(names) {
        let folder = corpora.join(name);
        for file in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))? {
            let path = file.map_err(|e| e.to_string())?.path();
            let known = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let seed = seeds.join(format!("{name}-{}", path.file_name().unwrap_or_default().to_string_lossy()));
            fs::write(&seed, [&[choice], known.as_slice()].concat()).map_err(|e| format!("{}: {e}", seed.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<u32, String> {
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        SoakOptions::parse(&args).map(|options| options.seconds)
    }

    /// Each target gets a part of the time, and libFuzzer takes 0 seconds as no limit.
    #[test]
    fn time_of_each_target_is_bounded() {
        assert_eq!((parsed(&["fuzz"]), parsed(&["fuzz", "2"])), (Ok(SECONDS), Ok(2)));
        for wrong in ["0", "1", "-1", "x"] {
            assert!(parsed(&["fuzz", wrong]).unwrap_err().contains("at least 2"), "{wrong}");
        }
    }
}
