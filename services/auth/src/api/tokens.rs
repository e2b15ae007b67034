//! The tokens of a session, on their way to its owner.

use kit::{
    Timestamp, error,
    jwt::{AUDIENCE, AccessClaims, ISSUER},
};
use proto::auth::v1::{RefreshDelivery, Tokens};
use tonic::{Status, metadata::MetadataMap};

use super::Api;
use crate::{
    cookie,
    domain::{NewSession, RefreshToken},
    store::Continued,
};

/// How the refresh token reaches its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Body,
    Cookie,
}

impl From<RefreshDelivery> for Delivery {
    fn from(asked: RefreshDelivery) -> Self {
        match asked {
            RefreshDelivery::Unspecified => Self::Body,
            RefreshDelivery::Cookie => Self::Cookie,
        }
    }
}

impl Delivery {
    /// A refused cookie is taken away with the refusal. A refusal only: while the database is away the token
    /// stays good.
    pub(super) fn forget(self, mut status: Status) -> Status {
        if self == Self::Cookie && status.code() == tonic::Code::Unauthenticated {
            cookie::clear(status.metadata_mut());
        }
        status
    }
}

/// The token that a call presents, in its body or else by cookie; its successor goes the same way.
pub(super) fn presented(metadata: &MetadataMap, body: &str) -> (Option<RefreshToken>, Delivery) {
    if body.is_empty() {
        (cookie::read(metadata), Delivery::Cookie)
    } else {
        (Some(RefreshToken::from(body.to_owned())), Delivery::Body)
    }
}

impl From<NewSession> for Continued {
    fn from(new: NewSession) -> Self {
        Self { session: new.id, account: new.account, expire_time: new.expire_time }
    }
}

impl Api {
    /// What a session's owner gets: the message, and the metadata beside it.
    pub(super) async fn tokens(
        &self,
        session: Continued,
        refresh: RefreshToken,
        delivery: Delivery,
    ) -> Result<(Tokens, MetadataMap), Status> {
        let now = self.auth.ambient.now();
        // No token outlives its session. Whole seconds, as the claim counts: the answer promises no more.
        let access_end = (now + self.auth.config.access_lifetime.0).min(session.expire_time).as_secs();
        let claims = AccessClaims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: session.account.0,
            sid: session.session.0,
            iat: now.as_secs(),
            exp: access_end,
            jti: self.auth.ambient.new_id(),
            roles: self.auth.store.list_roles(session.account).await?,
            scope: String::new(),
        };
        let access_token = self.auth.keys.sign(&claims).map_err(|e| error::internal(&e))?;
        let mut metadata = MetadataMap::new();
        let refresh_token = match delivery {
            Delivery::Body => refresh.expose().to_owned(),
            Delivery::Cookie => {
                cookie::set(&mut metadata, &refresh, now.until(session.expire_time));
                String::new()
            }
        };
        let tokens = Tokens {
            access_token,
            access_expire_time: Some(Timestamp::from_micros(access_end.saturating_mul(1_000_000)).into()),
            refresh_token,
            refresh_expire_time: Some(session.expire_time.into()),
            user_id: session.account.0.to_string(),
            session_id: session.session.0.to_string(),
        };
        Ok((tokens, metadata))
    }
}
