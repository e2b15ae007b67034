//! The goals of the gateway, and whether it meets them.

use super::{
    contenders::Contender::{self, Baseline, Envoy, Floor, Gateway, OverGrpcWeb, StructuredProxy, TwoThreads},
    results::Results,
    scenarios::{Kind, Scenario},
};
use crate::load::Sample;

/// A goal: a bound on the ratio of the gateway's figure to another contender's.
struct Goal {
    name: &'static str,
    most: f64,
    /// Selects the scenarios of the goal.
    about: fn(&Scenario) -> bool,
    ratio: fn(&Results, &Scenario) -> Option<f64>,
}

const GOALS: [Goal; 17] = [
    Goal {
        name: "CPU per call or message, to the baseline",
        most: 1.03,
        about: |scenario| scenario.kind != Kind::Idle,
        ratio: |results, scenario| cpu(results, scenario, Baseline),
    },
    Goal {
        name: "unary: CPU per call, to Envoy",
        most: 0.45,
        about: |scenario| scenario.kind == Kind::Unary,
        ratio: |results, scenario| cpu(results, scenario, Envoy),
    },
    Goal {
        name: "unary: CPU per call, to floor",
        most: 1.3,
        about: |scenario| scenario.kind == Kind::Unary,
        ratio: |results, scenario| cpu(results, scenario, Floor),
    },
    Goal { name: "closed loop: p99, to Envoy", most: 1.0, about: |scenario| scenario.kind == Kind::Unary, ratio: p99 },
    Goal { name: "open loop: p99, to Envoy", most: 1.0, about: |scenario| scenario.kind == Kind::Open, ratio: p99 },
    Goal {
        name: "paced streams: CPU per message, to Envoy",
        most: 0.7,
        about: |scenario| scenario.kind == Kind::Paced,
        ratio: |results, scenario| cpu(results, scenario, Envoy),
    },
    Goal {
        name: "flood: CPU per message, to Envoy",
        most: 1.0,
        about: |scenario| scenario.kind == Kind::Flood,
        ratio: |results, scenario| cpu(results, scenario, Envoy),
    },
    Goal {
        name: "refusal: CPU per call, to Envoy",
        most: 0.3,
        about: |scenario| scenario.kind == Kind::Refused,
        ratio: |results, scenario| cpu(results, scenario, Envoy),
    },
    Goal {
        name: "JSON: CPU per call, to Envoy's transcoder",
        most: 0.4,
        about: |scenario| scenario.kind == Kind::Json,
        ratio: |results, scenario| cpu(results, scenario, Envoy),
    },
    Goal {
        name: "JSON: CPU per call, to structured-proxy",
        most: 0.6,
        about: |scenario| scenario.kind == Kind::Json,
        ratio: |results, scenario| cpu(results, scenario, StructuredProxy),
    },
    Goal {
        name: "JSON 100 B: CPU per call, to gRPC-Web",
        most: 1.5,
        about: |scenario| scenario.kind == Kind::Json && scenario.size == 100,
        ratio: |results, scenario| cpu(results, scenario, OverGrpcWeb),
    },
    Goal {
        name: "Connect: CPU per call, to gRPC-Web",
        most: 1.1,
        about: |scenario| scenario.kind == Kind::Connect,
        ratio: |results, scenario| cpu(results, scenario, OverGrpcWeb),
    },
    Goal {
        name: "events: CPU per message, to Envoy's transcoder",
        most: 0.4,
        about: |scenario| scenario.kind == Kind::Events,
        ratio: |results, scenario| cpu(results, scenario, Envoy),
    },
    Goal {
        name: "events: CPU per message, to structured-proxy",
        most: 0.6,
        about: |scenario| scenario.kind == Kind::Events,
        ratio: |results, scenario| cpu(results, scenario, StructuredProxy),
    },
    Goal {
        // Two cores then make 1.8 times the calls of one.
        name: "two threads: CPU per call, to one core",
        most: 1.11,
        about: |scenario| scenario.kind == Kind::Cores,
        ratio: |results, scenario| results.ratio(&scenario.name, TwoThreads, Gateway, Sample::cpu_each),
    },
    Goal {
        name: "memory under load, to Envoy",
        most: 0.5,
        about: |scenario| matches!(scenario.kind, Kind::Unary | Kind::Flood | Kind::Paced),
        ratio: |results, scenario| {
            results.ratio(&scenario.name, Gateway, Envoy, |sample: &Sample| sample.memory as f64)
        },
    },
    Goal {
        name: "idle streams: memory, to Envoy",
        most: 1.0,
        about: |scenario| scenario.kind == Kind::Idle,
        ratio: |results, scenario| Some(results.held(&scenario.name, Gateway)? / results.held(&scenario.name, Envoy)?),
    },
];

/// The result of one goal.
pub(super) struct Verdict {
    pub(super) name: &'static str,
    pub(super) most: f64,
    /// Pairs of ratio and scenario, best first.
    pub(super) ratios: Vec<(f64, String)>,
}

impl Verdict {
    pub(super) fn met(&self) -> usize {
        self.ratios.iter().filter(|(ratio, _)| *ratio <= self.most).count()
    }
}

/// The results of all goals with measurements.
pub(super) fn verdicts(scenarios: &[Scenario], results: &Results) -> Vec<Verdict> {
    let verdicts = GOALS.iter().map(|goal| {
        let about = scenarios.iter().filter(|scenario| (goal.about)(scenario));
        let mut ratios: Vec<_> =
            about.filter_map(|scenario| Some(((goal.ratio)(results, scenario)?, scenario.name.clone()))).collect();
        ratios.sort_by(|one, other| one.0.total_cmp(&other.0));
        Verdict { name: goal.name, most: goal.most, ratios }
    });
    verdicts.filter(|verdict| !verdict.ratios.is_empty()).collect()
}

fn cpu(results: &Results, scenario: &Scenario, to: Contender) -> Option<f64> {
    results.ratio(&scenario.name, Gateway, to, Sample::cpu_each)
}

fn p99(results: &Results, scenario: &Scenario) -> Option<f64> {
    let of = |contender| results.latency(&scenario.name, contender).quantile(0.99);
    Some(of(Gateway)?.as_secs_f64() / of(Envoy)?.as_secs_f64())
}
