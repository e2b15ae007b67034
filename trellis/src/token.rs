//! `trellis token check`: why the gateway accepts or refuses a token of another issuer.

use std::io::{Read as _, stdin};

use gateway::{TokenReport, check_token};

use crate::{config::Config, runtime};

/// The largest input. The gateway accepts no longer header.
const MOST_BYTES: u64 = 64 * 1_024;

/// Examines the token on standard input. The text is the report; the error states why the token is refused.
pub(crate) fn check(config: &Config) -> Result<(String, Result<String, String>), String> {
    let mut token = String::new();
    stdin().take(MOST_BYTES).read_to_string(&mut token).map_err(|e| format!("standard input: {e}"))?;
    if token.trim().is_empty() {
        return Err("standard input has no token: `printf %s \"$TOKEN\" | trellis token check`".to_owned());
    }
    let report = runtime::start()?.block_on(check_token(&config.gateway, &token))?;
    Ok(text(&report))
}

fn text(report: &TokenReport) -> (String, Result<String, String>) {
    let width = report.rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let rows: Vec<_> = report.rows.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect();
    let verdict = match &report.verdict {
        Ok(upstreams) => Ok(format!("the token is valid for {}", upstreams.join(", "))),
        Err(why) => Err(format!("the token is refused: {why}")),
    };
    (rows.join("\n"), verdict)
}
