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
            [what, seconds] if what == "fuzz" => Ok(Self {
                seconds: seconds.parse().map_err(|_| format!("{seconds:?} is not a number of seconds; {wanted}"))?,
            }),
            _ => Err(wanted.to_owned()),
        }
    }
}

/// Fuzzes the gateway's parsers. Returns true if no input failed.
pub(crate) fn run(session: &Session, options: &SoakOptions) -> Result<bool, String> {
    let tools = session.target.join("tools");
    if !tools.join("bin").join(TOOL).exists() {
        session.must("cargo install cargo-fuzz", session.cargo().args(["install", TOOL, "--root"]).arg(&tools))?;
    }
    let seeds = session.target.join("fuzz/seeds");
    seed(&session.root.join("fuzz/corpus"), &seeds)?;
    let found = session.target.join("fuzz/found");
    fs::create_dir_all(&found).map_err(|e| format!("{}: {e}", found.display()))?;
    let mut fuzz = session.command(tools.join("bin").join(TOOL));
    // The stable compiler has no sanitizers. The project has no unsafe code for them to check.
    fuzz.args(["run", "--sanitizer", "none", "--target-dir"]).arg(session.target.join("fuzz/build"));
    fuzz.arg("parsers").args([&found, &seeds]).arg("--").arg(format!("-max_total_time={}", options.seconds));
    let output = session.step(&format!("fuzz for {} s", options.seconds), &mut fuzz)?;
    if !output.success {
        eprintln!(
            "{}",
            output.text.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        );
        eprintln!(
            "The failing input is in fuzz/artifacts. Remove its first byte, which selects the parser, and add it to fuzz/corpus."
        );
    }
    Ok(output.success)
}

/// Copies the corpora into `seeds`, with the first byte that selects the parser in the order of `gateway::fuzz`.
fn seed(corpora: &Path, seeds: &Path) -> Result<(), String> {
    const ORDER: [&str; 6] = ["framing", "text", "headers", "address", "proxy", "configuration"];
    fs::create_dir_all(seeds).map_err(|e| format!("{}: {e}", seeds.display()))?;
    for (choice, name) in (0_u8..).zip(ORDER) {
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
