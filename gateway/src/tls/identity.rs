//! The names in a client's certificate, and the header that states them: Envoy's `x-forwarded-client-cert` (XFCC).
//!
//! XFCC, and not `client-cert` of RFC 9440: an upstream reads the verified names without a parser for X.509, and the
//! header takes a few hundred bytes instead of the whole certificate.

use std::{fmt::Write as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue};
use kit::{Timestamp, principal::ClientCertificate};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::digest::{SHA256, digest};
use x509_cert::{
    Certificate,
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

/// The header.
pub(crate) const FORWARDED_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// The largest value of the header, in bytes. Certificates with more names are refused.
const MOST_BYTES: usize = 4 * 1_024;

/// Reads the names. Names that are no URI or DNS name in ASCII are omitted.
pub(super) fn read(der: &[u8]) -> Result<ClientCertificate, String> {
    let parsed = Certificate::from_der(der).map_err(|e| e.to_string())?;
    let parsed = parsed.tbs_certificate();
    let names = parsed.get_extension::<SubjectAltName>().map_err(|e| e.to_string())?;
    let names = names.map(|(_, names)| names.0).unwrap_or_default();
    let is_plain = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
    };
    let plain = |name: &str| Some(name).filter(is_plain).map(str::to_owned);
    let uris = names.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => plain(uri.as_str()),
        _ => None,
    });
    let dns_names = names.iter().filter_map(|name| match name {
        GeneralName::DnsName(name) => plain(name.as_str()),
        _ => None,
    });
    let expires = parsed.validity().not_after.to_unix_duration();
    let certificate = ClientCertificate {
        subject: ascii(&parsed.subject().to_string()),
        uris: uris.collect(),
        dns_names: dns_names.collect(),
        fingerprint: hex(digest(&SHA256, der).as_ref()),
        // `notAfter` is the last valid second.
        expires: Timestamp::from_micros(0) + expires + Duration::from_secs(1),
        der: der.to_vec(),
    };
    match text(&certificate).len() {
        bytes if bytes > MOST_BYTES => Err(format!("its names take {bytes} bytes, more than {MOST_BYTES}")),
        _ => Ok(certificate),
    }
}

/// The value of [`FORWARDED_CERTIFICATE`].
pub(crate) fn forwarded(certificate: &ClientCertificate) -> HeaderValue {
    HeaderValue::try_from(text(certificate)).expect("the names are ASCII without control characters")
}

/// The certificate as PEM, percent-encoded.
pub(crate) fn encoded_pem(der: &[u8]) -> String {
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let body = STANDARD.encode(der);
    for at in (0..body.len()).step_by(64) {
        pem += &body[at..body.len().min(at + 64)];
        pem.push('\n');
    }
    pem += "-----END CERTIFICATE-----\n";
    utf8_percent_encode(&pem, NON_ALPHANUMERIC).to_string()
}

fn text(certificate: &ClientCertificate) -> String {
    let mut text = format!("Hash={};Subject=\"{}\"", certificate.fingerprint, certificate.subject);
    let uris = certificate.uris.iter().map(|uri| ("URI", uri));
    for (key, name) in uris.chain(certificate.dns_names.iter().map(|name| ("DNS", name))) {
        let quote = if name.contains([',', ';', '=']) { "\"" } else { "" };
        // Writing to a string cannot fail.
        write!(text, ";{key}={quote}{name}{quote}").ok();
    }
    text
}

/// A name in the form of RFC 4514, with the hexadecimal form of what a quoted header value or gRPC metadata cannot hold.
fn ascii(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => match rest.next() {
                Some('"') => text.push_str("\\22"),
                Some('\\') => text.push_str("\\5C"),
                Some(escaped) => text.extend(['\\', escaped]),
                None => {}
            },
            ' '..='~' => text.push(next),
            _ => {
                for byte in next.encode_utf8(&mut [0; 4]).bytes() {
                    write!(text, "\\{byte:02X}").ok();
                }
            }
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Result<ClientCertificate, String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        change(&mut params);
        read(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn names_are_stated_in_the_form_of_envoy() {
        let robot = certificate(|params| {
            params.distinguished_name.push(DnType::OrganizationName, "Acme");
            params.distinguished_name.push(DnType::CommonName, "robot");
            let dns = SanType::DnsName("robot.acme.test".try_into().unwrap());
            params.subject_alt_names = vec![dns, uri("spiffe://acme.test/robot")];
        })
        .unwrap();
        assert_eq!(robot.name(), "spiffe://acme.test/robot");
        let expected = format!(
            "Hash={};Subject=\"CN=robot,O=Acme\";URI=spiffe://acme.test/robot;DNS=robot.acme.test",
            robot.fingerprint
        );
        assert_eq!((forwarded(&robot).to_str().unwrap(), robot.fingerprint.len()), (expected.as_str(), 64));
    }

    #[test]
    fn no_name_can_look_like_another_element() {
        let forged = certificate(|params| {
            params.distinguished_name.push(DnType::CommonName, "a\";URI=spiffe://root,O=x\\ é\r\n");
            params.subject_alt_names = vec![uri("spiffe://a,Hash=1;DNS=b"), uri("spiffe://a\";DNS=b"), uri("a b")];
        })
        .unwrap();
        let value = forwarded(&forged);
        let value = value.to_str().unwrap().split_once(';').unwrap().1;
        let subject = r#"Subject="CN=a\22\;URI=spiffe://root\,O=x\5C \C3\A9\0d\0a""#;
        assert_eq!(value, format!("{subject};URI=\"spiffe://a,Hash=1;DNS=b\""));
    }

    #[test]
    fn certificate_with_too_many_names_is_refused() {
        let names = |count| {
            certificate(|params| {
                params.subject_alt_names = (0..count).map(|at| uri(&format!("spiffe://acme.test/{at:080}"))).collect();
            })
        };
        assert_eq!(names(30).unwrap().uris.len(), 30);
        assert!(names(50).unwrap_err().contains("more than 4096"));
    }
}
