//! `cargo xtask gen`: regenerates the committed files.

use crate::{
    provision::{self, Need},
    python::Python,
    session::Session,
    web::Web,
};

pub(crate) fn run(session: &Session) -> Result<bool, String> {
    provision::provision(session, &[Need::Python])?;
    let python = Python::prepare(session)?;
    let web = Web::in_place(session, &python)?;
    for script in ["gen", "build"] {
        session.must(&format!("web {script}"), &mut web.script(session, script))?;
    }
    // An example of `proto`, so that it builds only the contracts. A test compares the result.
    let mut table = session.cargo();
    table.args(["run", "--quiet", "-p", "proto", "--example", "access_table"]);
    session.must("docs/access.md", &mut table)?;
    eprintln!(
        "web/client/src/gen, web/e2e/clients/gen, web/console/dist, web/docs/dist, web/explorer/dist and docs/access.md are up \
         to date"
    );
    Ok(true)
}
