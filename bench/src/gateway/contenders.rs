//! The contenders: how each is started and called.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{
    BOTH_CORES, LOAD_CORE, PROXY_CORE,
    envoy::{self, Ports},
    mesh::{GUARDED, Mesh, OPEN, Setup},
    process::{Process, free_port},
    scenarios::{Kind, Scenario},
    server::Server,
    structured_proxy,
};
use crate::{
    load::{Dialect, Http, Request, Route},
    records,
};

/// A way from the client to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// The gateway with the full cost of a signed-in user's call, without the access log.
    Gateway,
    Envoy,
    /// The proxy structured-proxy (`--structured-proxy`).
    StructuredProxy,
    /// Handlers on axum and serde with a tonic client.
    HandWritten,
    /// The service itself, with gRPC-Web.
    TonicWeb,
    /// The service itself, with plain gRPC.
    Direct,
    Floor,
    /// Like `Gateway`, with gRPC-Web in a scenario of another protocol.
    OverGrpcWeb,
    /// Like `Gateway`, with a public method and no token.
    NoToken,
    /// Like `Gateway`, with a public method and a token.
    OpenWithToken,
    /// Like `Gateway`, with the access log.
    Logged,
    /// Like `Gateway`, without the span of a call.
    NoSpan,
    /// Like `Gateway`, on two cores.
    TwoCores,
    /// Like `TwoCores`, with `gateway.threads`.
    TwoThreads,
    /// Like `Gateway`, another binary (`--baseline`).
    Baseline,
}

/// The gateways and their log levels: without the access log, with it, without spans, one that refuses all calls, and two
/// on both cores.
const GATEWAYS: [(&str, &str); 6] = [
    ("gateway", "info,access=off"),
    ("logged", "info"),
    ("quiet", "warn"),
    ("refusing", "info,access=off"),
    ("two-cores", "info,access=off"),
    ("two-threads", "info,access=off"),
];
/// The gateways of the baseline: like the first and the last of [`GATEWAYS`].
const BASELINES: [(&str, &str); 2] = [("baseline", GATEWAYS[0].1), ("baseline-refusing", GATEWAYS[3].1)];
/// More calls than any run makes.
const PLENTY: u32 = u32::MAX;

impl Contender {
    pub(super) const ALL: [Self; 15] = [
        Self::Gateway,
        Self::Envoy,
        Self::StructuredProxy,
        Self::HandWritten,
        Self::TonicWeb,
        Self::Direct,
        Self::Floor,
        Self::OverGrpcWeb,
        Self::NoToken,
        Self::OpenWithToken,
        Self::Logged,
        Self::NoSpan,
        Self::TwoCores,
        Self::TwoThreads,
        Self::Baseline,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Envoy => "envoy",
            Self::StructuredProxy => "structured-proxy",
            Self::HandWritten => "axum-serde",
            Self::TonicWeb => "tonic-web",
            Self::Direct => "direct-grpc",
            Self::Floor => "floor",
            Self::OverGrpcWeb => "gateway-grpc-web",
            Self::NoToken => "gateway-open-no-token",
            Self::OpenWithToken => "gateway-open-token",
            Self::Logged => "gateway-access-log",
            Self::NoSpan => "gateway-no-span",
            Self::TwoCores => "gateway-two-cores",
            Self::TwoThreads => "gateway-two-threads",
            Self::Baseline => "gateway-baseline",
        }
    }

    /// Whether it is a separate contender, and not the gateway with another setting.
    pub(crate) fn is_way(self) -> bool {
        self <= Self::Floor
    }
}

/// The binaries that are not this program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binaries<'a> {
    pub(super) trellis: &'a Path,
    pub(super) baseline: Option<&'a Path>,
    pub(super) envoy: &'a Path,
    pub(super) structured_proxy: Option<&'a Path>,
}

/// The running contenders.
pub(super) struct Contenders {
    /// By name: those of [`GATEWAYS`] and [`BASELINES`], and of the other contenders.
    servers: BTreeMap<&'static str, Server>,
    envoy: Ports,
    token: String,
    /// The services behind the contenders.
    _services: [Server; 2],
    _mesh: Mesh,
    /// Keys, databases, logs and configurations. Removed on drop.
    _folder: TempDir,
}

impl Contenders {
    pub(super) async fn start(binaries: &Binaries<'_>) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let path = folder.path();
        let descriptors = path.join("records.binpb");
        fs::write(&descriptors, records::descriptors()?).map_err(|e| format!("{}: {e}", descriptors.display()))?;
        let services =
            [start_echo("plain", false, LOAD_CORE, path).await?, start_echo("web", true, LOAD_CORE, path).await?];
        let (plain, web) = (services[0].port, services[1].port);
        let mesh = Mesh::start(binaries.trellis, path, plain, &descriptors).await?;

        let mut servers = start_gateways(&mesh, binaries, path).await?;
        let ports = Ports::free(plain)?;
        let command = envoy::command(binaries.envoy, path, ports, &descriptors)?;
        servers.insert("envoy", Server::start("envoy", command, PROXY_CORE, path, ports.last()).await?);
        if let Some(binary) = binaries.structured_proxy {
            let (name, port) = (Contender::StructuredProxy.name(), free_port()?);
            let command = structured_proxy::command(binary, path, &descriptors, port, plain)?;
            servers.insert(name, Server::start(name, command, PROXY_CORE, path, port).await?);
        }
        for (contender, subcommand, to) in [(Contender::HandWritten, "rest", plain), (Contender::Floor, "floor", web)] {
            let (name, port) = (contender.name(), free_port()?);
            let mut command = myself()?;
            command.args([subcommand, "--port", &port.to_string(), "--to", &to.to_string()]);
            servers.insert(name, Server::start(name, command, PROXY_CORE, path, port).await?);
        }
        for (contender, web) in [(Contender::TonicWeb, true), (Contender::Direct, false)] {
            let name = contender.name();
            servers.insert(name, start_echo(name, web, PROXY_CORE, path).await?);
        }
        let token = mesh.sign_up(servers[GATEWAYS[0].0].port).await?;
        Ok(Self { servers, envoy: ports, token, _services: services, _mesh: mesh, _folder: folder })
    }

    /// The process ids, for a profiler.
    pub(super) fn pids(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.servers.iter().map(|(name, server)| (*name, server.process.id()))
    }

    /// The process under test.
    pub(super) fn process(&self, contender: Contender, scenario: &Scenario) -> Result<&Process, String> {
        Ok(&self.server(contender, scenario)?.process)
    }

    fn server(&self, contender: Contender, scenario: &Scenario) -> Result<&Server, String> {
        let name = server_of(contender, scenario);
        self.servers.get(name).ok_or_else(|| format!("no binary of {name} is configured"))
    }

    pub(super) fn request(&self, contender: Contender, scenario: &Scenario) -> Result<Request, String> {
        let port = match contender {
            Contender::Envoy => self.envoy.of(scenario.kind),
            _ => self.server(contender, scenario)?.port,
        };
        let is_open = matches!(contender, Contender::NoToken | Contender::OpenWithToken);
        let prefix = if is_open { OPEN } else { GUARDED };
        let dialect = scenario.dialect_of(contender);
        if dialect == Dialect::Grpc && scenario.http == Http::One {
            return Err("plain gRPC needs HTTP/2".to_owned());
        }
        let token = (contender != Contender::NoToken).then(|| self.token.clone());
        let route = Route { port, path: scenario.path(prefix, dialect), dialect, token };
        let (message, document) = scenario.message(dialect)?;
        let request = Request::new(&route, scenario.http, &message, scenario.expected())?;
        Ok(match document {
            Some(document) => request.with_document(document),
            None => request,
        })
    }

    /// Restarts all contenders, so that they start each round alike: earlier work changes the cost of later calls.
    pub(super) async fn renew(&mut self) -> Result<(), String> {
        for server in self.servers.values_mut() {
            server.restart().await?;
        }
        Ok(())
    }

    /// Restarts a contender on the same port.
    pub(super) async fn restart(&mut self, contender: Contender, scenario: &Scenario) -> Result<(), String> {
        let name = server_of(contender, scenario);
        match self.servers.get_mut(name) {
            Some(server) => server.restart().await,
            None => Err(format!("no binary of {name} is configured")),
        }
    }
}

/// The name of the server that a contender uses.
fn server_of(contender: Contender, scenario: &Scenario) -> &'static str {
    let refused = scenario.kind == Kind::Refused;
    match contender {
        Contender::Gateway if refused => GATEWAYS[3].0,
        Contender::Gateway | Contender::OverGrpcWeb | Contender::NoToken | Contender::OpenWithToken => GATEWAYS[0].0,
        Contender::Logged => GATEWAYS[1].0,
        Contender::NoSpan => GATEWAYS[2].0,
        Contender::TwoCores => GATEWAYS[4].0,
        Contender::TwoThreads => GATEWAYS[5].0,
        Contender::Baseline if refused => BASELINES[1].0,
        Contender::Baseline => BASELINES[0].0,
        other => other.name(),
    }
}

async fn start_gateways(
    mesh: &Mesh,
    binaries: &Binaries<'_>,
    folder: &Path,
) -> Result<BTreeMap<&'static str, Server>, String> {
    let baselines = binaries.baseline.into_iter().flat_map(|binary| BASELINES.map(|gateway| (gateway, binary)));
    let gateways = GATEWAYS.into_iter().map(|gateway| (gateway, binaries.trellis)).chain(baselines);
    let mut servers = BTreeMap::new();
    for ((name, log_level), binary) in gateways {
        let quota = if name.ends_with("refusing") { 1 } else { PLENTY };
        let (cores, threads) = match name {
            "two-cores" => (BOTH_CORES, None),
            "two-threads" => (BOTH_CORES, Some(2)),
            _ => (PROXY_CORE, None),
        };
        let setup = Setup { name, binary: PathBuf::from(binary), port: free_port()?, log_level, quota, threads };
        let server = Server::start(name, mesh.gateway(&setup)?, cores, folder, setup.port).await?;
        servers.insert(name, server);
    }
    Ok(servers)
}

async fn start_echo(name: &str, web: bool, cores: &'static str, folder: &Path) -> Result<Server, String> {
    let port = free_port()?;
    let mut command = myself()?;
    command.args(["echo", "--port", &port.to_string()]).args(web.then_some("--web"));
    Server::start(name, command, cores, folder, port).await
}

fn myself() -> Result<Command, String> {
    env::current_exe().map(Command::new).map_err(|e| format!("cannot find the path of bench: {e}"))
}
