//! The address of an account: shows it, verifies it, and gives it back to its owner.

use std::net::IpAddr;

use kit::error;
use proto::auth::v1::GetEmailResponse;
use tonic::{Code, Status};

use super::{Api, mail::link_invalid, sessions::ConfirmedSession};
use crate::{
    domain::{Client, Email, EmailAddress, MailKind, MailToken, NewSession},
    store::Release,
};

impl Api {
    /// The address of the caller's account.
    pub(super) async fn email(&self, caller: &ConfirmedSession) -> Result<GetEmailResponse, Status> {
        let Email { address, verify_time } = self.own_email(caller).await?;
        let email = if address.is_real() { address.as_str().to_owned() } else { String::new() };
        Ok(GetEmailResponse { email, verify_time: verify_time.map(Into::into) })
    }

    /// Sends a link to verify the address of the caller's account.
    pub(super) async fn request_verification(
        &self,
        caller: &ConfirmedSession,
        client: Client,
        from: Option<IpAddr>,
    ) -> Result<(), Status> {
        self.refuse_without_mail()?;
        let Email { address, verify_time } = self.own_email(caller).await?;
        if !address.is_real() {
            let message = "this account has no e-mail address; state one first";
            return Err(error::status(Code::FailedPrecondition, "EMAIL_MISSING", message));
        }
        if verify_time.is_some() {
            return Err(email_verified());
        }
        self.count_mail(&address, from).await?;
        let mail = self.new_mail(MailKind::EmailVerification, Some(caller.account()), Some(address), client);
        Ok(self.auth.store.queue_mail(&mail).await?)
    }

    /// Adds the link to verify the address to the first session of an account.
    pub(super) fn verify_later(&self, session: &mut NewSession, email: EmailAddress) {
        if self.auth.mail.is_on() {
            let client = session.client.clone();
            session.mail = Some(self.new_mail(MailKind::EmailVerification, Some(session.account), Some(email), client));
        }
    }

    /// Verifies an address with the token of a link.
    pub(super) async fn verify_address(&self, address: Option<IpAddr>, token: String) -> Result<(), Status> {
        self.count_link(address).await?;
        let (token, now) = (MailToken::from(token).hash(), self.auth.clock_rng.now());
        if self.auth.store.verify_email(&token, now).await? { Ok(()) } else { Err(link_invalid()) }
    }

    /// Takes an unverified address from an account, with the token of a link.
    pub(super) async fn release_address(&self, address: Option<IpAddr>, token: String) -> Result<(), Status> {
        self.count_link(address).await?;
        let (token, now) = (MailToken::from(token).hash(), self.auth.clock_rng.now());
        match self.auth.store.release_email(&token, now).await? {
            Release::Released => Ok(()),
            Release::Verified => Err(email_verified()),
            Release::Invalid => Err(link_invalid()),
        }
    }

    async fn own_email(&self, caller: &ConfirmedSession) -> Result<Email, Status> {
        let found = self.auth.store.find_email(caller.account()).await?;
        found.ok_or_else(super::bad_credentials)
    }
}

fn email_verified() -> Status {
    error::status(Code::FailedPrecondition, "EMAIL_VERIFIED", "the owner of this address has verified it already")
}
