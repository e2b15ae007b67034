//! The section `[auth.mail]`: how mails are sent, and how long their links are valid.

use std::{net::IpAddr, path::Path, time::Duration};

use kit::{
    config::{Secret, Span},
    limiter::Quota,
    secret_file,
};
use serde::{Deserialize, Serialize};

/// The section.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MailConfig {
    /// The host name of the SMTP server. Empty: mails go to the mailbox if it is in use, and otherwise none is written.
    pub server: String,
    /// Its port. 0: 465 for `implicit`, 587 for `starttls`, 25 without TLS.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: Tls,
    /// A PEM file with the authorities that sign the server's certificate. Empty: those of the system.
    pub ca: String,
    /// The user name at the server. Empty: no authentication.
    pub user: String,
    /// The password of `user`.
    pub password: Secret,
    /// A file with the password, instead of `password`. Other users must not be able to read it.
    pub password_file: String,
    /// The sender: `no-reply@example.org`, or `Name <no-reply@example.org>`.
    pub from: String,
    /// Where replies go. Empty: to the sender.
    pub reply_to: String,
    /// How long each step of the delivery may take: to connect, and each command.
    pub timeout: Span,
    /// The public address of the page, to which links in mails lead: `https://chat.example.org`. Never taken from a
    /// request, whose `host` a client chooses (OWASP Forgot Password Cheat Sheet, "URL Tokens").
    pub base_url: String,
    /// A folder with templates that replace the built-in ones. Empty: none.
    pub templates: String,
    /// Whether mails are kept in the mailbox instead.
    pub mailbox: MailboxMode,
    /// The most mails in the mailbox. Older ones are deleted.
    pub mailbox_size: u32,
    /// How long a link to set a new password is valid. At most 24 hours (NIST SP 800-63B-4, section 4.2.1.2: recovery
    /// codes that are sent by mail).
    pub reset_lifetime: Span,
    /// How long a link to verify an address, or to confirm a new one, is valid. At most 24 hours (the same section).
    pub verification_lifetime: Span,
    /// How long the owner of a previous address can undo its change.
    pub undo_lifetime: Span,
    /// The most mails that one network may cause to one address, in each `requests_period`.
    pub requests: u32,
    /// The most mails that all networks together may cause to one address, in each `requests_period`.
    pub requests_to_address: u32,
    /// The most mails that one network may cause to all addresses, in each `requests_period`.
    pub requests_from_address: u32,
    /// See `requests`.
    pub requests_period: Span,
}

/// How the connection to the SMTP server is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// TLS from the first byte (RFC 8314, which prefers it).
    #[default]
    Implicit,
    /// A plain connection that must become TLS before anything else is sent.
    StartTls,
    /// No TLS, to a server on the same machine only.
    Loopback,
    /// No TLS to any server: everyone on the way can read the links.
    Insecure,
}

/// Whether the mailbox is in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailboxMode {
    /// In a process of all parts without an SMTP server whose gateway listens on the loopback only.
    #[default]
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

impl Default for MailConfig {
    fn default() -> Self {
        Self {
            server: String::new(),
            port: 0,
            tls: Tls::default(),
            ca: String::new(),
            user: String::new(),
            password: Secret::default(),
            password_file: String::new(),
            from: String::new(),
            reply_to: String::new(),
            timeout: Span(Duration::from_secs(30)),
            base_url: String::new(),
            templates: String::new(),
            mailbox: MailboxMode::default(),
            mailbox_size: 100,
            reset_lifetime: Span(Duration::from_secs(30 * 60)),
            verification_lifetime: Span(Duration::from_secs(24 * 3_600)),
            undo_lifetime: Span(Duration::from_secs(7 * 24 * 3_600)),
            requests: 5,
            requests_to_address: 20,
            requests_from_address: 60,
            requests_period: Span(Duration::from_secs(3_600)),
        }
    }
}

impl MailConfig {
    /// Checks the rules that types cannot express. Reads no file.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.server.is_empty() {
            return self.check_idle();
        }
        if self.mailbox == MailboxMode::On {
            return Err(
                "auth.mail.mailbox: mails are either sent or kept; remove auth.mail.server, or set auto".to_owned()
            );
        }
        let is_host = self.server.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
        if !is_host || self.server.contains(':') && self.server.parse::<IpAddr>().is_err() {
            return Err(format!("auth.mail.server: {:?} is not a host name; the port has its own key", self.server));
        }
        if self.tls == Tls::Loopback && !is_loopback(&self.server) {
            return Err("auth.mail.tls: loopback is for a server on this machine (localhost, 127.0.0.1 or ::1); use \
                        implicit or starttls"
                .to_owned());
        }
        self.check_credentials()?;
        for (key, value) in [("auth.mail.from", &self.from), ("auth.mail.base_url", &self.base_url)] {
            if value.is_empty() {
                return Err(format!("{key}: is empty, but auth.mail.server needs it"));
            }
        }
        check_mailbox_address("auth.mail.from", &self.from)?;
        check_mailbox_address("auth.mail.reply_to", &self.reply_to)?;
        check_base_url(&self.base_url)
    }

    /// Rejects keys without an effect.
    fn check_idle(&self) -> Result<(), String> {
        let keys = [
            ("ca", !self.ca.is_empty()),
            ("user", !self.user.is_empty()),
            ("password", !self.password.expose().is_empty()),
            ("password_file", !self.password_file.is_empty()),
            ("port", self.port != 0),
        ];
        match keys.into_iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => Err(format!("auth.mail.{key} has no effect without auth.mail.server")),
            None if self.base_url.is_empty() => Ok(()),
            None => check_base_url(&self.base_url),
        }
    }

    fn check_credentials(&self) -> Result<(), String> {
        let (text, file) = (!self.password.expose().is_empty(), !self.password_file.is_empty());
        match (self.user.is_empty(), text, file) {
            (_, true, true) => Err("auth.mail.password_file: auth.mail.password is set too; remove one".to_owned()),
            (false, false, false) => Err("auth.mail.password: is empty, but auth.mail.user needs it".to_owned()),
            (true, true, _) | (true, _, true) => Err("auth.mail.user: is empty, but a password is set".to_owned()),
            _ => Ok(()),
        }
    }

    /// The password, from the file if one is set.
    pub(crate) fn password(&self) -> Result<Secret, String> {
        if self.password_file.is_empty() {
            return Ok(self.password.clone());
        }
        let text = secret_file::read(Path::new(&self.password_file))
            .map_err(|why| format!("auth.mail.password_file: {}: {why}", self.password_file))?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(format!("auth.mail.password_file: {} is empty", self.password_file)),
            password => Ok(Secret::from(password.to_owned())),
        }
    }

    /// The port of the server.
    pub(crate) fn port(&self) -> u16 {
        match (self.port, self.tls) {
            (0, Tls::Implicit) => 465,
            (0, Tls::StartTls) => 587,
            (0, Tls::Loopback | Tls::Insecure) => 25,
            (port, _) => port,
        }
    }

    /// Mails that one network causes to one address.
    pub(crate) fn requests(&self) -> Quota {
        Quota::new(self.requests, self.requests_period.0, self.requests)
    }

    /// Mails that all networks cause to one address.
    pub(crate) fn requests_to_address(&self) -> Quota {
        Quota::new(self.requests_to_address, self.requests_period.0, self.requests_to_address)
    }

    /// Mails that one network causes to all addresses.
    pub(crate) fn requests_from_address(&self) -> Quota {
        Quota::new(self.requests_from_address, self.requests_period.0, self.requests_from_address)
    }
}

/// Whether the host is this machine.
fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn check_mailbox_address(key: &str, text: &str) -> Result<(), String> {
    if text.is_empty() || text.parse::<lettre::message::Mailbox>().is_ok() {
        return Ok(());
    }
    Err(format!("{key}: {text:?} is not an address such as no-reply@example.org or Name <no-reply@example.org>"))
}

fn check_base_url(text: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("auth.mail.base_url: {text:?} {why}, such as https://chat.example.org"));
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let authority = rest.split('/').next().unwrap_or_default();
    let host = if let Some(ipv6) = authority.strip_prefix('[') {
        ipv6.split(']').next().unwrap_or_default()
    } else {
        authority.split(':').next().unwrap_or_default()
    };
    let is_url = rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\"<>\\".contains(&byte));
    match scheme {
        _ if host.is_empty() || !is_url => wrong("is not an address of a page without a query"),
        "https" => Ok(()),
        "http" if is_loopback(host) => Ok(()),
        _ => wrong("must begin with https://"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending() -> MailConfig {
        MailConfig {
            server: "smtp.example.org".to_owned(),
            from: "Trellis <no-reply@example.org>".to_owned(),
            base_url: "https://chat.example.org".to_owned(),
            ..MailConfig::default()
        }
    }

    #[test]
    fn mail_settings_are_checked_with_the_key_named() {
        MailConfig::default().check().unwrap();
        sending().check().unwrap();
        let refused = |change: fn(&mut MailConfig), key: &str| {
            let mut config = sending();
            change(&mut config);
            let why = config.check().unwrap_err();
            assert!(why.starts_with(key), "{key}: {why}");
        };
        refused(|config| config.from.clear(), "auth.mail.from: is empty");
        refused(|config| config.from = "no address".to_owned(), "auth.mail.from: \"no address\"");
        refused(|config| config.reply_to = "a@b@c".to_owned(), "auth.mail.reply_to");
        refused(|config| config.base_url.clear(), "auth.mail.base_url: is empty");
        refused(|config| config.base_url = "http://chat.example.org".to_owned(), "auth.mail.base_url");
        refused(|config| config.base_url = "https://chat.example.org/?a=b".to_owned(), "auth.mail.base_url");
        refused(|config| config.server = "smtp.example.org:25".to_owned(), "auth.mail.server");
        refused(|config| config.tls = Tls::Loopback, "auth.mail.tls");
        refused(|config| config.user = "ada".to_owned(), "auth.mail.password: is empty");
        refused(|config| config.password = Secret::from("x".to_owned()), "auth.mail.user: is empty");
        refused(|config| config.mailbox = MailboxMode::On, "auth.mail.mailbox");
        let idle = MailConfig { user: "ada".to_owned(), ..MailConfig::default() };
        assert_eq!(idle.check().unwrap_err(), "auth.mail.user has no effect without auth.mail.server");
    }

    #[test]
    fn plain_connection_is_for_the_loopback_or_explicit() {
        let local = MailConfig { server: "127.0.0.1".to_owned(), tls: Tls::Loopback, ..sending() };
        local.check().unwrap();
        MailConfig { tls: Tls::Insecure, ..sending() }.check().unwrap();
        assert_eq!((sending().port(), local.port()), (465, 25));
        let page = |url: &str| MailConfig { base_url: url.to_owned(), ..sending() }.check();
        assert!(page("http://localhost:8080").is_ok() && page("http://[::1]:8080/chat").is_ok());
    }
}
