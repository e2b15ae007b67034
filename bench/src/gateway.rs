//! `cargo xtask bench gateway`: the gateway beside other ways from a browser to a service, in one run.
//!
//! The process under test has one core, the load and the service behind it the other. The contenders take turns in
//! every round, so that what else the machine does falls on all alike. The figure to trust is CPU time for each call:
//! it holds on a busy machine, where throughput and latency do not.

mod contenders;
mod envoy;
mod goals;
mod mesh;
pub(crate) mod process;
mod report;
mod results;
mod scenarios;

use std::{path::PathBuf, process::Command, rc::Rc, time::Instant};

use clap::Args;
use tokio::task::LocalSet;

use contenders::{Contender, Contenders};
pub(crate) use process::Process;
use results::Results;
use scenarios::{Kind, Pace, Scenario};

/// The core of the process under test.
const PROXY_CORE: usize = 0;
/// The core of the load and of the service.
const LOAD_CORE: usize = 1;

/// How to run, and with what.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The binary of the mesh.
    #[arg(long)]
    trellis: PathBuf,
    /// The binary of Envoy.
    #[arg(long)]
    envoy: PathBuf,
    /// One short round of the scenarios that matter most.
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// More and longer rounds, and the open loop everywhere.
    #[arg(long)]
    full: bool,
    /// Only scenarios whose name holds this text, such as "unary 100 B" or "paced". May be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Only these contenders, such as gateway,envoy.
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<String>,
    /// Seconds of a window.
    #[arg(long)]
    seconds: Option<f64>,
    /// How many rounds.
    #[arg(long)]
    rounds: Option<usize>,
    /// A file to write the report into, instead of standard output.
    #[arg(long)]
    report: Option<PathBuf>,
}

impl Options {
    fn pace(&self) -> Pace {
        let pace = if self.quick {
            Pace::QUICK
        } else if self.full {
            Pace::FULL
        } else {
            Pace::USUAL
        };
        Pace { seconds: self.seconds.unwrap_or(pace.seconds), rounds: self.rounds.unwrap_or(pace.rounds), ..pace }
    }

    fn wants(&self, contender: Contender) -> bool {
        self.contenders.is_empty() || self.contenders.iter().any(|name| name == contender.name())
    }

    fn scenarios(&self, pace: &Pace) -> Result<Vec<Scenario>, String> {
        let unknown = self.contenders.iter().find(|name| Contender::ALL.iter().all(|known| known.name() != *name));
        if let Some(name) = unknown {
            let known: Vec<_> = Contender::ALL.iter().map(|contender| contender.name()).collect();
            return Err(format!("--contenders {name}: known are {}", known.join(", ")));
        }
        let mut scenarios = scenarios::all(pace);
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|text| name.contains(text));
        scenarios.retain(|scenario| wanted(&scenario.name));
        for scenario in &mut scenarios {
            scenario.contenders.retain(|contender| self.wants(*contender));
        }
        if scenarios.is_empty() { Err(format!("--only {:?} fits no scenario", self.only)) } else { Ok(scenarios) }
    }
}

/// Runs it all and prints the report.
#[expect(clippy::print_stdout, reason = "the report is this command's result")]
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let pace = options.pace();
    let scenarios = options.scenarios(&pace)?;
    pin_myself()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    let (started, stolen) = (Instant::now(), stolen_seconds());
    let results = LocalSet::new().block_on(&runtime, measure(options, &pace, &scenarios))?;
    let took = started.elapsed();
    let stolen = (stolen_seconds() - stolen) / took.as_secs_f64() / 2.0;
    let text = report::write(&scenarios, &results, &pace, took, stolen);
    match &options.report {
        Some(path) => std::fs::write(path, &text).map_err(|e| format!("{}: {e}", path.display()))?,
        None => print!("{text}"),
    }
    Ok(())
}

/// What the host has taken from both cores since they started: while it had others to serve, ours stood still.
fn stolen_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let cores = [PROXY_CORE, LOAD_CORE].map(|core| format!("cpu{core}"));
    let of = |line: &str| {
        let mut words = line.split(' ');
        cores.iter().any(|core| words.clone().next() == Some(core)).then(|| words.nth(8)?.parse::<f64>().ok())?
    };
    // In hundredths of a second.
    text.lines().filter_map(of).sum::<f64>() / 100.0
}

/// Threads that are made from now on inherit it.
fn pin_myself() -> Result<(), String> {
    let me = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["--cpu-list", "--pid", &LOAD_CORE.to_string(), &me]).output();
    match pinned {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("two cores are needed: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("taskset (util-linux) cannot be run: {error}")),
    }
}

async fn measure(options: &Options, pace: &Pace, scenarios: &[Scenario]) -> Result<Results, String> {
    eprintln!("==> starting the contenders");
    let mut contenders = Contenders::start(&options.trellis, &options.envoy).await?;
    for (name, pid) in contenders.pids() {
        eprintln!("    {name}: process {pid}");
    }
    let mut results = Results::default();
    for round in 0..pace.rounds {
        if round > 0 {
            contenders.renew().await?;
        }
        for (at, scenario) in scenarios.iter().enumerate() {
            eprintln!(
                "==> round {} of {}, {} of {}: {}",
                round + 1,
                pace.rounds,
                at + 1,
                scenarios.len(),
                scenario.name
            );
            // Each round begins with another, so that none always follows the same neighbour.
            let turns = scenario.contenders.len();
            for turn in 0..turns {
                let contender = scenario.contenders[(turn + round) % turns];
                step(&mut contenders, scenario, contender, &mut results)
                    .await
                    .map_err(|error| format!("{}, {}: {error}", scenario.name, contender.name()))?;
            }
        }
    }
    Ok(results)
}

async fn step(
    contenders: &mut Contenders,
    scenario: &Scenario,
    contender: Contender,
    results: &mut Results,
) -> Result<(), String> {
    if scenario.kind == Kind::Idle {
        return hold(contenders, scenario, contender, results).await;
    }
    let plan = scenario.plan(|| results.open_rate(scenario))?;
    let request = contenders.request(contender, scenario)?;
    let sample = crate::load::run(&plan, Rc::new(request), contenders.process_for(contender, scenario)).await?;
    eprintln!(
        "    {:<22} {:>9.0} /s  {:>8.2} µs CPU each{}",
        contender.name(),
        sample.per_second(),
        sample.cpu_each(),
        if sample.failed > 0 { format!("  {} FAILED", sample.failed) } else { String::new() }
    );
    results.add(&scenario.name, contender, sample);
    Ok(())
}

/// Memory is measured on a fresh process: what a used one holds tells of what it did before.
async fn hold(
    contenders: &mut Contenders,
    scenario: &Scenario,
    contender: Contender,
    results: &mut Results,
) -> Result<(), String> {
    contenders.restart(contender).await?;
    let plan = scenario.plan(|| None)?;
    let request = Rc::new(contenders.request(contender, scenario)?);
    let process = contenders.process(contender);
    let before = process.memory()?;
    let held = crate::load::hold(&plan, request, process).await?.saturating_sub(before);
    eprintln!("    {:<22} {:>9.1} MiB", contender.name(), held as f64 / 1024.0 / 1024.0);
    results.hold(&scenario.name, contender, held);
    Ok(())
}
