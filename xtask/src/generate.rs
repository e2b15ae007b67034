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
    // The test that compares the table also writes it.
    let mut table = session.cargo();
    table.args(["test", "--quiet", "-p", "trellis", "--test", "mesh", "access_table_in_the_docs_is_current"]);
    session.must("docs/access.md", table.env("TRELLIS_TEST_REWRITE", "1"))?;
    eprintln!("web/client/src/gen, web/e2e/clients/gen, web/console/dist and docs/access.md are up to date");
    Ok(true)
}
