//! Mails that clients ask for, and the mailbox.
//!
//! A request for a mail stores the address and a job, whether an account has the address or not: the job finds out. So
//! the response and its time reveal nothing.

use std::net::IpAddr;

use kit::error;
use proto::auth::v1::{ListMailboxRequest, ListMailboxResponse, Mail as WireMail};
use tonic::{Code, Status};

use super::Api;
use crate::domain::{Client, EmailAddress, KeptMail, MailKind, NewMail};

/// Mails on a page of the mailbox if the request states none.
const PAGE: u32 = 20;

impl Api {
    /// Stores a request for a mail to an address, whose account is found later.
    pub(super) async fn request_mail(
        &self,
        kind: MailKind,
        email: &str,
        client: Client,
        address: Option<IpAddr>,
    ) -> Result<(), Status> {
        self.refuse_without_mail()?;
        let email = EmailAddress::lookup(email);
        self.count_mail(&email, address).await?;
        let mail = self.new_mail(kind, client).to(email);
        Ok(self.auth.store.queue_mails(&[mail]).await?)
    }

    /// A mail that `client` causes.
    pub(super) fn new_mail(&self, kind: MailKind, client: Client) -> NewMail {
        NewMail::new(self.auth.clock_rng.new_id(), kind, client, self.auth.clock_rng.now())
    }

    /// A notice to the verified address of an account. `None`: the server sends no mail.
    pub(super) fn notice(&self, kind: MailKind, client: Client) -> Option<NewMail> {
        self.auth.mail.is_on().then(|| self.new_mail(kind, client))
    }

    /// Refuses what only a mail can complete.
    pub(super) fn refuse_without_mail(&self) -> Result<(), Status> {
        if self.auth.mail.is_on() {
            return Ok(());
        }
        let message = "this server sends no e-mail; ask its operator for help";
        Err(error::status(Code::FailedPrecondition, "MAIL_DISABLED", message))
    }

    /// Lists the newest mails of the mailbox.
    pub(super) async fn mailbox(&self, request: ListMailboxRequest) -> Result<ListMailboxResponse, Status> {
        let has_mailbox = self.auth.mail.mailbox_page("").is_some();
        if !self.auth.keys.opens_mailbox(&request.key) || !has_mailbox {
            let message = "this key opens no mailbox; the server prints the address of the mailbox when it starts";
            return Err(error::status(Code::FailedPrecondition, "MAILBOX_KEY_INVALID", message));
        }
        let limit = u32::try_from(request.page_size).ok().filter(|size| *size > 0).unwrap_or(PAGE);
        let kept = self.auth.store.list_mailbox(limit).await?;
        let wire = |mail: KeptMail| WireMail {
            mail_id: mail.id.to_string(),
            recipient: mail.recipient,
            subject: mail.subject,
            text: mail.text,
            create_time: Some(mail.create_time.into()),
        };
        let mut mails: Vec<_> = kept.into_iter().map(wire).collect();
        mails.truncate(kit::page::fitting(&mails, self.page_bytes));
        Ok(ListMailboxResponse { mails })
    }
}

/// The same status for every reason, so that it does not reveal what the token was for.
pub(super) fn link_invalid() -> Status {
    let message = "the link was used before, has expired, or is not complete; ask for a new one";
    error::status(Code::FailedPrecondition, "LINK_INVALID", message)
}
