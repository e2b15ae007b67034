//! The first admin: a one-time link, whose code makes the account that presents it an admin.

use std::{io::IsTerminal as _, time::Duration};

use auth::{AuthStore, domain::AdminCode};
use kit::{ClockAndRng, config::Span, telemetry::Format};

/// The path of the page that presents a code. The code is in the fragment, which browsers do not send.
const PAGE: &str = "/#/admin/";

/// What to print at the start, while no account is an admin.
pub(crate) struct FirstAdmin {
    /// A new code, and how long it is valid.
    code: Option<(AdminCode, Duration)>,
}

/// The link with a code, on the page at `origin`.
pub(crate) fn link(origin: &str, code: &AdminCode) -> String {
    format!("{origin}{PAGE}{}", code.expose())
}

/// Whether the start may print a code: only to a person. Other outputs are kept, as the logs of a container are.
pub(crate) fn is_printed(format: Format) -> bool {
    format != Format::Json && std::io::stdout().is_terminal()
}

/// `None`: an account is an admin. `prints_code`: makes a code too.
pub(crate) async fn look(
    store: &dyn AuthStore,
    clock_rng: &ClockAndRng,
    lifetime: Duration,
    prints_code: bool,
) -> Option<FirstAdmin> {
    match advice(store, clock_rng, lifetime, prints_code).await {
        Ok(advice) => advice,
        Err(error) => {
            tracing::warn!(%error, "cannot find out whether an account is an admin");
            None
        }
    }
}

async fn advice(
    store: &dyn AuthStore,
    clock_rng: &ClockAndRng,
    lifetime: Duration,
    prints_code: bool,
) -> Result<Option<FirstAdmin>, kit_data::store::Error> {
    if store.has_admin().await? {
        return Ok(None);
    }
    if !prints_code {
        return Ok(Some(FirstAdmin { code: None }));
    }
    let code = AdminCode::generate(clock_rng);
    store.offer_admin(&code.hash(), clock_rng.now() + lifetime).await?;
    Ok(Some(FirstAdmin { code: Some((code, lifetime)) }))
}

impl FirstAdmin {
    /// What to do, for the operator. `page`: the origin of the page.
    pub(crate) fn advice(&self, page: Option<&str>) -> String {
        match (&self.code, page) {
            (Some((code, lifetime)), Some(page)) => {
                format!("{} makes your account the first admin (once, for {})", link(page, code), Span(*lifetime))
            }
            _ => "no account is an admin yet: run trellis admin invite".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use kit_data::store::Location;

    use super::*;

    #[tokio::test]
    async fn code_is_offered_until_an_account_is_an_admin() {
        let (folder, clock_rng) = (tempfile::tempdir().unwrap(), ClockAndRng::system());
        let store = auth::store::open(&Location::Sqlite(folder.path().join("auth.db")), 1).await.unwrap();
        let hour = Duration::from_secs(3_600);
        let first = look(&*store, &clock_rng, hour, true).await.unwrap();
        let printed = first.advice(Some("http://localhost:8080"));
        let code =
            printed.split_once("http://localhost:8080/#/admin/").unwrap().1.split(' ').next().unwrap().to_owned();
        assert!(printed.ends_with("(once, for 1h)") && code.len() == 43, "{printed}");
        // Without a terminal the code stays valid, and is not printed.
        let hidden = look(&*store, &clock_rng, hour, false).await.unwrap().advice(Some("http://localhost:8080"));
        assert!(hidden.contains("trellis admin invite") && !hidden.contains('#'), "{hidden}");
    }
}
