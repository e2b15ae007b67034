//! `cargo xtask`: the development commands of this repository. They need only Rust.

mod bench;
mod checks;
mod environment;
mod generate;
mod guide;
mod new_service;
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
mod up;
mod upstreams;
mod web;

use std::{env, process::ExitCode};

use session::Session;

const HELP: &str = "\
Development commands of this repository.

Usage: cargo xtask <COMMAND>

Commands:
  test [--only rust|python|guide|web]... [-- CARGO TEST ARGS]
        Run all tests: Rust, the Python client, the steps of docs/writing-a-service.md and the browser, with a private
        PostgreSQL and Redis. Install missing programs first, as root or with sudo; otherwise print the command that installs them. Repeat --only to
        select several parts.
  up    Keep the PostgreSQL and Redis of the tests running until Ctrl-C. Meanwhile cargo xtask test -- -p CRATE NAME
        uses them and builds only that crate's tests.
  ci [CHECK]...
        Run the fast checks: formatting, clippy, contracts, import rules, migrations, manifests and others, or only those
        with the names of its report: cargo xtask ci language layers.
  gen   Regenerate the committed files: web/client/src/gen, web/e2e/clients/gen, web/console/dist,
        web/docs/dist, web/explorer/dist and docs/access.md.
  new-service NAME
        Create a service: contract, crate, migrations for both databases, tests, manifests and its row in the table of
        the binary. The result stores short texts of users; change it to what you need.
  soak fuzz [SECONDS]
        Fuzz the gateway's parsers, frames of WebSockets, GraphQL operations, and the conversion between JSON and
        protobuf, for 600 seconds by default.
  bench gateway [--quick | --full] [--write] [--only TEXT] [--contenders A,B] [--seconds N] [--rounds N]
        Compare the gateway with Envoy, structured-proxy, hand-written code, tonic-web, direct gRPC and a bare forwarder:
        throughput, latency, CPU time per call and memory. Needs two cores and 10 minutes; 3 minutes with --quick.
        Installs Envoy and structured-proxy under target/.
        --only selects the scenarios whose names contain a text: those of JSON over HTTP, Connect and server-sent events
        with --only JSON --only Connect --only events.
        --write replaces all tables of docs/performance.md. After a run with --only, paste the sections of
        target/bench/gateway.md instead.
  bench limiter [--write] [--seconds N] [--rounds N]
        Measure the cost of rate limit decisions on a private Redis. Takes 2 minutes. --write updates
        docs/rate-limiting.md.
  bench overload [--write]
        Measure how many calls of an overloaded service succeed, with and without load shedding, at up to five times
        its capacity. Takes 2 minutes. --write updates docs/resilience.md.
  bench transcode [--write]
        Compare the conversion between JSON and protobuf with prost-reflect, and with serde_json on generated structs.
        Takes 1 minute. --write updates transcode/README.md.
  help  Print this text.

Progress goes to stderr. Logs and screenshots of a run are in target/test-artifacts.

Environment:
  TRELLIS_TEST_CHROMIUM  The path of Chromium, if it is not on PATH.
  TRELLIS_TEST_GATEWAY_THREADS  The gateway.threads of the gateways in trellis/tests/mesh.
";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let (command, rest) = args.split_first().map_or(("help", &[][..]), |(c, rest)| (c.as_str(), rest));
    let wants_help = rest.iter().take_while(|a| *a != "--").any(|a| a == "--help" || a == "-h");
    let outcome = match command {
        "guard" => process::guard(),
        "help" | "--help" | "-h" => return help(),
        _ if wants_help => return help(),
        "test" => suite::TestOptions::parse(rest).and_then(|options| suite::run(&Session::start()?, &options)),
        "ci" => Session::start().and_then(|session| checks::run(&session, rest)),
        "soak" => soak::SoakOptions::parse(rest).and_then(|options| soak::run(&Session::start()?, &options)),
        "bench" => bench::BenchOptions::parse(rest).and_then(|options| bench::run(&Session::start()?, &options)),
        "up" => none(rest).and_then(|()| up::run(&Session::start()?)),
        "new-service" => Session::start().and_then(|session| new_service::run(&session, rest)),
        "gen" => none(rest).and_then(|()| generate::run(&Session::start()?)),
        other => Err(format!("unknown command {other:?}; run `cargo xtask help` for the list")),
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
    rest.first().map_or(Ok(()), |extra| Err(format!("unexpected argument {extra:?}; run `cargo xtask help` for usage")))
}

#[expect(clippy::print_stdout, reason = "the help is the result of the command")]
fn help() -> ExitCode {
    print!("{HELP}");
    ExitCode::SUCCESS
}
