//! Signs in with a link in a mail, in the browser that asked for it.

use std::net::IpAddr;

use kit::error;
use proto::auth::v1::{RequestSignInLinkResponse, SignInWithLinkRequest};
use tonic::{Code, Status};

use super::{Api, mail::link_invalid};
use crate::{
    domain::{AccountId, Client, EmailAddress, MailKind, MailToken, Method, NewSession, RefreshToken, SessionId},
    store::Continued,
};

impl Api {
    /// Whether a link can sign in.
    pub(super) fn has_sign_in_links(&self) -> bool {
        self.auth.mail.is_on() && self.auth.config.mail.sign_in_links
    }

    /// Stores a request for a link, and returns the secret that binds it to the browser.
    pub(super) async fn request_link(
        &self,
        email: &str,
        client: Client,
        address: Option<IpAddr>,
    ) -> Result<RequestSignInLinkResponse, Status> {
        self.refuse_without_links()?;
        let email = EmailAddress::lookup(email);
        self.count_mail(&email, address).await?;
        let secret = MailToken::generate(&self.auth.clock_rng);
        let mut mail = self.new_mail(MailKind::SignInLink, None, Some(email), client);
        mail.details.bind_to(&secret);
        self.auth.store.queue_mails(&[mail]).await?;
        Ok(RequestSignInLinkResponse { browser_secret: secret.expose().to_owned() })
    }

    /// Opens a session with the token of a link.
    pub(super) async fn open_by_link(
        &self,
        client: Client,
        address: Option<IpAddr>,
        request: SignInWithLinkRequest,
    ) -> Result<(Continued, RefreshToken), Status> {
        self.refuse_without_links()?;
        self.count_link(address).await?;
        let (link, secret) = (MailToken::from(request.token), MailToken::from(request.browser_secret));
        let (now, token) = (self.auth.clock_rng.now(), RefreshToken::generate(&self.auth.clock_rng));
        let mut session = NewSession {
            id: SessionId(self.auth.clock_rng.new_id()),
            // The store finds the account, and counts the changes of its password.
            account: AccountId(uuid::Uuid::nil()),
            password_no: 0,
            client,
            token: token.hash(),
            create_time: now,
            expire_time: self.auth.lifetimes().end(now, now),
            method: Method::Link,
            mail: None,
        };
        let account = self.auth.store.open_session_by_link(&link.hash(), &secret.hash(), &session).await?;
        session.account = account.ok_or_else(link_invalid)?;
        Ok((session.into(), token))
    }

    fn refuse_without_links(&self) -> Result<(), Status> {
        self.refuse_without_mail()?;
        if self.auth.config.mail.sign_in_links {
            return Ok(());
        }
        let message = "this server has no sign-in links; sign in with the password";
        Err(error::status(Code::FailedPrecondition, "SIGN_IN_LINKS_DISABLED", message))
    }
}
