//! Delivers a mail to an SMTP server, on a connection of its own.

use std::time::{Duration, UNIX_EPOCH};

use kit::error::chain;
use kit_data::jobs::Failure;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls as Encryption, TlsParameters},
        extension::ClientId,
    },
};

use super::WrittenMail;
use crate::{
    config::{MailConfig, Tls},
    domain::StoredMail,
};

/// Permanent codes with which a server refuses the credentials or the connection, not the mail: the operator can repair
/// that (RFC 4954, section 6; RFC 7504 for 521).
const REPAIRABLE: [u16; 4] = [521, 530, 534, 535];

/// The connection's settings, and the sender.
pub(crate) struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    reply_to: Option<Mailbox>,
}

/// RFC 3834, section 5: no auto-responder replies.
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

impl Smtp {
    /// Reads the files of the connection. Connects to nothing.
    pub(super) fn open(config: &MailConfig) -> Result<Self, String> {
        let address = |key: &str, text: &str| {
            text.parse::<Mailbox>().map_err(|why| format!("auth.mail.{key}: {text:?} is not an address: {why}"))
        };
        let from = address("from", &config.from)?;
        let tls = match config.tls {
            Tls::Implicit => Encryption::Wrapper(trust(config)?),
            Tls::StartTls => Encryption::Required(trust(config)?),
            Tls::Loopback | Tls::Insecure => Encryption::None,
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.server)
            .port(config.port())
            .tls(tls)
            .timeout(Some(config.timeout.0))
            // Not the name of the machine, which a pod makes up.
            .hello_name(ClientId::Domain(from.email.domain().to_owned()));
        if !config.user.is_empty() {
            let password = config.password()?;
            transport = transport.credentials(Credentials::new(config.user.clone(), password.expose().to_owned()));
        }
        let reply_to = (!config.reply_to.is_empty()).then(|| address("reply_to", &config.reply_to)).transpose()?;
        Ok(Self { transport: transport.build(), from, reply_to })
    }

    /// Hands the mail over to the server. A further attempt has the same `Message-ID` and `Date`, so that a mail that
    /// was handed over twice is one for its reader.
    pub(crate) async fn send(&self, mail: &StoredMail, written: &WrittenMail) -> Result<(), Failure> {
        let message = self.message(mail, written)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) => Err(failure(&error)),
        }
    }

    fn message(&self, mail: &StoredMail, written: &WrittenMail) -> Result<Message, Failure> {
        let to =
            mail.recipient.as_str().parse().map_err(|_| Failure::permanent("no mail can be sent to this address"))?;
        let domain = self.from.email.domain();
        let micros = u64::try_from(mail.create_time.as_micros()).unwrap_or_default();
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(&written.subject)
            .message_id(Some(format!("<{}@{domain}>", mail.id)))
            .date(UNIX_EPOCH + Duration::from_micros(micros))
            .header(AutoSubmitted);
        if let Some(reply_to) = &self.reply_to {
            message = message.reply_to(reply_to.clone());
        }
        let body = MultiPart::alternative_plain_html(written.text.clone(), written.html.clone());
        message
            .multipart(body)
            .map_err(|why| Failure::permanent(format!("the mail cannot be written: {}", chain(&why))))
    }
}

/// The server, and the authorities that sign its certificate.
fn trust(config: &MailConfig) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(config.server.clone());
    if !config.ca.is_empty() {
        let wrong = |why: &dyn std::fmt::Display| format!("auth.mail.ca: {}: {why}", config.ca);
        let pem = std::fs::read(&config.ca).map_err(|why| wrong(&why))?;
        let authorities = Certificate::from_pem(&pem).map_err(|why| wrong(&why))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authorities);
    }
    builder.build_rustls().map_err(|why| format!("auth.mail.ca: {}", chain(&why)))
}

/// The failure of a delivery. A response of the server is reduced to its codes, because its text may name the
/// recipient.
fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    let Some(code) = error.status() else {
        return Failure::transient(format!("the SMTP server cannot be reached: {}", chain(error)));
    };
    let code = u16::from(code);
    let enhanced = enhanced_code(&chain(error));
    let message = format!("the SMTP server refused the mail with {code}{enhanced}");
    if error.is_permanent() && !REPAIRABLE.contains(&code) {
        Failure::permanent(message)
    } else {
        Failure::transient(message)
    }
}

/// The enhanced status code (RFC 3463) in a response, with a space before it: ` 5.1.1`.
fn enhanced_code(text: &str) -> String {
    let is_code = |word: &&str| {
        let parts: Vec<_> = word.split('.').collect();
        parts.len() == 3 && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    text.split([' ', ':', '\n']).find(is_code).map(|code| format!(" {code}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn response_of_the_server_is_reduced_to_its_codes() {
        assert_eq!(enhanced_code("permanent error (550): 5.1.1 <ada@example.org> unknown"), " 5.1.1");
        assert_eq!(enhanced_code("permanent error (550): no such user at 10.0.0.1"), "");
    }
}
