//! Servers and clients of other languages' gRPC libraries, which the tests put behind and before the gateway.

use std::{fs, path::Path};

use crate::{
    environment::Environment,
    provision::Need,
    python::Python,
    session::Session,
    web::{Web, mirror},
};

/// Builds the programs, and sets the environment variables with the commands that start them.
pub(crate) fn prepare(session: &Session, python: &Python, environment: &mut Environment) -> Result<(), String> {
    environment.set("TRELLIS_TEST_GO_UPSTREAM", go(session, "tests/upstreams/go", "upstream-go")?);
    environment.set("TRELLIS_TEST_GO_CLIENT", go(session, "tests/clients/go", "client-go")?);
    environment.set("TRELLIS_TEST_NODE_UPSTREAM", node(session, python)?);
    Ok(())
}

/// Builds `target/NAME`: grpc-go or connect-go, in a version that Debian's oldest supported Go builds.
fn go(session: &Session, folder: &str, name: &str) -> Result<String, String> {
    let program = session.target.join(name);
    let mut build = session.command(Need::Go.found()?);
    build.args(["build", "-buildvcs=false", "-o"]).arg(&program).arg(".").current_dir(session.root.join(folder));
    session.must(&format!("go build {name}"), &mut build)?;
    Ok(quoted(&program))
}

/// grpc-js, with its packages in a copy of its folder.
fn node(session: &Session, python: &Python) -> Result<String, String> {
    let copy = session.target.join("upstream-node");
    fs::create_dir_all(&copy).map_err(|e| format!("{}: {e}", copy.display()))?;
    mirror(&session.root.join("tests/upstreams/node"), &copy)?;
    let script = copy.join("server.js");
    let web = Web::install(session, python, copy)?;
    Ok(format!("{} {}", quoted(&web.node_program()), quoted(&script)))
}

/// grpcio, with the service of the Python tests.
pub(crate) fn python(session: &Session, python: &Python) -> String {
    format!("{} {}", quoted(&python.bin().join("python")), quoted(&session.root.join("tests/python/shop.py")))
}

/// The tests split the command as a shell does.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}
