//! The certificate of a client's connection, and what it proves for a call.
//!
//! A connection may outlive its certificate, or the trust in it. So each call checks both: the certificate's time by a
//! comparison, and the chain again when authorities or revocations have changed, or the last check is a minute old: an
//! intermediate certificate or a revocation list may have expired.

use std::{sync::Arc, time::Duration};

use kit::{
    Timestamp, error,
    principal::ClientCertificate,
    time::{Clock as _, SystemClock},
};
use parking_lot::Mutex;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tonic::{Code, Status};

use super::{ClientTrust, identity};
use crate::reason;

/// How long a check of a chain counts.
const CHECK_AGE: Duration = Duration::from_secs(60);

/// The certificate of a connection.
pub(crate) struct PeerCertificate {
    /// As the client has sent it, the client's own certificate first.
    chain: Vec<CertificateDer<'static>>,
    identity: Arc<ClientCertificate>,
    checked: Mutex<Checked>,
}

/// The last check of a chain.
struct Checked {
    trust: Arc<ClientTrust>,
    at: Timestamp,
    is_valid: bool,
}

impl PeerCertificate {
    /// The certificate that a handshake with this trust has verified; `None`: the client has presented none. An error
    /// means that its names cannot be read.
    pub(crate) fn verified(
        chain: Option<&[CertificateDer<'static>]>,
        trust: Option<&Arc<ClientTrust>>,
    ) -> Result<Option<Arc<Self>>, String> {
        let (Some(chain), Some(trust)) = (chain, trust) else { return Ok(None) };
        let Some(own) = chain.first() else { return Ok(None) };
        let identity = Arc::new(identity::read(own)?);
        let checked = Mutex::new(Checked { trust: Arc::clone(trust), at: SystemClock.now(), is_valid: true });
        Ok(Some(Arc::new(Self { chain: chain.to_vec(), identity, checked })))
    }

    fn is_valid(&self, trust: &Arc<ClientTrust>, now: Timestamp) -> bool {
        if now >= self.identity.expires {
            return false;
        }
        let mut checked = self.checked.lock();
        if !Arc::ptr_eq(&checked.trust, trust) || now >= checked.at + CHECK_AGE {
            *checked = Checked { trust: Arc::clone(trust), at: now, is_valid: trust.verifies(&self.chain, now) };
        }
        checked.is_valid
    }
}

/// What the connection of a call proves about its client.
#[derive(Debug, Clone, Default)]
pub(crate) enum CertificateState {
    /// No certificate, and none is required of all clients.
    #[default]
    Absent,
    /// No certificate, although all clients need one: the connection is older than this rule.
    Missing,
    /// A certificate that has expired, or is no longer trusted.
    Invalid,
    Valid(Arc<ClientCertificate>),
}

impl CertificateState {
    /// The state now. `is_secure`: the connection uses TLS.
    pub(crate) fn of(
        certificate: Option<&Arc<PeerCertificate>>,
        is_secure: bool,
        trust: Option<&Arc<ClientTrust>>,
    ) -> Self {
        match (certificate, trust) {
            (_, None) => Self::Absent,
            (None, Some(trust)) if is_secure && trust.is_required() => Self::Missing,
            (None, Some(_)) => Self::Absent,
            (Some(certificate), Some(trust)) if certificate.is_valid(trust, SystemClock.now()) => {
                Self::Valid(Arc::clone(&certificate.identity))
            }
            (Some(_), Some(_)) => Self::Invalid,
        }
    }

    /// The certificate, if it is valid.
    pub(crate) fn valid(&self) -> Option<&Arc<ClientCertificate>> {
        match self {
            Self::Valid(certificate) => Some(certificate),
            Self::Absent | Self::Missing | Self::Invalid => None,
        }
    }

    /// Refuses a call of a method that needs a certificate, and every call over a connection whose certificate no longer
    /// counts.
    pub(crate) fn check(&self, is_needed: bool) -> Result<(), Status> {
        let (reason, message) = match self {
            Self::Valid(_) => return Ok(()),
            Self::Absent if !is_needed => return Ok(()),
            Self::Absent | Self::Missing => {
                (reason::CLIENT_CERTIFICATE_REQUIRED, "connect over TLS with a client certificate to call this method")
            }
            Self::Invalid => (
                reason::CLIENT_CERTIFICATE_INVALID,
                "the certificate of this connection has expired or is no longer trusted; connect again with a valid one",
            ),
        };
        Err(error::status(Code::Unauthenticated, reason, message))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, ExtendedKeyUsagePurpose,
        IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
    };

    use super::*;
    use crate::config::ClientCertificates;

    #[test]
    fn expired_revocation_list_ends_an_open_connection() {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let own = params.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap().der().clone();
        let expires = date_time_ymd(2040, 1, 1);
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: expires,
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let lists = vec![list.signed_by(&authority).unwrap().der().clone()];
        let trust = ClientTrust::new(ClientCertificates::Required, vec![authority.der().clone()], lists).ok().unwrap();
        let trust = Arc::new(trust);
        let certificate = PeerCertificate::verified(Some(&[own]), Some(&trust)).unwrap().unwrap();
        let expires = Timestamp::from_micros(expires.unix_timestamp() * 1_000_000);
        let seconds = Duration::from_secs;
        assert!(certificate.is_valid(&trust, expires - seconds(30)));
        assert!(certificate.is_valid(&trust, expires + seconds(20)), "the last check counts for a minute");
        assert!(!certificate.is_valid(&trust, expires + seconds(40)));
    }
}
