//! `cargo xtask gen`: rewrites what is generated and committed.

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
    eprintln!("web/client/src/gen and web/console/dist are up to date");
    Ok(true)
}
