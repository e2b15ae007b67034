//! The job that sends a mail.
//!
//! A mail is delivered at least once. An attempt gives the mail the token of its link if it has none, hands it over,
//! and deletes it. A process that ends in between hands it over again in the next attempt: the same link, with the same
//! `Message-ID`. So the number of copies is at most the number of processes that ended at that moment, plus one.

use std::{sync::Arc, time::Duration};

use kit::ClockAndRng;
use kit_data::jobs::{Failure, Outcome};

use crate::{
    Auth, Keys,
    config::MailConfig,
    domain::{KeptMail, MailKind, MailToken, NewLink, StoredMail, jobs::MailQueued},
    mail::{Mail, Outlet, WrittenMail},
    store::AuthStore,
};

/// The handler of the job.
#[derive(Clone)]
pub(crate) struct Sending {
    store: Arc<dyn AuthStore>,
    mail: Arc<Mail>,
    keys: Keys,
    config: Arc<MailConfig>,
    clock_rng: ClockAndRng,
}

impl Sending {
    pub(crate) fn new(auth: &Auth) -> Self {
        Self {
            store: Arc::clone(&auth.store),
            mail: Arc::clone(&auth.mail),
            keys: auth.keys.clone(),
            config: Arc::new(auth.config.mail.clone()),
            clock_rng: auth.clock_rng.clone(),
        }
    }

    /// Sends the mail of a job, unless it was sent before.
    pub(crate) async fn send(self, job: MailQueued) -> Result<Outcome, Failure> {
        let Some(mail) = self.store.find_mail(job.mail_id).await? else { return Ok(Outcome::Done) };
        let Some(outlet) = self.mail.outlet() else {
            return Err(Failure::transient("this process sends no mail: set auth.mail.server"));
        };
        let Some(mail) = self.with_link(mail).await? else {
            // No account has the address: the request looks the same to its sender.
            self.store.delete_mail(job.mail_id).await?;
            return Ok(Outcome::Done);
        };
        let now = self.clock_rng.now();
        if mail.expire_time.is_some_and(|end| end <= now) {
            return Err(Failure::permanent("the mail could not be sent before its link expired"));
        }
        let token = self.token(&mail)?;
        let written = self.mail.write(&mail, token.as_ref(), now);
        let written = written.map_err(|why| Failure::permanent(format!("the template of the mail fails: {why}")))?;
        self.deliver(outlet, &mail, written).await?;
        metrics::counter!("auth_mails_total", "kind" => mail.kind.as_str()).increment(1);
        Ok(Outcome::Done)
    }

    /// Gives the mail a link if it needs one. `None`: there is no account for it.
    async fn with_link(&self, mail: StoredMail) -> Result<Option<StoredMail>, Failure> {
        if mail.kind.page().is_none() || mail.sealed_token.is_some() {
            return Ok(Some(mail));
        }
        let token = MailToken::generate(&self.clock_rng);
        let link = NewLink {
            hash: token.hash(),
            sealed: self.keys.seal().seal_text(token.expose(), mail.id.as_bytes(), &self.clock_rng),
            expire_time: self.clock_rng.now() + self.lifetime(mail.kind),
        };
        if !self.store.add_link(&mail, &link).await? {
            return Ok(None);
        }
        // Again, because now its account is known, and with it the language.
        Ok(self.store.find_mail(mail.id).await?)
    }

    fn lifetime(&self, kind: MailKind) -> Duration {
        match kind {
            MailKind::PasswordReset => self.config.reset_lifetime.0,
            MailKind::EmailVerification | MailKind::EmailChange => self.config.verification_lifetime.0,
            MailKind::EmailChanged => self.config.undo_lifetime.0,
            // They have no link.
            MailKind::EmailChangeRequested
            | MailKind::PasswordChanged
            | MailKind::NewDevice
            | MailKind::SessionEnded => Duration::ZERO,
        }
    }

    fn token(&self, mail: &StoredMail) -> Result<Option<MailToken>, Failure> {
        let Some(sealed) = &mail.sealed_token else { return Ok(None) };
        let token = self.keys.seal().open_text(sealed, mail.id.as_bytes());
        let token = token.ok_or_else(|| {
            Failure::transient("the link was encrypted with another refresh.key; give all replicas the same file")
        })?;
        Ok(Some(MailToken::from(token)))
    }

    async fn deliver(&self, outlet: &Outlet, mail: &StoredMail, written: WrittenMail) -> Result<(), Failure> {
        match outlet {
            Outlet::Smtp(smtp) => {
                smtp.send(mail, &written).await?;
                Ok(self.store.delete_mail(mail.id).await?)
            }
            Outlet::Mailbox(most) => {
                let recipient = mail.recipient.as_str().to_owned();
                let WrittenMail { subject, text, .. } = written;
                let kept = KeptMail { id: mail.id, recipient, subject, text, create_time: mail.create_time };
                Ok(self.store.keep_mail(&kept, *most).await?)
            }
        }
    }
}
