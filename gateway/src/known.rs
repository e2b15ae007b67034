//! What files and upstreams have told: certificates, whom to believe, and what upstreams declare. What counts is the last
//! good one of each; what cannot be read again holds up nothing else.

use std::{collections::HashMap, sync::Arc};

use tokio_rustls::rustls::{pki_types::CertificateDer, sign::CertifiedKey};

use crate::{
    config::{self, Config},
    foreign::{self, Source},
    routes::Contracts,
    tls::{self, Trust, Unfit},
};

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// What the listeners with TLS show.
    pub(crate) certified: Option<Arc<CertifiedKey>>,
    /// Of the upstreams that are called over TLS, by their prefix.
    pub(crate) trusts: HashMap<Arc<str>, Trust>,
    /// Of the upstreams whose descriptors have been read, by their prefix.
    pub(crate) contracts: Contracts,
}

/// What a look at the files about TLS has brought.
#[derive(Default)]
pub(crate) struct Renewal {
    /// The listeners show another certificate.
    pub(crate) own: bool,
    /// Other authorities, or another certificate, count towards an upstream.
    pub(crate) upstreams: bool,
    /// What could not be read; each names the key.
    pub(crate) problems: Vec<String>,
}

impl Known {
    /// Reads every file that a configuration names: for a start or a reload, where one bad file refuses all. What
    /// upstreams have told `before` stays, as far as the configuration still has it from them.
    pub(crate) fn read(config: &Config, before: &Contracts) -> Result<Self, String> {
        let mut known = Self { certified: tls::read(&config.tls)?, ..Self::default() };
        for (prefix, of) in &config.foreign {
            let prefix: Arc<str> = prefix.as_str().into();
            if let Some(trust) = read_trust(&prefix, of)? {
                known.trusts.insert(Arc::clone(&prefix), trust);
            }
            let source = Source::of(of);
            let told = || before.get(&prefix).filter(|contract| source.knows(contract.source())).map(Arc::clone);
            let contract = match foreign::read_file(&prefix, &source) {
                Some(read) => Some(Arc::new(read?)),
                None => told(),
            };
            known.contracts.extend(contract.map(|contract| (prefix, contract)));
        }
        Ok(known)
    }

    /// Reads the files about TLS again.
    pub(crate) fn renew(&mut self, config: &Config) -> Renewal {
        let mut renewal = Renewal::default();
        match tls::read(&config.tls) {
            Ok(certified) if chain(certified.as_ref()) != chain(self.certified.as_ref()) => {
                self.certified = certified;
                renewal.own = true;
            }
            Ok(_) => {}
            Err(why) => renewal.problems.push(why),
        }
        for (prefix, of) in &config.foreign {
            match read_trust(prefix, of) {
                Ok(Some(trust)) if self.trusts.get(prefix.as_str()) != Some(&trust) => {
                    self.trusts.insert(prefix.as_str().into(), trust);
                    renewal.upstreams = true;
                }
                Ok(_) => {}
                Err(why) => renewal.problems.push(why),
            }
        }
        renewal
    }
}

/// By which certificates are told apart.
fn chain(certified: Option<&Arc<CertifiedKey>>) -> Option<&[CertificateDer<'static>]> {
    certified.map(|key| key.cert.as_slice())
}

/// Reads the files about TLS that an upstream's configuration names; `None`: it is called in the clear.
fn read_trust(prefix: &str, config: &config::Foreign) -> Result<Option<Trust>, String> {
    if !config.is_over_tls() {
        return Ok(None);
    }
    let unfit = |Unfit { key, why }| format!("gateway.foreign.{prefix:?}.{key}: {why}");
    Trust::read(config).map(Some).map_err(unfit)
}
