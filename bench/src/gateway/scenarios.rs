//! The scenarios.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::contenders::Contender::{
    self, Baseline, Direct, Envoy, Floor, Gateway, HandWritten, Logged, NoSpan, NoToken, OpenWithToken, OverGrpcWeb,
    StructuredProxy, TonicWeb, TwoCores, TwoThreads,
};
use crate::{
    echo::Order,
    load::{Dialect, Document, Drive, Expected, Http, Plan},
    records::{REPEAT, REPEAT_HTTP, Record, UNARY, UNARY_HTTP},
};

/// The length of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    /// The length of a window.
    pub(crate) seconds: f64,
    /// The selection of scenarios.
    pub(super) breadth: Breadth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Breadth {
    Main,
    LatencyBaseline,
    All,
}

impl Pace {
    pub(crate) const QUICK: Self = Self { rounds: 1, seconds: 0.7, breadth: Breadth::Main };
    pub(crate) const USUAL: Self = Self { rounds: 3, seconds: 0.7, breadth: Breadth::LatencyBaseline };
    pub(crate) const FULL: Self = Self { rounds: 5, seconds: 3.0, breadth: Breadth::All };
}

/// A load that each contender is measured with.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) http: Http,
    /// The protocol of most contenders, see [`Self::dialect_of`].
    dialect: Dialect,
    pub(crate) connections: usize,
    /// Concurrent calls on each connection.
    calls_each: usize,
    /// The size of a message, in bytes.
    pub(crate) size: usize,
    pub(crate) contenders: Vec<Contender>,
    seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Unary calls in a closed loop.
    Unary,
    /// Unary calls in an open loop.
    Open,
    /// Streams of messages as fast as the client reads.
    Flood,
    /// Streams with a message at each interval.
    Paced,
    /// Calls that the rate limit refuses.
    Refused,
    /// Idle streams, for memory.
    Idle,
    /// Unary calls to the gateway with different settings.
    Steps,
    /// Unary calls to the gateway on one core and on two.
    Cores,
    /// Unary calls to processes that have just held the idle streams.
    Afterwards,
    /// Unary calls with JSON over HTTP, in a closed loop.
    Json,
    /// Unary calls with Connect and protobuf, in a closed loop.
    Connect,
    /// Streams of server-sent events, as fast as the client reads.
    Events,
}

const SMALL: usize = 100;
/// The idle streams: 100 connections of 100 streams.
const IDLE: usize = 100;
const FLOODS: usize = 16;
const PACED: usize = 256;
/// The interval of messages of a paced stream.
const PAUSE: Duration = Duration::from_millis(50);

/// All scenarios of a pace, in the order of the run.
pub(crate) fn all(pace: &Pace) -> Vec<Scenario> {
    let mut all = Vec::new();
    // First in a round, while the compared gateways are equally fresh.
    all.push((Breadth::Main, scenario(Kind::Steps, Http::One, 16, SMALL, pace)));
    all.push((Breadth::LatencyBaseline, scenario(Kind::Steps, Http::Two, 16, SMALL, pace)));
    for (http, connections) in [(Http::One, 1), (Http::One, 16), (Http::Two, 16)] {
        all.push((Breadth::LatencyBaseline, scenario(Kind::Cores, http, connections, SMALL, pace)));
    }
    for (size, connections, breadth) in [
        (SMALL, 16, Breadth::Main),
        (SMALL, 512, Breadth::Main),
        (10_000, 16, Breadth::Main),
        (10_000, 512, Breadth::LatencyBaseline),
        (1_000_000, 16, Breadth::Main),
        // A response takes seconds, so that few calls complete in a short window.
        (1_000_000, 512, Breadth::All),
    ] {
        for http in [Http::One, Http::Two] {
            let open = if size == SMALL && connections == 16 { Breadth::Main } else { Breadth::All };
            all.push((breadth, scenario(Kind::Unary, http, connections, size, pace)));
            all.push((open, scenario(Kind::Open, http, connections, size, pace)));
        }
    }
    for (size, breadth) in [(SMALL, Breadth::Main), (10_000, Breadth::LatencyBaseline)] {
        let multiplexed = scenario(Kind::Unary, Http::Two, 16, size, pace).into_multiplexed();
        all.push((breadth, multiplexed.clone()));
        all.push((breadth, multiplexed.into_grpc()));
    }
    for http in [Http::One, Http::Two] {
        for (size, breadth) in [(SMALL, Breadth::Main), (10_000, Breadth::LatencyBaseline)] {
            all.push((breadth, scenario(Kind::Unary, http, 16, size, pace).into_text()));
        }
    }
    for http in [Http::One, Http::Two] {
        all.push((Breadth::Main, scenario(Kind::Flood, http, FLOODS, SMALL, pace)));
        all.push((Breadth::Main, scenario(Kind::Paced, http, PACED, SMALL, pace)));
        all.push((Breadth::Main, scenario(Kind::Refused, http, 16, SMALL, pace)));
    }
    for kind in [Kind::Json, Kind::Connect] {
        all.push((Breadth::Main, scenario(kind, Http::One, 16, SMALL, pace)));
        all.push((Breadth::Main, scenario(kind, Http::Two, 16, SMALL, pace)));
        for size in [1_000, 10_000] {
            all.push((Breadth::Main, scenario(kind, Http::One, 16, size, pace)));
            all.push((Breadth::LatencyBaseline, scenario(kind, Http::Two, 16, size, pace)));
        }
    }
    for http in [Http::One, Http::Two] {
        all.push((Breadth::Main, scenario(Kind::Events, http, FLOODS, SMALL, pace)));
    }
    all.push((Breadth::Main, scenario(Kind::Idle, Http::Two, IDLE, SMALL, pace)));
    all.push((Breadth::Main, scenario(Kind::Afterwards, Http::One, 16, SMALL, pace)));
    all.into_iter().filter(|(breadth, _)| *breadth <= pace.breadth).map(|(_, scenario)| scenario).collect()
}

fn scenario(kind: Kind, http: Http, connections: usize, size: usize, pace: &Pace) -> Scenario {
    let over = match http {
        Http::One => "HTTP/1.1",
        Http::Two => "h2",
    };
    let shown = shown(size);
    let name = match kind {
        Kind::Unary => format!("unary {shown}, {connections} connections, {over}"),
        Kind::Open => format!("open loop {shown}, {connections} connections, {over}"),
        Kind::Flood => format!("flood {shown}, {connections} streams, {over}"),
        Kind::Paced => format!("paced {shown}, {connections} streams, {over}"),
        Kind::Refused => format!("refusals, {connections} connections, {over}"),
        Kind::Idle => format!("{} idle streams, {over}", connections * IDLE),
        Kind::Afterwards => format!("after the idle streams, unary {shown}, {connections} connections, {over}"),
        Kind::Cores => format!("cores, unary {shown}, {connections} at once, {over}"),
        Kind::Steps => format!("steps, unary {shown}, {connections} connections, {over}"),
        Kind::Json => format!("JSON {shown}, {connections} connections, {over}"),
        Kind::Connect => format!("Connect {shown}, {connections} connections, {over}"),
        Kind::Events => format!("events {shown}, {connections} streams, {over}"),
    };
    let mut contenders = match kind {
        Kind::Refused => vec![Gateway, Envoy],
        Kind::Steps => vec![Gateway, NoToken, OpenWithToken, Logged, NoSpan],
        Kind::Cores => vec![Gateway, TwoCores, TwoThreads],
        // The floor converts nothing, so it forwards gRPC-Web.
        Kind::Json | Kind::Events => vec![Gateway, Envoy, StructuredProxy, HandWritten, Floor, OverGrpcWeb],
        Kind::Connect => vec![Gateway, Envoy, Floor, OverGrpcWeb],
        _ => vec![Gateway, Envoy, TonicWeb, Direct, Floor],
    };
    contenders.retain(|contender| http == Http::Two || *contender != Direct);
    // Few large messages fit into a window, so it is longer.
    let seconds = match (size, connections) {
        (1_000_000.., 512..) => pace.seconds * 5.0,
        (1_000_000.., _) => pace.seconds * 1.5,
        _ => pace.seconds,
    };
    let dialect = match kind {
        Kind::Json => Dialect::Json,
        Kind::Connect => Dialect::Connect,
        Kind::Events => Dialect::Events,
        _ => Dialect::Web,
    };
    // A browser has one HTTP/2 connection for all its streams.
    let (connections, calls_each) = match (kind, http) {
        (Kind::Idle, _) => (connections, IDLE),
        (Kind::Paced, Http::Two) => (16, connections / 16),
        _ => (connections, 1),
    };
    Scenario { name, kind, http, dialect, connections, calls_each, size, contenders, seconds }
}

fn shown(size: usize) -> String {
    match size {
        1_000_000.. => format!("{} MB", size / 1_000_000),
        1_000.. => format!("{} kB", size / 1_000),
        _ => format!("{size} B"),
    }
}

impl Scenario {
    /// The same load in gRPC-Web-text.
    fn into_text(mut self) -> Self {
        self.name.push_str(", gRPC-Web-text");
        self.dialect = Dialect::WebText;
        // The floor does not decode, and plain gRPC has no text form.
        self.contenders.retain(|contender| !matches!(contender, Direct | Floor));
        self
    }

    /// The same calls as streams of one connection.
    fn into_multiplexed(mut self) -> Self {
        let streams = format!("1 connection of {} streams", self.connections);
        self.name = self.name.replace(&format!("{} connections", self.connections), &streams);
        (self.connections, self.calls_each) = (1, self.connections);
        self
    }

    /// The same load in plain gRPC.
    fn into_grpc(mut self) -> Self {
        self.name.push_str(", gRPC");
        self.dialect = Dialect::Grpc;
        // `Direct` is the same service.
        self.contenders.retain(|contender| *contender != TonicWeb);
        self
    }

    /// Adds the baseline beside the gateway.
    pub(super) fn add_baseline(&mut self) {
        if let Some(at) = self.contenders.iter().position(|contender| *contender == Gateway) {
            self.contenders.insert(at + 1, Baseline);
        }
    }

    /// The load. `rate` returns the rate of an open loop, in calls/s.
    pub(super) fn plan(&self, rate: impl FnOnce() -> Option<f64>) -> Result<Plan, String> {
        let drive = match self.kind {
            Kind::Unary | Kind::Refused | Kind::Steps | Kind::Cores | Kind::Afterwards | Kind::Json | Kind::Connect => {
                Drive::Closed
            }
            Kind::Open => Drive::Open(rate().ok_or("the open loop needs a run of its closed loop first")?),
            // Records have no stamp.
            Kind::Flood | Kind::Paced | Kind::Idle | Kind::Events => Drive::Streams { stamped: !self.has_records() },
        };
        let &Self { connections, calls_each, seconds, .. } = self;
        let [warm_up, window] = [seconds / 4.0, seconds].map(Duration::from_secs_f64);
        Ok(Plan { connections, calls_each, drive, warm_up, window })
    }

    /// Whether messages are records of the contract `records.proto`.
    pub(super) fn has_records(&self) -> bool {
        matches!(self.kind, Kind::Json | Kind::Connect | Kind::Events)
    }

    pub(super) fn dialect_of(&self, contender: Contender) -> Dialect {
        match contender {
            Direct => Dialect::Grpc,
            OverGrpcWeb => Dialect::Web,
            Floor if self.has_records() => Dialect::Web,
            _ => self.dialect,
        }
    }

    /// The path of the call. `prefix` is that of the service without descriptors.
    pub(super) fn path(&self, prefix: &str, dialect: Dialect) -> String {
        let streams = self.expected() == Expected::Endless;
        match (self.has_records(), dialect) {
            (false, _) => format!("/{prefix}.v1.Echo/{}", if streams { "Stream" } else { "Unary" }),
            (true, Dialect::Json | Dialect::Events) => (if streams { REPEAT_HTTP } else { UNARY_HTTP }).to_owned(),
            (true, _) => (if streams { REPEAT } else { UNARY }).to_owned(),
        }
    }

    /// The request's message in the format of the dialect, and the expected content of a response without framing.
    pub(super) fn message(&self, dialect: Dialect) -> Result<(Bytes, Option<Document>), String> {
        let size = u32::try_from(self.size).unwrap_or(u32::MAX);
        let order = |pause| (Order { size, pause }.encode(), None);
        Ok(match (self.kind, dialect) {
            (Kind::Flood, _) => order(Duration::ZERO),
            (Kind::Paced, _) => order(PAUSE),
            (Kind::Idle, _) => order(Duration::from_secs(3_600)),
            (_, Dialect::Json | Dialect::Events) => {
                let text = Record::of_size(self.size).json()?;
                let document = Document::json(&text)?;
                (text.into(), Some(document))
            }
            (_, Dialect::Connect) => {
                let message = Record::of_size(self.size).encode_to_vec();
                let document = Document::bytes(&message);
                (message.into(), Some(document))
            }
            _ if self.has_records() => (Record::of_size(self.size).encode_to_vec().into(), None),
            _ => (Bytes::from(vec![7; self.size]), None),
        })
    }

    pub(super) fn expected(&self) -> Expected {
        match self.kind {
            Kind::Flood | Kind::Paced | Kind::Idle | Kind::Events => Expected::Endless,
            Kind::Refused => Expected::Refusal,
            Kind::Unary | Kind::Open | Kind::Steps | Kind::Cores | Kind::Afterwards | Kind::Json | Kind::Connect => {
                Expected::Echo(self.size)
            }
        }
    }

    /// The name of the closed loop of this open loop.
    pub(super) fn closed(&self) -> String {
        self.name.replace("open loop", "unary")
    }

    /// The counted unit.
    pub(super) fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Flood | Kind::Paced | Kind::Events => "message",
            _ => "call",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_open_loops_follow_closed_ones() {
        for pace in [Pace::QUICK, Pace::USUAL, Pace::FULL] {
            let all = all(&pace);
            for (at, scenario) in all.iter().enumerate() {
                assert!(all[..at].iter().all(|before| before.name != scenario.name), "{}", scenario.name);
                if scenario.kind == Kind::Open {
                    assert!(all[..at].iter().any(|before| before.name == scenario.closed()), "{}", scenario.name);
                }
            }
        }
    }
}
