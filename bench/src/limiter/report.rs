//! The report: a table, and a verdict on the goals.

use std::fmt::Write as _;

use super::LimiterSample;

/// The goal for the CPU time of a decision on a lease, in microseconds.
const GOAL_CPU: f64 = 2.0;
/// The goal for the ratio of commands: one round trip each to a leased hot key.
const GOAL_COMMANDS: f64 = 10.0;

/// The figures of one scenario: medians over all rounds.
struct Figures {
    rate: f64,
    cpu: f64,
    p50: Option<f64>,
    p99: Option<f64>,
    scripts: f64,
    commands: f64,
    redis_cpu: f64,
}

impl Figures {
    fn of(samples: &[LimiterSample]) -> Self {
        let each = |of: fn(&LimiterSample) -> f64| middle(samples.iter().map(|s| of(s) / s.decisions as f64).collect());
        let micros = |share: f64| {
            let known: Option<Vec<_>> =
                samples.iter().map(|s| Some(s.latency.quantile(share)?.as_secs_f64() * 1e6)).collect();
            known.map(middle)
        };
        Self {
            rate: middle(samples.iter().map(|s| s.decisions as f64 / s.seconds).collect()),
            cpu: each(|s| s.cpu * 1e6),
            p50: micros(0.5),
            p99: micros(0.99),
            scripts: each(|s| s.redis.scripts * 1e3),
            commands: each(|s| s.redis.commands * 1e3),
            redis_cpu: each(|s| s.redis.cpu * 1e6),
        }
    }
}

/// Writes the report in Markdown.
pub(super) fn write(scenarios: &[(&str, usize)], samples: &[Vec<LimiterSample>]) -> String {
    let figures: Vec<_> = samples.iter().map(|samples| Figures::of(samples)).collect();
    let mut text = String::from(
        "| | callers | decisions/s | CPU each | p50 | p99 | scripts per 1 000 | commands per 1 000 | CPU of Redis each |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let time = |micros: Option<f64>| micros.map_or("–".to_owned(), |micros| format!("{micros:.1} µs"));
    for ((title, callers), f) in scenarios.iter().zip(&figures) {
        // Writing to a string cannot fail.
        writeln!(
            text,
            "| {title} | {callers} | {:.0} | {:.2} µs | {} | {} | {:.1} | {:.1} | {:.2} µs |",
            f.rate,
            f.cpu,
            time(f.p50),
            time(f.p99),
            f.scripts,
            f.commands,
            f.redis_cpu
        )
        .ok();
    }
    text += "\n";
    for (hot, round_trip) in [(0, 2), (1, 3)] {
        let (callers, hot, round_trip) = (scenarios[hot].1, &figures[hot], &figures[round_trip]);
        let fewer = round_trip.commands / hot.commands.max(f64::MIN_POSITIVE);
        let verdict = |met: bool| if met { "met" } else { "MISSED" };
        writeln!(
            text,
            "- {callers} callers, hot key: {:.2} µs of CPU per decision (goal: {GOAL_CPU} µs, {}), {fewer:.0} times fewer \
             commands than with one round trip each (goal: {GOAL_COMMANDS}, {}).",
            hot.cpu,
            verdict(hot.cpu <= GOAL_CPU),
            verdict(fewer >= GOAL_COMMANDS)
        )
        .ok();
    }
    text
}

fn middle(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}
