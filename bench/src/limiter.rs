//! `cargo xtask bench limiter`: the cost of a rate limit decision, for the process and for Redis.
//!
//! One limiter, as in a gateway, serves several concurrent callers in a closed loop. CPU time per decision and commands
//! per thousand decisions are the most reliable figures: unlike rates and latencies, they hold on a busy machine.

mod redis;
mod report;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use kit::{
    ClockAndRng,
    config::{Secret, Span},
    limiter::{self, Ask, BucketKey, FailureMode, Limit, LimiterConfig, Quota, RateLimiter},
    redis::RedisConfig,
};

use crate::load::Histogram;
use redis::Stats;

/// The timeout for the connection to Redis.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time before a window, so that frequent keys are leased.
const WARM_UP: Duration = Duration::from_millis(500);

/// The options of the command line.
#[derive(Debug, Args)]
pub(crate) struct LimiterOptions {
    /// The URL of a private Redis: redis://host:port/
    #[arg(long)]
    redis: String,
    /// The length of a window, in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// The number of rounds; the report shows the median of each figure
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The file for the report [default: standard output]
    #[arg(long)]
    report: Option<PathBuf>,
}

/// The buckets of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LimiterScenario {
    /// One leased bucket.
    Hot,
    /// One bucket that cannot be leased: concurrent calls share a response.
    Exact,
    /// One bucket per caller, not leased: one round trip per call.
    RoundTrip,
    /// One bucket per call.
    Cold,
    /// Without Redis: the cost of counting and of the loop.
    Local,
}

const SCENARIOS: [(LimiterScenario, usize); 9] = [
    (LimiterScenario::Hot, 1),
    (LimiterScenario::Hot, 64),
    (LimiterScenario::RoundTrip, 1),
    (LimiterScenario::RoundTrip, 64),
    (LimiterScenario::Cold, 1),
    (LimiterScenario::Cold, 64),
    (LimiterScenario::Exact, 64),
    (LimiterScenario::Local, 1),
    (LimiterScenario::Local, 64),
];

impl LimiterScenario {
    fn title(self) -> &'static str {
        match self {
            Self::Hot => "hot key, leased",
            Self::Exact => "hot key, exact: shared responses",
            Self::RoundTrip => "one round trip each",
            Self::Cold => "cold keys",
            Self::Local => "one process, no Redis",
        }
    }

    fn config(self) -> LimiterConfig {
        let budget = Span(Duration::from_secs(1));
        let lease_from = if self == Self::Hot { LimiterConfig::default().lease_from } else { u32::MAX };
        LimiterConfig { budget, lease_from, ..LimiterConfig::default() }
    }
}

/// The results of one window.
#[derive(Debug, Clone, Default)]
struct LimiterSample {
    decisions: u64,
    seconds: f64,
    cpu: f64,
    latency: Histogram,
    redis: Stats,
}

/// Runs the benchmark and prints the report.
#[expect(clippy::print_stdout, reason = "the report is this command's result")]
pub(crate) fn run(options: &LimiterOptions) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| e.to_string())?;
    let mut samples = vec![Vec::new(); SCENARIOS.len()];
    for round in 0..options.rounds {
        for ((scenario, callers), samples) in SCENARIOS.iter().zip(&mut samples) {
            let sample = runtime.block_on(measure(options, *scenario, *callers, round))?;
            eprintln!(
                "    {:<32} {callers:>3} callers {:>9.0} /s {:>7.2} µs CPU each",
                scenario.title(),
                sample.decisions as f64 / sample.seconds,
                sample.cpu * 1e6 / sample.decisions as f64
            );
            samples.push(sample);
        }
    }
    let text = report::write(&SCENARIOS.map(|(scenario, callers)| (scenario.title(), callers)), &samples);
    match &options.report {
        Some(path) => fs::write(path, &text).map_err(|e| format!("{}: {e}", path.display()))?,
        None => print!("{text}"),
    }
    Ok(())
}

async fn measure(
    options: &LimiterOptions,
    scenario: LimiterScenario,
    callers: usize,
    round: usize,
) -> Result<LimiterSample, String> {
    let url = if scenario == LimiterScenario::Local { String::new() } else { options.redis.clone() };
    let shared = RedisConfig { url: Secret::from(url), ..RedisConfig::default() };
    let limiter = limiter::open(&scenario.config(), &shared, &ClockAndRng::system())?;
    let started = Instant::now();
    while !limiter.is_shared() {
        if started.elapsed() > CONNECT_TIMEOUT {
            return Err(format!("the limiter cannot connect to Redis at {}", options.redis));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let load = Load { open: AtomicBool::new(false), over: AtomicBool::new(false), next: AtomicU64::new(0) };
    let (load, name) = (Arc::new(load), format!("{scenario:?} {callers} {round}"));
    let calling: Vec<_> = (0..callers)
        .map(|caller| {
            let (limiter, load) = (Arc::clone(&limiter), Arc::clone(&load));
            let key = if scenario == LimiterScenario::RoundTrip { format!("{name} {caller}") } else { name.clone() };
            tokio::spawn(async move { load.call(&*limiter, scenario, &key).await })
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    let (redis, cpu, began) = (Stats::read(&options.redis)?, cpu()?, Instant::now());
    load.open.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs_f64(options.seconds)).await;
    load.open.store(false, Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    let cpu = cpu_since(cpu)?;
    let redis = Stats::read(&options.redis)?.since(&redis);
    load.over.store(true, Ordering::Relaxed);
    let mut sample = LimiterSample { seconds, cpu, redis, ..LimiterSample::default() };
    for one in calling {
        let (decisions, latency) = one.await.map_err(|e| e.to_string())??;
        sample.decisions += decisions;
        sample.latency.add(&latency);
    }
    Ok(sample)
}

/// The state that the callers of one window share.
struct Load {
    open: AtomicBool,
    over: AtomicBool,
    /// The next key in the scenario of one bucket per call.
    next: AtomicU64,
}

impl Load {
    /// Runs one caller. Returns its decisions inside the window and their latencies.
    async fn call(
        &self,
        limiter: &dyn RateLimiter,
        scenario: LimiterScenario,
        name: &str,
    ) -> Result<(u64, Histogram), String> {
        // Large enough that no call of a window is refused.
        const MANY: u32 = 100_000_000;
        let quota = Quota::new(MANY, Duration::from_secs(100), MANY);
        let key = BucketKey::new(&[name.as_bytes()]);
        let (mut decisions, mut latency) = (0, Histogram::default());
        while !self.over.load(Ordering::Relaxed) {
            let key = match scenario {
                LimiterScenario::Cold => {
                    BucketKey::new(&[name.as_bytes(), &self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes()])
                }
                // Computed for each call, as in a gateway.
                _ => BucketKey::new(&[key.as_bytes(), b"user", &[0; 16]]),
            };
            let limits = [Limit { key, quota, cost: 1 }];
            let started = Instant::now();
            let decision = limiter
                .decide(&Ask { scope: "bench", limits: &limits, failure_mode: FailureMode::Local })
                .decision()
                .await;
            let took = started.elapsed();
            if !decision.is_admitted() {
                return Err(format!("{name}: {:?}", decision.outcome));
            }
            if self.open.load(Ordering::Relaxed) {
                decisions += 1;
                latency.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            }
            // Yields from time to time, as the next read of a connection would.
            tokio::task::coop::consume_budget().await;
        }
        Ok((decisions, latency))
    }
}

/// The CPU time of all threads of this process, in nanoseconds.
fn cpu() -> Result<u64, String> {
    let threads = fs::read_dir("/proc/self/task").map_err(|e| format!("/proc/self/task: {e}"))?;
    let of = |path: PathBuf| fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok();
    Ok(threads.flatten().filter_map(|thread| of(thread.path())).sum())
}

fn cpu_since(before: u64) -> Result<f64, String> {
    Ok((cpu()? - before) as f64 / 1e9)
}
