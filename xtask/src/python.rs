//! Python environments in `target/`, each with the packages of one requirements file.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    provision::{self, Need},
    session::Session,
};

pub(crate) struct Python {
    venv: PathBuf,
}

impl Python {
    /// The environment of the tests.
    pub(crate) fn prepare(session: &Session) -> Result<Self, String> {
        Self::with(session, "venv", "tests/requirements.txt")
    }

    /// The environment `target/<name>`. It is rebuilt only if its requirements or the interpreter change.
    pub(crate) fn with(session: &Session, name: &str, requirements: &str) -> Result<Self, String> {
        let requirements = session.root.join(requirements);
        let wanted = fs::read_to_string(&requirements).map_err(|e| format!("{}: {e}", requirements.display()))?;
        let interpreter = Need::Python.found()?;
        let version = provision::output_of(&interpreter, &["-VV"]).unwrap_or_default();
        let venv = session.target.join(name);
        let stamp = venv.join("built-from");
        let contents = format!("{}\n{version}\n{wanted}", venv.display());
        let python = Self { venv };
        if fs::read_to_string(&stamp).is_ok_and(|built| built == contents) {
            return Ok(python);
        }
        let mut create = session.command(&interpreter);
        create.args(["-m", "venv", "--clear"]).arg(&python.venv);
        session.must("python venv", &mut create)?;
        python.install(session, &["-r".as_ref(), &requirements])?;
        fs::write(&stamp, contents).map_err(|e| format!("{}: {e}", stamp.display()))?;
        Ok(python)
    }

    pub(crate) fn install(&self, session: &Session, what: &[&Path]) -> Result<(), String> {
        let mut pip = self.command(session);
        pip.args(["-m", "pip", "install", "--quiet", "--no-input"]).args(what);
        session.must("pip install", &mut pip).map(drop)
    }

    /// The folder of the environment's programs.
    pub(crate) fn bin(&self) -> PathBuf {
        self.venv.join("bin")
    }

    pub(crate) fn command(&self, session: &Session) -> Command {
        session.command(self.bin().join("python"))
    }

    /// A script of `tests/python`.
    pub(crate) fn script(&self, session: &Session, name: &str) -> Command {
        let mut command = self.command(session);
        command.arg(session.root.join("tests/python").join(name));
        command
    }

    /// All unit tests of `tests/python`.
    pub(crate) fn unittest(&self, session: &Session) -> Command {
        let mut command = self.command(session);
        command.args(["-m", "unittest", "discover", "--verbose", "--start-directory", "tests/python"]);
        command
    }
}
