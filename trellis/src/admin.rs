//! `trellis admin`.

use auth::domain::AdminCode;
use kit::ClockAndRng;

use crate::{cli, config::Config, explain::GatewayUrl, first_admin, services::Service, stores};

/// Runs the command and returns its output.
pub(crate) async fn run(config: &Config, command: cli::Admin) -> Result<String, String> {
    match command {
        cli::Admin::Invite { page } => invite(config, page.as_deref()).await,
    }
}

async fn invite(config: &Config, page: Option<&str>) -> Result<String, String> {
    let page = GatewayUrl::new(page, &config.gateway).map_err(|why| why.replace("--gateway", "--page"))?;
    let (clock_rng, lifetime) = (ClockAndRng::system(), config.auth.admin_code_lifetime);
    let code = AdminCode::generate(&clock_rng);
    let location = stores::existing(config, Service::Auth)?;
    let offered = auth::store::offer_admin(&location, &code, clock_rng.now() + lifetime.0).await;
    offered.map_err(|error| error.to_string())?;
    Ok(format!(
        "{}\nOpen this link and sign in: the account becomes an admin. It works once, for {lifetime}.",
        first_admin::link(&page.url(), &code)
    ))
}
