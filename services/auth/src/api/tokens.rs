//! Issues the tokens of a session, and reads refresh tokens from requests.

use kit::{
    Timestamp, error,
    jwt::{AUDIENCE, AccessClaims, ISSUER, PrincipalClaims},
};
use proto::auth::v1::{RefreshDelivery, Tokens};
use tonic::{Code, Request, Status, metadata::MetadataMap};

use super::Api;
use crate::{
    cookie::Scheme,
    domain::{NewSession, RefreshToken},
    store::Continued,
};

/// How the user of a session has proved who they are (RFC 8176): with a password.
const PASSWORD: [&str; 1] = ["pwd"];
/// With a password and a code, which works once.
const SECOND_FACTOR: [&str; 3] = ["pwd", "otp", MULTIPLE_FACTORS];
/// With several factors.
pub(super) const MULTIPLE_FACTORS: &str = "mfa";

/// How the refresh token is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    Body,
    Cookie(Scheme),
}

impl Delivery {
    /// The delivery that the request asks for.
    pub(super) fn requested<T>(request: &Request<T>, delivery: RefreshDelivery) -> Self {
        match delivery {
            RefreshDelivery::Unspecified => Self::Body,
            RefreshDelivery::Cookie => Self::Cookie(Scheme::of(request)),
        }
    }
}

/// The refresh token of a request, from the body or else from the cookie. Its successor is delivered the same way.
pub(super) enum PresentedTokens {
    None(Delivery),
    Token(RefreshToken, Delivery),
    /// Several session cookies. It is unknown which of them is the user's own.
    Several(Vec<RefreshToken>, Delivery),
}

/// Why a session is over. Only these reasons make a client discard its session; the contract lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The token is unknown, or its session has ended or expired.
    NotInForce,
    /// The token was used before. Its session has been ended.
    Reused,
    /// The request has several session cookies.
    Duplicated,
}

impl From<Ended> for Status {
    fn from(ended: Ended) -> Self {
        let (reason, message) = match ended {
            Ended::NotInForce => ("REFRESH_TOKEN_INVALID", "the refresh token is not in force; sign in again"),
            Ended::Reused => {
                ("REFRESH_TOKEN_REUSED", "the refresh token was used before; the session was ended, sign in again")
            }
            Ended::Duplicated => {
                ("SESSION_COOKIE_DUPLICATED", "the request has several session cookies; sign in again")
            }
        };
        error::status(Code::Unauthenticated, reason, message)
    }
}

impl From<NewSession> for Continued {
    fn from(new: NewSession) -> Self {
        let NewSession { id, account, create_time, expire_time, .. } = new;
        // The user has proved who they are when the session was opened.
        Self { session: id, account, auth_time: create_time, expire_time, second_factor: false }
    }
}

impl Api {
    /// The token in the request: `body`, or else the cookie.
    pub(super) fn presented<T>(&self, request: &Request<T>, body: &str) -> PresentedTokens {
        if !body.is_empty() {
            return PresentedTokens::Token(RefreshToken::from(body.to_owned()), Delivery::Body);
        }
        let scheme = Scheme::of(request);
        let (mut tokens, delivery) = (self.cookies.read(request.metadata(), scheme), Delivery::Cookie(scheme));
        match (tokens.pop(), tokens.is_empty()) {
            (None, _) => PresentedTokens::None(delivery),
            (Some(token), true) => PresentedTokens::Token(token, delivery),
            (Some(token), false) => {
                tokens.push(token);
                PresentedTokens::Several(tokens, delivery)
            }
        }
    }

    /// The status for a token whose session is over. It removes the cookie.
    pub(super) fn ended(&self, ended: Ended, delivery: Delivery) -> Status {
        let mut status = Status::from(ended);
        self.clear_cookie(delivery, status.metadata_mut());
        status
    }

    /// Removes the cookie if the token came from it.
    pub(super) fn clear_cookie(&self, delivery: Delivery, metadata: &mut MetadataMap) {
        if let Delivery::Cookie(scheme) = delivery {
            self.cookies.clear(metadata, scheme);
        }
    }

    /// Issues an access token of a session, and its end. It carries the account's roles as they are now, and the scopes
    /// of their permissions (RFC 9068, sections 2.2.2 and 2.2.3), when the user has proved who they are, and how (OpenID
    /// Connect Core, section 2).
    pub(super) async fn access_token(&self, session: &Continued) -> Result<(String, Timestamp), Status> {
        let now = self.auth.clock_rng.now();
        let mut roles = self.auth.store.list_roles(session.account).await?;
        if !session.second_factor {
            roles.retain(|role| !self.auth.config.factors.required_for_roles.contains(role));
        }
        // No token outlives its session. Whole seconds, because the `exp` claim has no fractions.
        let access_end = (now + self.auth.config.access_lifetime.0).min(session.expire_time).as_secs();
        let methods: &[&str] = if session.second_factor { &SECOND_FACTOR } else { &PASSWORD };
        let claims = AccessClaims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: session.account.0,
            principal: PrincipalClaims::User {
                sid: session.session.0,
                auth_time: session.auth_time.as_secs(),
                amr: methods.iter().map(|method| (*method).to_owned()).collect(),
            },
            iat: now.as_secs(),
            exp: access_end,
            jti: self.auth.clock_rng.new_id(),
            scope: self.roles.scopes(&roles).join(" "),
            roles,
        };
        let access_token = self.auth.keys.sign(&claims).map_err(|e| error::internal(&e))?;
        Ok((access_token, Timestamp::from_micros(access_end.saturating_mul(1_000_000))))
    }

    /// Issues the tokens of a session: the message, and the metadata with the cookie.
    pub(super) async fn tokens(
        &self,
        session: Continued,
        refresh: RefreshToken,
        delivery: Delivery,
    ) -> Result<(Tokens, MetadataMap), Status> {
        let (access_token, access_expire_time) = self.access_token(&session).await?;
        let now = self.auth.clock_rng.now();
        let mut metadata = MetadataMap::new();
        let refresh_token = match delivery {
            Delivery::Body => refresh.expose().to_owned(),
            Delivery::Cookie(scheme) => {
                self.cookies.set(&mut metadata, scheme, &refresh, now.until(session.expire_time));
                String::new()
            }
        };
        let tokens = Tokens {
            access_token,
            access_expire_time: Some(access_expire_time.into()),
            refresh_token,
            refresh_expire_time: Some(session.expire_time.into()),
            user_id: session.account.0.to_string(),
            session_id: session.session.0.to_string(),
        };
        Ok((tokens, metadata))
    }
}
