//! `cargo xtask`: the chores of this repository, each one command on a machine that has only Rust.

mod bench;
mod checks;
mod generate;
mod postgres;
mod process;
mod provision;
mod python;
mod redis;
mod rust;
mod scratch;
mod session;
mod soak;
mod suite;
mod tally;
mod upstreams;
mod web;

use std::{env, process::ExitCode};

use session::Session;

const HELP: &str = "\
Chores of this repository.

Usage: cargo xtask <COMMAND>

Commands:
  test [--only rust|python|web]... [-- CARGO TEST ARGS]
        Installs what is missing (as root or with sudo; else names the command), starts a private PostgreSQL
        and Redis, and runs all tests: Rust, the Python client, the browser. --only may be repeated.
  ci    The cheap checks: formatting, clippy, contracts, import rules, migrations, manifests.
  gen   Rewrites what is generated and committed: web/client/src/gen, web/e2e/clients/gen, web/console/dist,
        docs/access.md.
  soak fuzz [SECONDS]
        Invents input for the gateway's parsers, for ten minutes when nothing is said.
  bench gateway [--quick | --full] [--write] [--only TEXT] [--contenders A,B] [--seconds N] [--rounds N]
        Compares the gateway with Envoy (installed for this alone), tonic-web, direct gRPC and a bare forwarder:
        throughput, latency, CPU of a call, memory. Needs two cores, and takes 6 minutes; --quick 90 seconds.
        --write puts the numbers into docs/performance.md.
  bench limiter [--write] [--seconds N] [--rounds N]
        What decisions of the limiter cost, on a private Redis; two minutes. --write: into docs/rate-limiting.md.
  bench overload [--write]
        What is left of a service's work when up to five times too much is asked of it, with shedding and without;
        two minutes. --write: into docs/resilience.md.
  help  This text.

Progress goes to stderr. Logs and screenshots of a run are in target/test-artifacts.

Environment:
  TRELLIS_TEST_CHROMIUM  The browser, where it is not found by itself.
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (command, rest) = args.split_first().map_or(("help", &[][..]), |(c, rest)| (c.as_str(), rest));
    let wants_help = rest.iter().take_while(|a| *a != "--").any(|a| a == "--help" || a == "-h");
    let outcome = match command {
        "guard" => process::guard(),
        "help" | "--help" | "-h" => return help(),
        _ if wants_help => return help(),
        "test" => suite::Options::parse(rest).and_then(|options| suite::run(&Session::start()?, &options)),
        "ci" => none(rest).and_then(|()| checks::run(&Session::start()?)),
        "soak" => soak::Options::parse(rest).and_then(|options| soak::run(&Session::start()?, &options)),
        "bench" => bench::Options::parse(rest).and_then(|options| bench::run(&Session::start()?, &options)),
        "gen" => none(rest).and_then(|()| generate::run(&Session::start()?)),
        other => Err(format!("unknown command {other:?}; see cargo xtask help")),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(2)
        }
    }
}

fn none(rest: &[String]) -> Result<(), String> {
    rest.first().map_or(Ok(()), |extra| Err(format!("unexpected argument {extra:?}; see cargo xtask help")))
}

#[expect(clippy::print_stdout, reason = "asked for, so it belongs on stdout")]
fn help() -> ExitCode {
    print!("{HELP}");
    ExitCode::SUCCESS
}
