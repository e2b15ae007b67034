//! The contenders: how each is started and called.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{
    LOAD_CORE, PROXY_CORE,
    envoy::{self, Ports},
    mesh::{GUARDED, Mesh, OPEN, Setup},
    process::{Process, free_port},
    scenarios::{Kind, Scenario},
};
use crate::load::{Dialect, Http, Request, Route};

/// A way from the client to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Contender {
    /// The gateway with the full cost of a signed-in user's call, without the access log.
    Gateway,
    Envoy,
    /// The service itself, with gRPC-Web.
    TonicWeb,
    /// The service itself, with plain gRPC.
    Direct,
    Floor,
    /// Like `Gateway`, with a public method and no token.
    NoToken,
    /// Like `Gateway`, with a public method and a token.
    OpenWithToken,
    /// Like `Gateway`, with the access log.
    Logged,
    /// Like `Gateway`, without the span of a call.
    NoSpan,
    /// Like `Gateway`, another binary (`--baseline`).
    Baseline,
}

/// The gateways and their log levels: without the access log, with it, without spans, and one that refuses all calls.
const GATEWAYS: [(&str, &str); 4] =
    [("gateway", "info,access=off"), ("logged", "info"), ("quiet", "warn"), ("refusing", "info,access=off")];
/// The gateways of the baseline: like the first and the last of [`GATEWAYS`].
const BASELINES: [(&str, &str); 2] = [("baseline", GATEWAYS[0].1), ("baseline-refusing", GATEWAYS[3].1)];
/// More calls than any run makes.
const PLENTY: u32 = u32::MAX;

impl Contender {
    pub(super) const ALL: [Self; 10] = [
        Self::Gateway,
        Self::Envoy,
        Self::TonicWeb,
        Self::Direct,
        Self::Floor,
        Self::NoToken,
        Self::OpenWithToken,
        Self::Logged,
        Self::NoSpan,
        Self::Baseline,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Envoy => "envoy",
            Self::TonicWeb => "tonic-web",
            Self::Direct => "direct-grpc",
            Self::Floor => "floor",
            Self::NoToken => "gateway-open-no-token",
            Self::OpenWithToken => "gateway-open-token",
            Self::Logged => "gateway-access-log",
            Self::NoSpan => "gateway-no-span",
            Self::Baseline => "gateway-baseline",
        }
    }

    /// Whether it is a separate contender, and not the gateway with another setting.
    pub(crate) fn is_way(self) -> bool {
        self <= Self::Floor
    }
}

/// The running contenders.
pub(super) struct Contenders {
    /// Keys, databases, logs and configurations. Removed on drop.
    folder: TempDir,
    envoy: PathBuf,
    ports: Ports,
    echoes: Echoes,
    mesh: Mesh,
    gateways: Vec<(Setup, Process)>,
    proxies: Proxies,
    token: String,
}

/// The proxies other than the gateway.
struct Proxies {
    envoy: Process,
    floor: Process,
    floor_port: u16,
}

/// Four instances of the service: behind the proxies, with and without gRPC-Web, and under test, with and without.
struct Echoes {
    plain: EchoProcess,
    web: EchoProcess,
    tested_plain: EchoProcess,
    tested_web: EchoProcess,
}

struct EchoProcess {
    port: u16,
    web: bool,
    core: usize,
    process: Process,
}

impl Contenders {
    pub(super) async fn start(trellis: &Path, baseline: Option<&Path>, envoy: &Path) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let path = folder.path();
        let echoes = Echoes {
            plain: EchoProcess::start(path, false, LOAD_CORE).await?,
            web: EchoProcess::start(path, true, LOAD_CORE).await?,
            tested_plain: EchoProcess::start(path, false, PROXY_CORE).await?,
            tested_web: EchoProcess::start(path, true, PROXY_CORE).await?,
        };
        let upstream = echoes.plain.port;
        let mesh = Mesh::start(trellis, path, upstream).await?;
        let mut gateways = Vec::new();
        let of_baseline = BASELINES.into_iter().filter(|_| baseline.is_some());
        for (name, log_level) in GATEWAYS.into_iter().chain(of_baseline) {
            let quota = if name.ends_with("refusing") { 1 } else { PLENTY };
            let binary = if name.starts_with("baseline") { baseline.unwrap_or(trellis) } else { trellis };
            let setup = Setup { name, binary: binary.to_owned(), port: free_port()?, log_level, quota };
            let process = start_gateway(&mesh, &setup, path).await?;
            gateways.push((setup, process));
        }
        let ports = Ports { plain: free_port()?, refusing: free_port()?, upstream };
        let floor_port = free_port()?;
        let proxies = Proxies {
            envoy: start_envoy(envoy, path, ports).await?,
            floor: start_floor(path, floor_port, echoes.web.port).await?,
            floor_port,
        };
        let token = mesh.sign_up(gateways[0].0.port).await?;
        Ok(Self { envoy: envoy.to_owned(), folder, ports, echoes, mesh, gateways, proxies, token })
    }

    /// The process ids, for a profiler.
    pub(super) fn pids(&self) -> Vec<(&'static str, u32)> {
        let gateways = self.gateways.iter().map(|(setup, process)| (setup.name, process.id()));
        let others = [("envoy", self.proxies.envoy.id()), ("floor", self.proxies.floor.id())];
        gateways.chain(others).collect()
    }

    pub(super) fn process(&self, contender: Contender) -> &Process {
        match contender {
            Contender::Envoy => &self.proxies.envoy,
            Contender::Floor => &self.proxies.floor,
            Contender::TonicWeb => &self.echoes.tested_web.process,
            Contender::Direct => &self.echoes.tested_plain.process,
            gateway => &self.gateways[Self::gateway_of(gateway)].1,
        }
    }

    /// Like [`Self::process`], with the refusing gateway in the scenario of refusals.
    pub(super) fn process_for(&self, contender: Contender, scenario: &Scenario) -> &Process {
        match (contender, scenario.kind) {
            (Contender::Gateway | Contender::Baseline, Kind::Refused) => &self.gateways[Self::refusing(contender)].1,
            _ => self.process(contender),
        }
    }

    fn gateway_of(contender: Contender) -> usize {
        match contender {
            Contender::Logged => 1,
            Contender::NoSpan => 2,
            Contender::Baseline => GATEWAYS.len(),
            _ => 0,
        }
    }

    /// The gateway that refuses all calls.
    fn refusing(contender: Contender) -> usize {
        if contender == Contender::Baseline { GATEWAYS.len() + 1 } else { 3 }
    }

    pub(super) fn request(&self, contender: Contender, scenario: &Scenario) -> Result<Request, String> {
        let refused = scenario.kind == Kind::Refused;
        let port = match contender {
            Contender::Envoy if refused => self.ports.refusing,
            Contender::Envoy => self.ports.plain,
            Contender::Floor => self.proxies.floor_port,
            Contender::TonicWeb => self.echoes.tested_web.port,
            Contender::Direct => self.echoes.tested_plain.port,
            gateway if refused => self.gateways[Self::refusing(gateway)].0.port,
            gateway => self.gateways[Self::gateway_of(gateway)].0.port,
        };
        let is_open = matches!(contender, Contender::NoToken | Contender::OpenWithToken);
        let prefix = if is_open { OPEN } else { GUARDED };
        let dialect = if contender == Contender::Direct { Dialect::Grpc } else { scenario.dialect };
        if dialect == Dialect::Grpc && scenario.http == Http::One {
            return Err("plain gRPC needs HTTP/2".to_owned());
        }
        let token = (contender != Contender::NoToken).then(|| self.token.clone());
        let route = Route { port, path: format!("/{prefix}.v1.Echo/{}", scenario.method()), dialect, token };
        Request::new(&route, scenario.http, &scenario.message(), scenario.expected())
    }

    /// Restarts all contenders, so that they start each round alike: earlier work changes the cost of later calls.
    pub(super) async fn renew(&mut self) -> Result<(), String> {
        let has_baseline = self.gateways.len() > GATEWAYS.len();
        for contender in Contender::ALL.into_iter().filter(|one| has_baseline || *one != Contender::Baseline) {
            self.restart(contender).await?;
        }
        Ok(())
    }

    /// Restarts a contender on the same port.
    pub(super) async fn restart(&mut self, contender: Contender) -> Result<(), String> {
        let path = self.folder.path();
        match contender {
            Contender::Envoy => {
                self.proxies.envoy.stop();
                self.proxies.envoy = start_envoy(&self.envoy, path, self.ports).await?;
            }
            Contender::Floor => {
                self.proxies.floor.stop();
                let (port, to) = (self.proxies.floor_port, self.echoes.web.port);
                self.proxies.floor = start_floor(path, port, to).await?;
            }
            Contender::TonicWeb => self.echoes.tested_web.restart(path).await?,
            Contender::Direct => self.echoes.tested_plain.restart(path).await?,
            gateway => {
                let (setup, process) = &mut self.gateways[Self::gateway_of(gateway)];
                process.stop();
                *process = start_gateway(&self.mesh, setup, path).await?;
            }
        }
        Ok(())
    }
}

impl EchoProcess {
    async fn start(folder: &Path, web: bool, core: usize) -> Result<Self, String> {
        let port = free_port()?;
        Ok(Self { port, web, core, process: start_echo(folder, port, web, core).await? })
    }

    async fn restart(&mut self, folder: &Path) -> Result<(), String> {
        self.process.stop();
        self.process = start_echo(folder, self.port, self.web, self.core).await?;
        Ok(())
    }
}

async fn start_echo(folder: &Path, port: u16, web: bool, core: usize) -> Result<Process, String> {
    let mut command = myself()?;
    command.args(["echo", "--port", &port.to_string()]).args(web.then_some("--web"));
    started(&command, core, &folder.join("echo.log"), port).await
}

async fn start_gateway(mesh: &Mesh, setup: &Setup, folder: &Path) -> Result<Process, String> {
    let log = folder.join(format!("{}.log", setup.name));
    started(&mesh.gateway(setup)?, PROXY_CORE, &log, setup.port).await
}

async fn start_envoy(binary: &Path, folder: &Path, ports: Ports) -> Result<Process, String> {
    let command = envoy::command(binary, folder, ports)?;
    started(&command, PROXY_CORE, &folder.join("envoy.log"), ports.refusing).await
}

async fn start_floor(folder: &Path, port: u16, to: u16) -> Result<Process, String> {
    let mut command = myself()?;
    command.args(["floor", "--port", &port.to_string(), "--to", &to.to_string()]);
    started(&command, PROXY_CORE, &folder.join("floor.log"), port).await
}

async fn started(command: &Command, core: usize, log: &Path, port: u16) -> Result<Process, String> {
    // The log of an earlier process of this contender would be misleading.
    fs::remove_file(log).ok();
    let mut process = Process::start(command, core, log)?;
    process.listens(port).await?;
    Ok(process)
}

fn myself() -> Result<Command, String> {
    env::current_exe().map(Command::new).map_err(|e| format!("cannot find the path of bench: {e}"))
}
