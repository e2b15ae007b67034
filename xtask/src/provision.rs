//! Finds the programs that the tests need, and installs missing ones from the system's packages.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{scratch, session::Session};

/// A program that the tests need.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    Postgres,
    Redis,
    Chromium,
    Python,
    Go,
    Curl,
}

impl Need {
    fn name(self) -> &'static str {
        match self {
            Need::Postgres => "PostgreSQL (initdb and postgres)",
            Need::Redis => "redis-server",
            Need::Chromium => "Chromium (or its path in TRELLIS_TEST_CHROMIUM)",
            Need::Python => "Python 3.11 or newer with venv",
            Need::Go => "Go 1.19 or newer",
            Need::Curl => "curl",
        }
    }

    /// The Debian packages that provide the program.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Need::Postgres => &["postgresql"],
            Need::Redis => &["redis-server"],
            // Ubuntu's package of Chromium has another name.
            Need::Chromium if is_ubuntu() => &["chromium-browser"],
            Need::Chromium => &["chromium"],
            Need::Python => &["python3", "python3-venv"],
            Need::Go => &["golang-go"],
            Need::Curl => &["curl"],
        }
    }

    /// The path of the program; for PostgreSQL, the folder of its programs.
    pub(crate) fn find(self) -> Option<PathBuf> {
        match self {
            Need::Postgres => find_postgres(),
            Need::Redis => on_path("redis-server"),
            Need::Chromium => find_chromium(),
            Need::Python => find_python(),
            Need::Go => find_go(),
            Need::Curl => on_path("curl"),
        }
    }

    /// The path of a program that [`provision`] has installed.
    pub(crate) fn found(self) -> Result<PathBuf, String> {
        self.find().ok_or_else(|| format!("{} was not found", self.name()))
    }
}

/// Installs all missing `needs` at once.
pub(crate) fn provision(session: &Session, needs: &[Need]) -> Result<(), String> {
    let missing = absent(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages()).copied().collect();
    let names: Vec<&str> = missing.iter().map(|need| need.name()).collect();
    eprintln!("xtask: installing missing programs: {}", names.join(", "));
    install(session, &packages)?;
    match absent(needs).first() {
        None => Ok(()),
        Some(need) => Err(format!("{} was not found after installing {}", need.name(), need.packages().join(" "))),
    }
}

fn absent(needs: &[Need]) -> Vec<Need> {
    needs.iter().copied().filter(|need| need.find().is_none()).collect()
}

fn install(session: &Session, packages: &[&str]) -> Result<(), String> {
    let by_hand = format!("apt-get update && apt-get install -y --no-install-recommends {}", packages.join(" "));
    let rights: &[&str] = if scratch::is_root() {
        &[]
    } else if sudo_needs_no_password() {
        &["sudo", "-n"]
    } else {
        return Err(format!("installing packages needs root. Run:\n    sudo sh -c '{by_hand}'"));
    };
    if on_path("apt-get").is_none() {
        return Err(format!(
            "apt-get is missing. Install the equivalents of these Debian packages: {}",
            packages.join(" ")
        ));
    }
    session.must("apt-get update", &mut apt(session, rights, &["update"]))?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    session.must(&format!("apt-get install {}", packages.join(" ")), &mut apt(session, rights, &arguments))?;
    Ok(())
}

/// Runs apt-get without questions. It waits for a running apt, and starts no installed service (`RUNLEVEL` for classic
/// init scripts, `SYSTEMD_OFFLINE` for systemd), because the tests start private servers.
fn apt(session: &Session, rights: &[&str], arguments: &[&str]) -> Command {
    let quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "SYSTEMD_OFFLINE=1"];
    let mut words = rights.iter().chain(&quiet).chain(&["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]);
    let mut command = session.command(words.next().unwrap_or(&"env"));
    command.args(words).args(arguments);
    command
}

fn sudo_needs_no_password() -> bool {
    output_of(Path::new("sudo"), &["-n", "true"]).is_some()
}

fn is_ubuntu() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=ubuntu"))
}

/// The executable file `name` on `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The standard output of a program, if it succeeds.
pub(crate) fn output_of(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The newest PostgreSQL. Debian installs the server's programs outside `PATH`, in one folder per version.
fn find_postgres() -> Option<PathBuf> {
    let complete = |folder: &PathBuf| is_program(&folder.join("postgres")) && is_program(&folder.join("initdb"));
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let configured = output_of(Path::new("pg_config"), &["--bindir"]).map(PathBuf::from);
    let on_path = on_path("postgres").and_then(|path| path.parent().map(Path::to_path_buf));
    versions.into_iter().rev().map(|(_, folder)| folder).chain(configured).chain(on_path).find(complete)
}

fn find_chromium() -> Option<PathBuf> {
    if let Some(named) = env::var_os("TRELLIS_TEST_CHROMIUM") {
        return Some(PathBuf::from(named)).filter(|path| is_program(path));
    }
    ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"].into_iter().find_map(on_path)
}

/// protovalidate, the oracle, needs Python 3.11. Debian's python3 lacks `ensurepip` without python3-venv.
fn find_python() -> Option<PathBuf> {
    let test = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
    ["python3", "python3.14", "python3.13", "python3.12", "python3.11"]
        .into_iter()
        .filter_map(on_path)
        .find(|python| output_of(python, &["-c", test]).is_some())
}

/// Where Go's own archive is unpacked, no `PATH` needs to name it.
fn find_go() -> Option<PathBuf> {
    let own = PathBuf::from("/usr/local/go/bin/go");
    on_path("go").or_else(|| Some(own).filter(|path| is_program(path)))
}
