//! `cargo xtask bench gateway`: compares the gateway with other ways from a browser to a service, in one run.
//!
//! The process under test has one core; the load and the service behind it share the other. The contenders take turns
//! in every round, so that other work on the machine affects all alike. CPU time per call is the most reliable figure:
//! unlike throughput and latency, it holds on a busy machine.

mod contenders;
mod envoy;
mod goals;
mod mesh;
pub(crate) mod process;
mod report;
mod results;
mod scenarios;
mod server;
mod structured_proxy;

use std::{path::PathBuf, process::Command, rc::Rc, time::Instant};

use clap::Args;
use tokio::task::LocalSet;

use contenders::{Binaries, Contender, Contenders};
pub(crate) use process::Process;
use results::Results;
use scenarios::{Kind, Pace, Scenario};

/// The core of the process under test.
const PROXY_CORE: &str = "0";
/// The core of the load and of the service.
const LOAD_CORE: &str = "1";
/// Both, for a gateway that competes with the load.
const BOTH_CORES: &str = "0,1";

/// The options of the command line.
#[derive(Debug, Args)]
pub(crate) struct GatewayOptions {
    /// The path of the trellis binary
    #[arg(long)]
    trellis: PathBuf,
    /// The path of another trellis binary, for example of an earlier commit: the contender gateway-baseline, which
    /// takes part in every scenario of the gateway
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// The path of the Envoy binary
    #[arg(long)]
    envoy: PathBuf,
    /// The path of the structured-proxy binary; without it, this contender does not take part
    #[arg(long)]
    structured_proxy: Option<PathBuf>,
    /// Run one short round of the main scenarios
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Run more and longer rounds, and all scenarios in the open loop too
    #[arg(long)]
    full: bool,
    /// Run only scenarios whose name contains this text, for example "unary 100 B" or "paced"; repeat it for more
    #[arg(long)]
    only: Vec<String>,
    /// Run only these contenders, for example gateway,envoy
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<String>,
    /// The length of a window, in seconds
    #[arg(long)]
    seconds: Option<f64>,
    /// The number of rounds
    #[arg(long)]
    rounds: Option<usize>,
    /// The file for the report [default: standard output]
    #[arg(long)]
    report: Option<PathBuf>,
}

impl GatewayOptions {
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
        let has_binary = contender != Contender::StructuredProxy || self.structured_proxy.is_some();
        has_binary && (self.contenders.is_empty() || self.contenders.iter().any(|name| name == contender.name()))
    }

    fn scenarios(&self, pace: &Pace) -> Result<Vec<Scenario>, String> {
        let unknown = self.contenders.iter().find(|name| Contender::ALL.iter().all(|known| known.name() != *name));
        if let Some(name) = unknown {
            let known: Vec<_> = Contender::ALL.iter().map(|contender| contender.name()).collect();
            return Err(format!("--contenders {name}: expected one of {}", known.join(", ")));
        }
        let optional = [
            (Contender::Baseline, &self.baseline, "--baseline"),
            (Contender::StructuredProxy, &self.structured_proxy, "--structured-proxy"),
        ];
        for (contender, binary, option) in optional {
            let name = contender.name();
            if binary.is_none() && self.contenders.iter().any(|wanted| wanted == name) {
                return Err(format!("--contenders {name}: name its binary with {option}"));
            }
        }
        let mut scenarios = scenarios::all(pace);
        let wanted = |name: &str| self.only.is_empty() || self.only.iter().any(|text| name.contains(text));
        scenarios.retain(|scenario| wanted(&scenario.name));
        for scenario in &mut scenarios {
            if self.baseline.is_some() {
                scenario.add_baseline();
            }
            scenario.contenders.retain(|contender| self.wants(*contender));
        }
        if scenarios.is_empty() { Err(format!("--only {:?} matches no scenario", self.only)) } else { Ok(scenarios) }
    }
}

/// Runs the benchmark and prints the report.
#[expect(clippy::print_stdout, reason = "the report is this command's result")]
pub(crate) fn run(options: &GatewayOptions) -> Result<(), String> {
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

/// The steal time of both cores since boot: the time in which the host ran other virtual machines.
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

/// Pins this process to the load's core. Later threads inherit the affinity.
fn pin_myself() -> Result<(), String> {
    let me = std::process::id().to_string();
    let pinned = Command::new("taskset").args(["--cpu-list", "--pid", LOAD_CORE, &me]).output();
    match pinned {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("two cores are needed: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("taskset (util-linux) cannot be run: {error}")),
    }
}

async fn measure(options: &GatewayOptions, pace: &Pace, scenarios: &[Scenario]) -> Result<Results, String> {
    eprintln!("==> starting the contenders");
    let binaries = Binaries {
        trellis: &options.trellis,
        baseline: options.baseline.as_deref(),
        envoy: &options.envoy,
        structured_proxy: options.structured_proxy.as_deref(),
    };
    let mut contenders = Contenders::start(&binaries).await?;
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
            // Each round starts with another contender, so that none always follows the same one.
            let turns = scenario.contenders.len();
            for turn in 0..turns {
                let contender = scenario.contenders[(turn + round) % turns];
                let outcome = step(&mut contenders, scenario, contender, &mut results).await;
                match outcome {
                    // An older binary may lack the protocol.
                    Err(error) if contender == Contender::Baseline && scenario.has_records() => {
                        eprintln!("    {:<22} left out: {error}", contender.name());
                    }
                    outcome => outcome.map_err(|error| format!("{}, {}: {error}", scenario.name, contender.name()))?,
                }
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
    let sample = crate::load::run(&plan, Rc::new(request), contenders.process(contender, scenario)?).await?;
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

/// Measures memory on a fresh process, because a used one still holds memory of earlier scenarios.
async fn hold(
    contenders: &mut Contenders,
    scenario: &Scenario,
    contender: Contender,
    results: &mut Results,
) -> Result<(), String> {
    contenders.restart(contender, scenario).await?;
    let plan = scenario.plan(|| None)?;
    let request = Rc::new(contenders.request(contender, scenario)?);
    let process = contenders.process(contender, scenario)?;
    let before = process.memory()?;
    let held = crate::load::hold(&plan, request, process).await?.saturating_sub(before);
    eprintln!("    {:<22} {:>9.1} MiB", contender.name(), held as f64 / 1024.0 / 1024.0);
    results.hold(&scenario.name, contender, held);
    Ok(())
}
