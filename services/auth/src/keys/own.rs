//! The key source of the process that runs auth: its own memory and database.

use std::sync::Arc;

use async_trait::async_trait;
use kit::{
    ClockAndRng,
    jwk::Jwk,
    keys::{EndedSessions, KeySource, LONGEST_ACCESS, Unavailable},
};

use super::Keys;
use crate::{AuthStore, domain::EndedPage};

/// Auth's own keys and list of ended sessions. Other processes fetch the same over the network. Auth does not call
/// itself, so it becomes ready before its name resolves, whatever the names in its certificate.
pub struct OwnKeys {
    /// The keys, whose public parts are the set.
    pub keys: Keys,
    /// Lists the ended sessions.
    pub store: Arc<dyn AuthStore>,
    /// The clock.
    pub clock_rng: ClockAndRng,
}

#[async_trait]
impl KeySource for OwnKeys {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Ok(self.keys.jwks())
    }

    async fn list_ended(&self, page: &kit::keys::EndedPage) -> Result<EndedSessions, Unavailable> {
        let now = self.clock_rng.now();
        let page = EndedPage::parse(0, &page.token, page.since, LONGEST_ACCESS, now)
            .map_err(|_| Unavailable("the page token of ended sessions is invalid".to_owned()))?;
        let mut ended = self.store.list_ended(&page).await.map_err(|error| Unavailable(error.to_string()))?;
        let next_token = page.cut(&mut ended);
        let sessions = ended.iter().map(|session| session.id.0).collect();
        Ok(EndedSessions { sessions, next_token, list_time: Some(now) })
    }
}
