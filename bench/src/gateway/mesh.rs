//! The mesh around the gateway under test: separate processes of users and auth, on the load's core, so that the gateway
//! verifies a genuine token as in production.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use prost::Message as _;
use proto::auth::v1::{SignUpRequest, SignUpResponse, auth_service_client::AuthServiceClient};

use super::process::{Process, free_port};
use crate::records;

/// The timeout of the sign-up. The gateway accepts calls before its services are ready.
const SIGN_UP_TIMEOUT: Duration = Duration::from_secs(60);
const PARTS: [&str; 4] = ["users", "auth", "messaging", "gateway"];

/// The prefix of services that only signed-in users may call.
pub(super) const GUARDED: &str = "bench.guarded";
/// The prefix of public services.
pub(super) const OPEN: &str = "bench.open";

pub(super) struct Mesh {
    folder: PathBuf,
    users: u16,
    auth: u16,
    /// The echo service.
    upstream: u16,
    /// The descriptors of its contract.
    descriptors: PathBuf,
    _services: [Process; 2],
}

/// The settings of a gateway.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) name: &'static str,
    pub(super) binary: PathBuf,
    pub(super) port: u16,
    pub(super) log_level: &'static str,
    /// The rate limit of a caller, in calls per hour.
    pub(super) quota: u32,
    /// `gateway.threads`, if it is not the default.
    pub(super) threads: Option<usize>,
}

impl Mesh {
    /// Starts the services.
    pub(super) async fn start(binary: &Path, folder: &Path, upstream: u16, descriptors: &Path) -> Result<Self, String> {
        make_keys(binary, folder)?;
        let (users, auth) = (free_port()?, free_port()?);
        let start = |part: &str| {
            let command = command(binary, folder, part, users, auth)?;
            Process::start(&command, super::LOAD_CORE, &folder.join(format!("{part}.log")))
        };
        let mut services = [start("users")?, start("auth")?];
        services[0].listens(users).await?;
        services[1].listens(auth).await?;
        let (folder, descriptors) = (folder.to_owned(), descriptors.to_owned());
        Ok(Self { folder, users, auth, upstream, descriptors, _services: services })
    }

    /// The command that starts a gateway.
    pub(super) fn gateway(&self, setup: &Setup) -> Result<Command, String> {
        let file = self.folder.join(format!("{}.toml", setup.name));
        fs::write(&file, self.config(setup)).map_err(|e| format!("{}: {e}", file.display()))?;
        let mut command = command(&setup.binary, &self.folder, "gateway", self.users, self.auth)?;
        command.arg("--config").arg(file);
        Ok(command)
    }

    /// The configuration file, with the echo service as an external upstream.
    fn config(&self, setup: &Setup) -> String {
        let Setup { port, log_level, quota, threads, .. } = setup;
        let threads = threads.map(|threads| format!("threads = {threads}\n")).unwrap_or_default();
        let (upstream, descriptors) = (self.upstream, self.descriptors.display());
        format!(
            "[log]\nlevel = \"{log_level}\"\n\
             [limits]\ncalls_in_flight = 100000\n\
             [gateway]\nlisten = [\"127.0.0.1:{port}\"]\n\
             default_rate_requests = {quota}\ndefault_rate_period = \"1h\"\n{threads}\
             [gateway.external.\"{GUARDED}\"]\nto = [\"http://127.0.0.1:{upstream}\"]\naccess = \"signed_in\"\n\
             [gateway.external.\"{OPEN}\"]\nto = [\"http://127.0.0.1:{upstream}\"]\naccess = \"public\"\n\
             [gateway.external.\"{}\"]\nto = [\"http://127.0.0.1:{upstream}\"]\naccess = \"signed_in\"\n\
             descriptors = \"{descriptors}\"\n",
            records::PREFIX
        )
    }

    /// Signs up a user and returns the access token.
    pub(super) async fn sign_up(&self, gateway: u16) -> Result<String, String> {
        let request = SignUpRequest {
            email: "bench@example.org".to_owned(),
            password: "correct horse battery staple".to_owned(),
            handle: "bench".to_owned(),
            display_name: "Bench".to_owned(),
            ..SignUpRequest::default()
        };
        let address = format!("http://127.0.0.1:{gateway}");
        let started = Instant::now();
        loop {
            let channel = tonic::transport::Endpoint::from_shared(address.clone()).map_err(|e| e.to_string())?;
            match AuthServiceClient::new(channel.connect_lazy()).sign_up(request.clone()).await {
                Ok(response) => return token(&response.into_inner()),
                Err(status) if status.code() == tonic::Code::Unavailable && started.elapsed() < SIGN_UP_TIMEOUT => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(status) => return Err(format!("cannot sign up a user: {status}")),
            }
        }
    }
}

fn token(response: &SignUpResponse) -> Result<String, String> {
    let tokens = response.tokens.as_ref().ok_or_else(|| format!("no tokens in {} bytes", response.encoded_len()))?;
    Ok(tokens.access_token.clone())
}

/// Creates an identity for each part, and auth's secrets.
fn make_keys(binary: &Path, folder: &Path) -> Result<(), String> {
    let trusted = folder.join("trusted");
    fs::create_dir(&trusted).map_err(|e| format!("{}: {e}", trusted.display()))?;
    for part in PARTS {
        run(Command::new(binary).args(["keys", "new", "--name", part, "--out"]).arg(folder))?;
        let public = format!("{part}.pub");
        fs::rename(folder.join(&public), trusted.join(&public)).map_err(|e| format!("{public}: {e}"))?;
    }
    run(Command::new(binary).args(["keys", "auth", "--out"]).arg(folder.join("auth")))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{}: {e}", command.get_program().to_string_lossy()))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

fn command(binary: &Path, folder: &Path, part: &str, users: u16, auth: u16) -> Result<Command, String> {
    let mut command = Command::new(binary);
    command.arg(part);
    command.env("TRELLIS_DATA_DIR", folder.join("data"));
    command.env("TRELLIS_IDENTITY__KEY_FILE", folder.join(format!("{part}.key")));
    command.env("TRELLIS_IDENTITY__TRUSTED_DIR", folder.join("trusted"));
    command.env("TRELLIS_AUTH__KEYS_DIR", folder.join("auth"));
    // The maximum, because a full run takes longer than the default.
    command.env("TRELLIS_AUTH__ACCESS_LIFETIME", "1h");
    for (name, port) in [("USERS", users), ("AUTH", auth)] {
        command.env(format!("TRELLIS_{name}__LISTEN"), format!("127.0.0.1:{port}"));
        command.env(format!("TRELLIS_PEERS__{name}"), format!("http://127.0.0.1:{port}"));
    }
    command.env("TRELLIS_ADMIN__LISTEN", format!("127.0.0.1:{}", free_port()?));
    Ok(command)
}
