//! Certificates and keys in PEM files.

use std::{fmt, path::Path, sync::Arc};

use tokio_rustls::rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use crate::secret_file;

/// A PEM file that cannot be used.
#[derive(Debug)]
pub struct Unfit {
    /// The last part of the configuration key of the file.
    pub key: &'static str,
    /// The error.
    pub why: String,
}

/// Reads a certificate chain and its private key.
pub fn pair(certificate: &str, key: &str) -> Result<Arc<CertifiedKey>, Unfit> {
    let chain = certificates("certificate", certificate)?;
    let path = named("key", key)?;
    let bad = |why: &dyn fmt::Display| Unfit { key: "key", why: format!("{}: {why}", path.display()) };
    secret_file::check(path).map_err(|e| bad(&e))?;
    let private = PrivateKeyDer::from_pem_file(path).map_err(|e| bad(&e))?;
    // Refuses a key that does not belong to the certificate.
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map(Arc::new).map_err(|e| bad(&e))
}

/// Reads the certificates of a file; at least one is required. `key` is the last part of the configuration key.
pub fn certificates(key: &'static str, path: &str) -> Result<Vec<CertificateDer<'static>>, Unfit> {
    let path = named(key, path)?;
    let bad = |why: &dyn fmt::Display| Unfit { key, why: format!("{}: {why}", path.display()) };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|e| bad(&e))?;
    if found.is_empty() { Err(bad(&"contains no certificate")) } else { Ok(found) }
}

fn named<'a>(key: &'static str, path: &'a str) -> Result<&'a Path, Unfit> {
    if path.is_empty() { Err(Unfit { key, why: "is empty; name a PEM file".to_owned() }) } else { Ok(Path::new(path)) }
}
