//! The address of an account: shows it, verifies it, and gives it back to its owner.

use std::{net::IpAddr, sync::Arc};

use kit::{audit, error, principal::UserSession};
use proto::auth::v1::{ChangeEmailRequest, GetEmailResponse};
use tonic::{Code, Status};

use super::{Api, mail::link_invalid, sessions::ConfirmedSession};
use crate::{
    domain::{Client, Email, EmailAddress, MailKind, MailToken, NewSession},
    password::Password,
    store::{EmailChange, Release},
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
        let mail = self.new_mail(MailKind::EmailVerification, client).of(caller.account()).to(address);
        Ok(self.auth.store.queue_mails(&[mail]).await?)
    }

    /// Adds the link to verify the address to the first session of an account.
    pub(super) fn verify_later(&self, session: &mut NewSession, email: EmailAddress) {
        if self.auth.mail.is_on() {
            let client = session.client.clone();
            session.mail = Some(self.new_mail(MailKind::EmailVerification, client).of(session.account).to(email));
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

    /// Sends a link to the new address, and a notice to the current one.
    pub(super) async fn request_change(
        &self,
        session: Arc<UserSession>,
        client: Client,
        from: Option<IpAddr>,
        request: ChangeEmailRequest,
    ) -> Result<(), Status> {
        let caller = self.confirm(Arc::clone(&session)).await?;
        self.refuse_without_mail()?;
        let new = EmailAddress::parse(&request.new_email)
            .map_err(|why| error::invalid_field("new_email", "EMAIL_INVALID", &why.to_string()))?;
        let account = self.prove_caller(&caller, from, Password::new(request.password)).await?;
        if new == account.email {
            let message = "is the address of the account already; state another one";
            return Err(error::invalid_field("new_email", "EMAIL_UNCHANGED", message));
        }
        self.count_mail(&new, from).await?;
        let masked = new.masked();
        let mut mails = vec![self.new_mail(MailKind::EmailChange, client.clone()).of(account.id).to(new)];
        if account.email.is_real() {
            // The notice must not flood a person whose address the account has not verified.
            if self.own_email(&caller).await?.verify_time.is_none() {
                self.count_mail(&account.email, from).await?;
            }
            let notice = self.new_mail(MailKind::EmailChangeRequested, client);
            let mut notice = notice.of(account.id).to(account.email.clone());
            notice.details.new_email = masked;
            mails.push(notice);
        }
        let now = self.auth.clock_rng.now();
        let queued = self.auth.store.queue_email_change(&account, caller.id(), &mails, now).await?;
        self.or_refused(queued.then_some(()), session).await?;
        // The use of the link changes the address, and is recorded.
        audit::unchanged();
        Ok(())
    }

    /// Changes an address with the token of a link.
    pub(super) async fn confirm_change(
        &self,
        client: Client,
        from: Option<IpAddr>,
        token: String,
    ) -> Result<(), Status> {
        self.count_link(from).await?;
        let undo = self.new_mail(MailKind::EmailChanged, client);
        let token = MailToken::from(token).hash();
        self.changed(self.auth.store.confirm_email(&token, &undo, self.auth.clock_rng.now()).await?)
    }

    /// Restores the previous address with the token of a link.
    pub(super) async fn undo_change(&self, client: Client, from: Option<IpAddr>, token: String) -> Result<(), Status> {
        self.count_link(from).await?;
        let reset = self.new_mail(MailKind::PasswordReset, client);
        let token = MailToken::from(token).hash();
        self.changed(self.auth.store.undo_email(&token, &reset, self.auth.clock_rng.now()).await?)
    }

    fn changed(&self, change: EmailChange) -> Result<(), Status> {
        match change {
            EmailChange::Changed(ended) => {
                self.publish_ended(ended);
                Ok(())
            }
            EmailChange::Taken => {
                let message = "another account has this address, and its owner has verified it";
                Err(error::status(Code::AlreadyExists, "EMAIL_TAKEN", message))
            }
            EmailChange::Invalid => Err(link_invalid()),
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
