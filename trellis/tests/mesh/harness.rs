//! Starts and stops the real binary, and calls it as clients do.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use kit::{ClockAndRng, Context};
use proto::{
    auth::v1::{ClaimAdminRequest, SignInRequest, SignUpRequest, Tokens, auth_service_client::AuthServiceClient},
    messaging::v1::messaging_service_client::MessagingServiceClient,
    users::v1::users_service_client::UsersServiceClient,
};
use tempfile::TempDir;
use tonic::{Request, metadata::MetadataValue, transport::Channel};

use super::grpc::Raw;
pub(crate) use super::redis::free_port;

/// How long a start may take on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Which database a mesh runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Sqlite,
    Postgres,
}

/// A mesh and how to start it, so that a test can restart it.
pub(crate) struct Mesh {
    folder: TempDir,
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
    /// Whether the process may use one core only.
    on_one_core: bool,
    pub(crate) ports: Ports,
    child: Option<Child>,
}

/// Where a mesh listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) gateway: u16,
    pub(crate) users: u16,
    pub(crate) auth: u16,
    pub(crate) messaging: u16,
    pub(crate) admin: u16,
    /// Services without a field, in the order of `proto::SERVICES`.
    pub(crate) others: [u16; proto::SERVICES.len() - 3],
}

impl Ports {
    pub(crate) fn free() -> Self {
        let [gateway, users, auth, messaging, admin] = std::array::from_fn(|_| free_port());
        Self { gateway, users, auth, messaging, admin, others: std::array::from_fn(|_| free_port()) }
    }

    /// The name and port of each service.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&'static str, u16)> {
        let Self { users, auth, messaging, others, .. } = *self;
        let mut others = others.into_iter();
        proto::SERVICES.into_iter().map(move |name| {
            let port = match name {
                "users" => users,
                "auth" => auth,
                "messaging" => messaging,
                _ => others.next().expect("a port for each service"),
            };
            (name, port)
        })
    }

    /// The prefix of the paths of each service, and a connection to it.
    pub(crate) async fn connections(&self) -> Vec<(String, Raw)> {
        let mut made = Vec::new();
        for (name, port) in self.services() {
            made.push((format!("/trellis.{name}."), Raw::connect(port).await));
        }
        made
    }

    /// The environment variables with these ports.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let all = self.services().chain([("gateway", self.gateway), ("admin", self.admin)]);
        all.map(|(part, port)| (format!("TRELLIS_{}__LISTEN", part.to_uppercase()), format!("127.0.0.1:{port}")))
            .collect()
    }
}

impl Mesh {
    /// A mesh in one process, started and ready.
    pub(crate) async fn start(store: Store, settings: &[(&str, &str)]) -> Self {
        let mut mesh = Self::prepared(store, settings).await;
        mesh.launch();
        mesh.ready(mesh.ports.gateway).await;
        mesh
    }

    /// Like [`Mesh::start`], in a process that may use one core only.
    pub(crate) async fn start_on_one_core(store: Store, settings: &[(&str, &str)]) -> Self {
        let mut mesh = Self::prepared(store, settings).await;
        mesh.on_one_core();
        mesh.launch();
        mesh.ready(mesh.ports.gateway).await;
        mesh
    }

    /// Restricts the process to one core.
    pub(crate) fn on_one_core(&mut self) {
        self.on_one_core = true;
    }

    async fn prepared(store: Store, settings: &[(&str, &str)]) -> Self {
        let mut mesh = Self::new(&[], Ports::free());
        if store == Store::Postgres {
            mesh.use_postgres().await;
        }
        for (name, value) in settings {
            mesh.set(name, value);
        }
        mesh
    }

    /// A process that is not started yet.
    pub(crate) fn new(arguments: &[&str], ports: Ports) -> Self {
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        let (folder, mut variables) = (TempDir::new().unwrap(), ports.variables());
        #[expect(clippy::disallowed_methods, reason = "the setting of a whole run of the tests")]
        let threads = std::env::var("TRELLIS_TEST_GATEWAY_THREADS").ok();
        variables.extend(threads.map(|threads| ("TRELLIS_GATEWAY__THREADS".to_owned(), threads)));
        Self { folder, variables, arguments, on_one_core: false, ports, child: None }
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((format!("TRELLIS_{name}"), value.to_owned()));
    }

    /// Sets an environment variable without the prefix of Trellis.
    pub(crate) fn set_elsewhere(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) async fn use_postgres(&mut self) {
        let url = fresh_database().await;
        for service in proto::SERVICES {
            self.set(&format!("{}__DATABASE_URL", service.to_uppercase()), &url);
        }
    }

    /// The process's own folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the process has written to standard error so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("stderr.log")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = self.bare_command();
        command.args(&self.arguments);
        command
    }

    /// The program with the settings of this process, without its arguments.
    pub(crate) fn bare_command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_trellis");
        let mut command = Command::new(if self.on_one_core { "taskset" } else { program });
        if self.on_one_core {
            // `taskset` executes the program in its place.
            command.args(["--cpu-list", "0", program]);
        }
        command.env_clear().env("XDG_DATA_HOME", self.folder.path()).envs(self.variables.iter().cloned());
        command
    }

    pub(crate) fn launch(&mut self) {
        self.launch_onto(Stdio::null());
    }

    /// Like [`Mesh::launch`], and captures standard output.
    pub(crate) fn launch_with_output(&mut self) {
        self.launch_onto(File::create(self.output_path()).unwrap().into());
    }

    fn launch_onto(&mut self, output: Stdio) {
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = self.command().stdin(Stdio::null()).stdout(output).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }

    /// What the process has written to standard output so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.output_path()).unwrap_or_default()
    }

    fn output_path(&self) -> PathBuf {
        self.folder.path().join("stdout.log")
    }

    /// Waits until the process has logged a matching line.
    pub(crate) async fn until_logged(&self, is_it: impl Fn(&str) -> bool) {
        let started = Instant::now();
        while !self.log().lines().any(&is_it) {
            assert!(started.elapsed() < START, "no such line in the log:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until `port` reports readiness.
    pub(crate) async fn ready(&mut self, port: u16) {
        let started = Instant::now();
        while !is_ready(port).await {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().unwrap()) {
                panic!("trellis exited with {status}:\n{}", self.log());
            }
            assert!(started.elapsed() < START, "trellis is not ready in time:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The resident memory of the process.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.status("VmRSS")
    }

    /// The id of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("the process runs").id()
    }

    /// A numeric row of proc_pid_status(5).
    pub(crate) fn status(&self, row: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let found = status.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| *name == row);
        found.and_then(|(_, value)| value.split_whitespace().next()).unwrap().parse().unwrap()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("the process runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends the process a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("the process runs").id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Sends SIGTERM and returns the exit status.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the process runs");
        let sent = Command::new("kill").arg(child.id().to_string()).status().unwrap();
        assert!(sent.success());
        child.wait().unwrap()
    }

    /// Waits until the process has exited, and returns its status.
    pub(crate) async fn ended(&mut self, within: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.as_mut().expect("the process runs").try_wait().unwrap() {
                self.child = None;
                return status;
            }
            assert!(started.elapsed() < within, "trellis did not exit:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn channel(&self, port: u16) -> Channel {
        Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy()
    }

    /// Signs a user up through the gateway.
    pub(crate) async fn sign_up(&self, handle: &str) -> Person {
        let channel = self.channel(self.ports.gateway).await;
        let request = SignUpRequest {
            email: format!("{handle}@example.org"),
            password: PASSWORD.to_owned(),
            handle: handle.to_owned(),
            display_name: handle.to_uppercase(),
            ..SignUpRequest::default()
        };
        let response = AuthServiceClient::new(channel.clone()).sign_up(request).await.unwrap();
        Person::new(channel, response.into_inner().tokens.unwrap())
    }
}

impl Mesh {
    /// Signs a user in through the gateway.
    pub(crate) async fn sign_in(&self, handle: &str) -> Person {
        let channel = self.channel(self.ports.gateway).await;
        let email = format!("{handle}@example.org");
        let request = SignInRequest { email, password: PASSWORD.to_owned(), ..SignInRequest::default() };
        let response = AuthServiceClient::new(channel.clone()).sign_in(request).await.unwrap();
        Person::new(channel, response.into_inner().tokens.unwrap())
    }

    /// Makes the user an admin, as the operator of this process with auth does. Returns the user with the new token.
    pub(crate) async fn make_admin(&self, person: &Person) -> Person {
        let output = self.bare_command().args(["admin", "invite"]).output().unwrap();
        let link = String::from_utf8(output.stdout).unwrap();
        let (_, code) = link.lines().next().and_then(|line| line.split_once("/#/admin/")).unwrap();
        let claim = ClaimAdminRequest { code: code.to_owned() };
        let claimed = person.auth().claim_admin(person.request(claim)).await.unwrap().into_inner();
        person.signed_in_as(Tokens { access_token: claimed.access_token, ..person.tokens.clone() })
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
            if std::thread::panicking() {
                let log = self.log();
                let last: Vec<_> = log.lines().rev().take(40).collect();
                eprintln!("the last lines of trellis:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// A signed-in user.
#[derive(Clone)]
pub(crate) struct Person {
    channel: Channel,
    pub(crate) tokens: Tokens,
}

impl Person {
    pub(crate) fn new(channel: Channel, tokens: Tokens) -> Self {
        Self { channel, tokens }
    }

    pub(crate) fn id(&self) -> &str {
        &self.tokens.user_id
    }

    /// The same user, calling through another gateway.
    pub(crate) fn through(&self, channel: Channel) -> Self {
        Self { channel, tokens: self.tokens.clone() }
    }

    /// A client of the same gateway with other tokens.
    pub(crate) fn signed_in_as(&self, tokens: Tokens) -> Self {
        Self { channel: self.channel.clone(), tokens }
    }

    /// A request with the user's token.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        bearing(message, &self.tokens.access_token)
    }

    pub(crate) fn auth(&self) -> AuthServiceClient<Channel> {
        AuthServiceClient::new(self.channel.clone())
    }

    pub(crate) fn users(&self) -> UsersServiceClient<Channel> {
        UsersServiceClient::new(self.channel.clone())
    }

    pub(crate) fn messaging(&self) -> MessagingServiceClient<Channel> {
        MessagingServiceClient::new(self.channel.clone())
    }
}

pub(crate) fn bearing<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
    request.metadata_mut().insert("authorization", value);
    // Removes the trace context: the request comes from an unrelated client.
    request.extensions_mut().remove::<Context>();
    request
}

/// A new id, as clients create them.
pub(crate) fn new_id() -> String {
    ClockAndRng::system().new_id().to_string()
}

/// The reason in the details of a status.
pub(crate) fn reason(status: &tonic::Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

/// Whether the process is ready and, if it is a gateway, reaches all services.
async fn is_ready(port: u16) -> bool {
    let Ok(response) = super::web::get(port, "/readyz?verbose").await else { return false };
    let text = String::from_utf8_lossy(&response.body);
    response.status == 200 && !proto::SERVICES.iter().any(|name| text.contains(&format!("[-]{name} ")))
}

/// The URL of a new, empty database on the tests' server.
pub(crate) async fn fresh_database() -> String {
    #[expect(clippy::disallowed_methods, reason = "the test's own setting")]
    let server =
        std::env::var("TRELLIS_TEST_POSTGRES").expect("TRELLIS_TEST_POSTGRES is not set: run cargo xtask test");
    let name = format!("t_{}", new_id().replace('-', ""));
    let created = Command::new("psql").args([&server, "-qc", &format!("CREATE DATABASE {name}")]).output().unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    let (base, _) = server.rsplit_once('/').unwrap();
    format!("{base}/{name}")
}
