//! Servers of other languages' gRPC libraries, which the Python tests put behind the gateway.

use std::{fs, path::Path};

use crate::{
    environment::Environment,
    provision::Need,
    python::Python,
    session::Session,
    web::{Web, mirror},
};

const FOLDER: &str = "tests/upstreams";

/// Builds the servers, and sets the environment variables with the commands that start them.
pub(crate) fn prepare(session: &Session, python: &Python, environment: &mut Environment) -> Result<(), String> {
    environment.set("TRELLIS_TEST_GO_UPSTREAM", go(session)?);
    environment.set("TRELLIS_TEST_NODE_UPSTREAM", node(session, python)?);
    Ok(())
}

/// grpc-go, in a version that Debian's oldest supported Go builds.
fn go(session: &Session) -> Result<String, String> {
    let program = session.target.join("upstream-go");
    let mut build = session.command(Need::Go.found()?);
    build
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(session.root.join(FOLDER).join("go"));
    session.must("go build", &mut build)?;
    Ok(quoted(&program))
}

/// grpc-js, with its packages in a copy of its folder.
fn node(session: &Session, python: &Python) -> Result<String, String> {
    let copy = session.target.join("upstream-node");
    fs::create_dir_all(&copy).map_err(|e| format!("{}: {e}", copy.display()))?;
    mirror(&session.root.join(FOLDER).join("node"), &copy)?;
    let script = copy.join("server.js");
    let web = Web::install(session, python, copy)?;
    Ok(format!("{} {}", quoted(&web.node_program()), quoted(&script)))
}

/// The tests split the command as a shell does.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}
