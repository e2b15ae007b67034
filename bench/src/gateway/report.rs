//! The report, in Markdown.

use std::{fmt::Write as _, fs, time::Duration};

use super::{
    contenders::Contender::{self, Envoy, Floor, Gateway},
    goals::{self, Verdict},
    results::Results,
    scenarios::{Kind, Pace, Scenario},
};
use crate::load::Sample;

/// The sections: title, kind of scenario, and description.
const SECTIONS: [(&str, Kind, &str); 11] = [
    ("Unary, closed loop", Kind::Unary, "Each connection makes its next call after the previous response."),
    (
        "Unary, open loop",
        Kind::Open,
        "Calls arrive on schedule, at half the rate of the slowest contender in the closed loop. The latency of a call \
         starts at its scheduled time, so that it includes waiting.",
    ),
    ("Streams, flood", Kind::Flood, "The service sends messages as fast as the client reads them."),
    (
        "Streams, paced",
        Kind::Paced,
        "Each stream carries a message every 50 ms. Latency is the time from the service's send to the client's receipt.",
    ),
    (
        "JSON over HTTP",
        Kind::Json,
        "Each call converts JSON to protobuf and back. The sizes are those in protobuf. `gateway-grpc-web` and `floor` carry \
         the same messages in gRPC-Web, without converting them.",
    ),
    (
        "Connect",
        Kind::Connect,
        "Unary calls with protobuf. `gateway-grpc-web` and `floor` carry the same messages in gRPC-Web.",
    ),
    (
        "Server-sent events, flood",
        Kind::Events,
        "Each message of a stream becomes an event with JSON. `gateway-grpc-web` and `floor` carry the same messages in \
         gRPC-Web, without converting them.",
    ),
    ("Refusals", Kind::Refused, "The rate limit refuses every call; no call reaches the service."),
    (
        "Cost of the gateway's steps",
        Kind::Steps,
        "The gateway with different settings. `gateway`: a method for signed-in users, a token, no access log.",
    ),
    (
        "Two cores",
        Kind::Cores,
        "`gateway` has one core, as above. The other two may use both, and share the second one with the load: \
         `gateway-two-cores` with the default threads, `gateway-two-threads` with `gateway.threads = 2`.",
    ),
    (
        "Unary, after many streams",
        Kind::Afterwards,
        "The processes have just held the idle streams below. The difference to the first table is the cost of what they \
         keep: connections to the service, and memory.",
    ),
];

pub(super) fn write(scenarios: &[Scenario], results: &Results, pace: &Pace, took: Duration, stolen: f64) -> String {
    let mut text = String::new();
    let mut out = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    out(&format!(
        "{} round(s) with windows of {} s, {:.0} s in total. Load average at the end: {} (this run alone causes about 2). \
         Steal time of the two cores: {:.1} %.",
        pace.rounds,
        pace.seconds,
        took.as_secs_f64(),
        load_average(),
        stolen * 100.0
    ));
    out("");
    out("### Goals\n");
    out(&goals(&goals::verdicts(scenarios, results)));
    for (title, kind, about) in SECTIONS {
        let of_kind: Vec<_> = scenarios.iter().filter(|scenario| scenario.kind == kind).collect();
        if !of_kind.is_empty() {
            out(&format!("### {title}\n\n{about}\n"));
            out(&table(&of_kind, results));
        }
    }
    for scenario in scenarios.iter().filter(|scenario| scenario.kind == Kind::Idle) {
        out(&format!("### Memory of {}\n", scenario.name));
        out(&memory(scenario, results));
    }
    text
}

fn goals(verdicts: &[Verdict]) -> String {
    let mut text = "| goal | at most | best | worst | met |\n|---|---|---|---|---|\n".to_owned();
    for verdict in verdicts {
        let (Some(best), Some(worst)) = (verdict.ratios.first(), verdict.ratios.last()) else { continue };
        let (met, all) = (verdict.met(), verdict.ratios.len());
        let met = if met == all { "**met**".to_owned() } else { format!("in {met} of {all}") };
        writeln!(
            text,
            "| {} | {:.2} | {:.2} ({}) | {:.2} ({}) | {met} |",
            verdict.name, verdict.most, best.0, best.1, worst.0, worst.1
        )
        .ok();
    }
    text
}

fn table(scenarios: &[&Scenario], results: &Results) -> String {
    let unit = scenarios.first().map_or("call", |scenario| scenario.unit());
    let mut text = format!(
        "| scenario | contender | {unit}s/s | p50 | p99 | p99.9 | CPU µs/{unit} | to Envoy | to floor | memory MiB |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for scenario in scenarios {
        for contender in &scenario.contenders {
            text.push_str(&row(scenario, *contender, results).unwrap_or_default());
        }
    }
    text
}

fn row(scenario: &Scenario, contender: Contender, results: &Results) -> Option<String> {
    let name = &scenario.name;
    let median = |of: fn(&Sample) -> f64| results.median(name, contender, of);
    let latency = results.latency(name, contender);
    let time = |share| latency.quantile(share).map_or_else(|| "–".to_owned(), shown);
    // Variants of the gateway are compared with the gateway itself.
    let ratio = |to| results.ratio(name, contender, to, Sample::cpu_each).map_or_else(|| "–".to_owned(), two);
    let (failed, reconnects) =
        (results.sum(name, contender, |s| s.failed), results.sum(name, contender, |s| s.reconnects));
    let mut who = contender.name().to_owned();
    if !contender.is_way() {
        write!(who, " ({} of `gateway`)", ratio(Gateway)).ok();
    }
    if failed > 0 {
        write!(who, " ({failed} failed)").ok();
    }
    if scenario.kind == Kind::Refused {
        write!(who, " ({reconnects} reconnects)").ok();
    }
    Some(format!(
        "| {name} | {who} | {:.0} | {} | {} | {} | {} | {} | {} | {:.0} |\n",
        median(Sample::per_second)?,
        time(0.5),
        time(0.99),
        time(0.999),
        two(median(Sample::cpu_each)?),
        ratio(Envoy),
        ratio(Floor),
        median(|sample| sample.memory as f64)? / MIB,
    ))
}

const MIB: f64 = 1024.0 * 1024.0;

fn memory(scenario: &Scenario, results: &Results) -> String {
    let mut text = "| contender | MiB in total | KiB per stream |\n|---|--:|--:|\n".to_owned();
    let streams = scenario.plan(|| None).map_or(1, |plan| plan.connections * plan.calls_each);
    for contender in &scenario.contenders {
        if let Some(held) = results.held(&scenario.name, *contender) {
            let each = held / 1024.0 / streams as f64;
            writeln!(text, "| {} | {:.0} | {each:.1} |", contender.name(), held / MIB).ok();
        }
    }
    text
}

fn shown(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        ..1_000.0 => format!("{micros:.0} µs"),
        ..100_000.0 => format!("{:.1} ms", micros / 1e3),
        _ => format!("{:.0} ms", micros / 1e3),
    }
}

fn two(number: f64) -> String {
    format!("{number:.2}")
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
