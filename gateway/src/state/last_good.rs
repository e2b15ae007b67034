//! The last good value of everything read from files and upstreams: certificates, trusted authorities and descriptors.
//! A value that cannot be read again does not stop the update of others.

use std::{collections::HashMap, sync::Arc};

use tokio_rustls::rustls::{pki_types::CertificateDer, sign::CertifiedKey};

use super::persisted::PersistedQueries;
use crate::{
    config::{self, Config},
    external::{self, Contract, Contracts, DescriptorSource},
    tls::{self, ClientTrust, Trust, Unfit},
};

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct LastGood {
    /// The certificate of the listeners with TLS.
    pub(crate) certified: Option<Arc<CertifiedKey>>,
    /// The authorities and revocations of the clients' certificates.
    pub(crate) clients: Option<Arc<ClientTrust>>,
    /// The TLS settings of the upstreams that are called over TLS, by prefix.
    pub(crate) trusts: HashMap<Arc<str>, Trust>,
    /// The TLS settings of the authorization service, if it is called over TLS.
    pub(crate) authorization: Option<Trust>,
    /// The descriptors of the upstreams, by prefix.
    pub(crate) contracts: Contracts,
    /// The persisted GraphQL operations.
    pub(crate) persisted: Option<Arc<PersistedQueries>>,
}

/// The values in force until now.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) config: &'a Config,
    pub(crate) known: &'a LastGood,
}

impl LastGood {
    /// Reads every file that a configuration names, and keeps the descriptors that upstreams returned by reflection if
    /// the configuration still names the same source.
    ///
    /// A file that cannot be read is an error that names the key; if it was in force `before` under the same name, its
    /// last good content remains, and the second value reports the error.
    pub(crate) fn read(config: &Config, before: Option<Before<'_>>) -> Result<(Self, Vec<String>), String> {
        let (mut known, mut problems) = (Self::default(), Vec::new());
        let last = before.filter(|before| before.config.tls.certificate_source() == config.tls.certificate_source());
        let last = last.map(|before| before.known.certified.clone());
        known.certified = or_last(tls::read(&config.tls), last, &mut problems)?;
        let last = before.filter(|before| before.config.tls.client_source() == config.tls.client_source());
        let last = last.map(|before| before.known.clients.clone());
        let read = ClientTrust::read(&config.tls).map(|read| read.map(|read| same_trust(read, last.as_ref())));
        known.clients = or_last(read, last, &mut problems)?;
        let last = before.filter(|before| before.config.graphql.persisted == config.graphql.persisted);
        let last = last.map(|before| before.known.persisted.clone());
        let read = PersistedQueries::read(&config.graphql).map(|read| read.map(Arc::new));
        known.persisted = or_last(read, last, &mut problems)?;
        if config.authorization.is_over_tls() {
            let last = before.and_then(|before| before.authorization(&config.authorization));
            known.authorization = Some(or_last(read_authorization(&config.authorization), last, &mut problems)?);
        }
        for (prefix, of) in &config.external {
            let prefix: Arc<str> = prefix.as_str().into();
            if of.is_over_tls() {
                let last = before.and_then(|before| before.trust(&prefix, of));
                let trust = or_last(read_trust(&prefix, of), last, &mut problems)?;
                known.trusts.insert(Arc::clone(&prefix), trust);
            }
            let source = DescriptorSource::of(of);
            let last = before.and_then(|before| before.contract(&prefix, &source));
            let contract = match external::read_file(&prefix, &source) {
                Some(read) => Some(or_last(read.map(|contract| same(contract, &last)), last, &mut problems)?),
                None => last,
            };
            known.contracts.extend(contract.map(|contract| (prefix, contract)));
        }
        Ok((known, problems))
    }

    /// Whether it configures another gateway than `other` does.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let is_known = |(prefix, contract): (&Arc<str>, &Arc<Contract>)| {
            other.contracts.get(prefix).is_some_and(|known| Arc::ptr_eq(known, contract))
        };
        self.chain() != other.chain()
            || self.clients != other.clients
            || self.trusts != other.trusts
            || self.persisted != other.persisted
            || self.authorization != other.authorization
            || self.contracts.len() != other.contracts.len()
            || !self.contracts.iter().all(is_known)
    }

    /// The certificate and its chain.
    fn chain(&self) -> Option<&[CertificateDer<'static>]> {
        self.certified.as_ref().map(|certified| certified.cert.as_slice())
    }
}

impl Before<'_> {
    /// The TLS settings from the same files.
    fn trust(&self, prefix: &str, config: &config::ExternalConfig) -> Option<Trust> {
        let files = |of: &config::ExternalConfig| [of.ca.clone(), of.certificate.clone(), of.key.clone()];
        let is_same = self.config.external.get(prefix).is_some_and(|before| files(before) == files(config));
        self.known.trusts.get(prefix).filter(|_| is_same).cloned()
    }

    /// The TLS settings of the authorization service from the same files.
    fn authorization(&self, config: &config::AuthorizationConfig) -> Option<Trust> {
        let files = |of: &config::AuthorizationConfig| [of.ca.clone(), of.certificate.clone(), of.key.clone()];
        let is_same = files(&self.config.authorization) == files(config);
        self.known.authorization.as_ref().filter(|_| is_same).cloned()
    }

    /// The descriptors from the same source, if they still apply.
    fn contract(&self, prefix: &str, source: &DescriptorSource) -> Option<Arc<Contract>> {
        self.known.contracts.get(prefix).filter(|contract| source.knows(contract.source())).cloned()
    }
}

fn or_last<T>(read: Result<T, String>, last: Option<T>, problems: &mut Vec<String>) -> Result<T, String> {
    match (read, last) {
        (Err(why), Some(last)) => {
            problems.push(why);
            Ok(last)
        }
        (read, _) => read,
    }
}

/// The last contract, if the new one declares the same.
fn same(contract: Contract, last: &Option<Arc<Contract>>) -> Arc<Contract> {
    match last {
        Some(last) if last.is_same(&contract) => Arc::clone(last),
        _ => Arc::new(contract),
    }
}

/// The last trust, if the files have the same content: connections are not checked again.
fn same_trust(trust: ClientTrust, last: Option<&Option<Arc<ClientTrust>>>) -> Arc<ClientTrust> {
    match last {
        Some(Some(last)) if **last == trust => Arc::clone(last),
        _ => Arc::new(trust),
    }
}

/// Reads the TLS files of the authorization service.
fn read_authorization(config: &config::AuthorizationConfig) -> Result<Trust, String> {
    Trust::read(&config.ca, &config.certificate, &config.key)
        .map_err(|Unfit { key, why }| format!("gateway.authorization.{key}: {why}"))
}

/// Reads the TLS files that an upstream's configuration names.
fn read_trust(prefix: &str, config: &config::ExternalConfig) -> Result<Trust, String> {
    Trust::read(&config.ca, &config.certificate, &config.key)
        .map_err(|Unfit { key, why }| format!("gateway.external.{prefix:?}.{key}: {why}"))
}
