//! Finds the programs that tests need, and installs what is missing from the system's own packages.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{scratch, session::Session};

/// A program that a part of the tests needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    Postgres,
    Redis,
    Chromium,
    Python,
    Go,
}

impl Need {
    fn name(self) -> &'static str {
        match self {
            Need::Postgres => "PostgreSQL (initdb and postgres)",
            Need::Redis => "redis-server",
            Need::Chromium => "Chromium (or its path in TRELLIS_TEST_CHROMIUM)",
            Need::Python => "Python 3.11 or newer with venv",
            Need::Go => "Go 1.19 or newer",
        }
    }

    /// Debian's packages.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Need::Postgres => &["postgresql"],
            Need::Redis => &["redis-server"],
            // Ubuntu's Chromium comes through a package of another name.
            Need::Chromium if is_ubuntu() => &["chromium-browser"],
            Need::Chromium => &["chromium"],
            Need::Python => &["python3", "python3-venv"],
            Need::Go => &["golang-go"],
        }
    }

    /// The program; for PostgreSQL the folder of its programs.
    pub(crate) fn find(self) -> Option<PathBuf> {
        match self {
            Need::Postgres => find_postgres(),
            Need::Redis => on_path("redis-server"),
            Need::Chromium => find_chromium(),
            Need::Python => find_python(),
            Need::Go => find_go(),
        }
    }

    /// The program, which [`provision`] has made sure of.
    pub(crate) fn found(self) -> Result<PathBuf, String> {
        self.find().ok_or_else(|| format!("{} was not found", self.name()))
    }
}

/// Makes sure of all `needs`, in one installation.
pub(crate) fn provision(session: &Session, needs: &[Need]) -> Result<(), String> {
    let missing = absent(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages()).copied().collect();
    let names: Vec<&str> = missing.iter().map(|need| need.name()).collect();
    eprintln!("xtask: missing: {}", names.join(", "));
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
    } else if sudo_asks_nothing() {
        &["sudo", "-n"]
    } else {
        return Err(format!("cannot install without root. Run:\n    sudo sh -c '{by_hand}'"));
    };
    if on_path("apt-get").is_none() {
        return Err(format!("there is no apt-get here. Install what Debian calls: {}", packages.join(" ")));
    }
    session.must("apt-get update", &mut apt(session, rights, &["update"]))?;
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    session.must(&format!("apt-get install {}", packages.join(" ")), &mut apt(session, rights, &arguments))?;
    Ok(())
}

/// Waits for another apt instead of failing, asks nothing, and starts no service of what it installs: ours are
/// private (`RUNLEVEL` for classic init scripts, `SYSTEMD_OFFLINE` for systemd).
fn apt(session: &Session, rights: &[&str], arguments: &[&str]) -> Command {
    let quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "SYSTEMD_OFFLINE=1"];
    let mut words = rights.iter().chain(&quiet).chain(&["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]);
    let mut command = session.command(words.next().unwrap_or(&"env"));
    command.args(words).args(arguments);
    command
}

fn sudo_asks_nothing() -> bool {
    says(Path::new("sudo"), &["-n", "true"]).is_some()
}

fn is_ubuntu() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=ubuntu"))
}

/// An executable file of this name in `PATH`.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// What a program answers, if it succeeds.
pub(crate) fn says(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Debian keeps the server's programs out of `PATH`, one folder a version: the newest is taken.
fn find_postgres() -> Option<PathBuf> {
    let complete = |folder: &PathBuf| is_program(&folder.join("postgres")) && is_program(&folder.join("initdb"));
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let configured = says(Path::new("pg_config"), &["--bindir"]).map(PathBuf::from);
    let on_path = on_path("postgres").and_then(|path| path.parent().map(Path::to_path_buf));
    versions.into_iter().rev().map(|(_, folder)| folder).chain(configured).chain(on_path).find(complete)
}

fn find_chromium() -> Option<PathBuf> {
    if let Some(named) = env::var_os("TRELLIS_TEST_CHROMIUM") {
        return Some(PathBuf::from(named)).filter(|path| is_program(path));
    }
    ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"].into_iter().find_map(on_path)
}

/// protovalidate, the oracle, needs Python 3.11. `ensurepip` is what Debian's python3 lacks without python3-venv.
fn find_python() -> Option<PathBuf> {
    let test = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))";
    ["python3", "python3.14", "python3.13", "python3.12", "python3.11"]
        .into_iter()
        .filter_map(on_path)
        .find(|python| says(python, &["-c", test]).is_some())
}

/// Where Go's own archive is unpacked, no `PATH` needs to name it.
fn find_go() -> Option<PathBuf> {
    let own = PathBuf::from("/usr/local/go/bin/go");
    on_path("go").or_else(|| Some(own).filter(|path| is_program(path)))
}
