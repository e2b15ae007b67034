//! Writes mails, and delivers them: to an SMTP server, or to the mailbox.

mod smtp;
mod templates;

use std::time::{Duration, UNIX_EPOCH};

use kit::Timestamp;

use crate::{
    config::{MailConfig, MailboxMode},
    domain::{MailToken, StoredMail},
};
pub(crate) use smtp::Smtp;
pub(crate) use templates::{Templates, Values, WrittenMail};

/// Where the mails of this process go.
pub(crate) enum Outlet {
    /// To an SMTP server.
    Smtp(Box<Smtp>),
    /// To the mailbox in the database, with at most this many mails.
    Mailbox(u32),
}

/// The mails of this process.
pub struct Mail {
    /// `None`: no mail is written.
    outlet: Option<Outlet>,
    templates: Templates,
    /// The address of the page, without a slash at its end.
    page: String,
}

/// The process that sends the mails.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The address of the page of this process if only programs on this machine reach it.
    pub local_page: Option<String>,
}

impl Mail {
    /// Reads the templates and the files of the connection.
    pub fn open(config: &MailConfig, surroundings: &Surroundings) -> Result<Self, String> {
        let local = surroundings.local_page.as_deref();
        let page = if config.base_url.is_empty() { local.unwrap_or_default() } else { &config.base_url };
        let keeps = match config.mailbox {
            MailboxMode::Auto => local.is_some(),
            MailboxMode::On => true,
            MailboxMode::Off => false,
        };
        let outlet = match config.server.as_str() {
            "" if keeps && page.is_empty() => {
                return Err("auth.mail.base_url: is empty, but auth.mail.mailbox needs it in this process".to_owned());
            }
            "" if keeps => Some(Outlet::Mailbox(config.mailbox_size)),
            "" => None,
            _ => Some(Outlet::Smtp(Box::new(Smtp::open(config)?))),
        };
        let templates = Templates::read(&config.templates)?;
        Ok(Self { outlet, templates, page: page.trim_end_matches('/').to_owned() })
    }

    /// A process that writes no mail.
    pub fn off() -> Self {
        Self { outlet: None, templates: Templates::default(), page: String::new() }
    }

    /// Checks the files that the section names.
    pub fn check(config: &MailConfig) -> Result<(), String> {
        Self::open(config, &Surroundings::default()).map(drop)
    }

    /// Whether mails are written.
    pub fn is_on(&self) -> bool {
        self.outlet.is_some()
    }

    /// The page that shows the mailbox, if there is one. `key` opens it.
    pub fn mailbox_page(&self, key: &str) -> Option<String> {
        matches!(self.outlet, Some(Outlet::Mailbox(_))).then(|| format!("{}/#/mailbox/{key}", self.page))
    }

    pub(crate) fn outlet(&self) -> Option<&Outlet> {
        self.outlet.as_ref()
    }

    /// Writes a mail, with the token of its link if it has one.
    pub(crate) fn write(
        &self,
        mail: &StoredMail,
        token: Option<&MailToken>,
        now: Timestamp,
    ) -> Result<WrittenMail, String> {
        let link =
            mail.kind.page().zip(token).map(|(path, token)| format!("{}/#/{path}/{}", self.page, token.expose()));
        let minutes = mail.expire_time.map_or(0, |end| now.until(end).as_secs().div_ceil(60));
        let values = Values {
            link: link.unwrap_or_default(),
            page: self.page.clone(),
            minutes,
            hours: minutes.div_ceil(60),
            days: minutes.div_ceil(24 * 60),
            recipient: mail.recipient.as_str().to_owned(),
            user_agent: mail.details.user_agent.clone(),
            address: mail.details.address.clone(),
            new_email: mail.details.new_email.clone(),
            time: in_utc(mail.create_time),
            language: String::new(),
        };
        self.templates.write(mail.kind, &mail.language, values)
    }
}

/// A time in UTC: `Sun, 06 Nov 1994 08:49:37 GMT`, as the header `Date` of the mail has it.
fn in_utc(at: Timestamp) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(u64::try_from(at.as_secs()).unwrap_or_default()))
}
