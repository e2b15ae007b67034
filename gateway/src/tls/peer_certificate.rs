//! The certificate of a client's connection, and what it proves for a call.
//!
//! A connection may outlive its certificate, or the trust in it. So each call checks both: the time by a comparison, and
//! the chain again only when authorities or revocations have changed.

use std::sync::Arc;

use kit::{
    error,
    principal::ClientCertificate,
    time::{Clock as _, SystemClock},
};
use parking_lot::Mutex;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tonic::{Code, Status};

use super::{ClientTrust, identity};

/// The certificate of a connection.
pub(crate) struct PeerCertificate {
    /// As the client has sent it, the client's own certificate first.
    chain: Vec<CertificateDer<'static>>,
    identity: Arc<ClientCertificate>,
    /// The trust that has checked it last, with the result.
    checked: Mutex<(Arc<ClientTrust>, bool)>,
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
        let checked = Mutex::new((Arc::clone(trust), true));
        Ok(Some(Arc::new(Self { chain: chain.to_vec(), identity, checked })))
    }

    fn is_valid(&self, trust: &Arc<ClientTrust>) -> bool {
        let now = SystemClock.now();
        if now >= self.identity.expires {
            return false;
        }
        let mut checked = self.checked.lock();
        if !Arc::ptr_eq(&checked.0, trust) {
            *checked = (Arc::clone(trust), trust.verifies(&self.chain, now));
        }
        checked.1
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
            (Some(certificate), Some(trust)) if certificate.is_valid(trust) => {
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
                ("CLIENT_CERTIFICATE_REQUIRED", "connect over TLS with a client certificate to call this method")
            }
            Self::Invalid => (
                "CLIENT_CERTIFICATE_INVALID",
                "the certificate of this connection has expired or is no longer trusted; connect again with a valid one",
            ),
        };
        Err(error::status(Code::Unauthenticated, reason, message))
    }
}
