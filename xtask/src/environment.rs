//! The environment variables of the tests.

use std::{path::Path, process::Command};

/// The environment variables that configure the tests.
#[derive(Default)]
pub(crate) struct Environment(Vec<(&'static str, String)>);

impl Environment {
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    pub(crate) fn set_path(&mut self, name: &'static str, path: &Path) {
        self.set(name, path.display().to_string());
    }

    pub(crate) fn apply(&self, command: &mut Command) {
        command.envs(self.0.iter().map(|(name, value)| (name, value)));
    }
}
