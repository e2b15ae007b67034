//! Upstreams outside the mesh: any gRPC service, in any language, under a prefix of service names.
//!
//! What such an upstream declares can only take away: a method that its descriptors do not name is closed, and while
//! they cannot be had the last good ones count. Where there never were any, nothing is open.

mod contract;
mod reflection;
mod shown;
mod watch;

use std::{fs, path::PathBuf, sync::Arc};

use kit::{
    balance::{self, Addresses},
    identity::{CallerTokens, Identity},
    policy::{Access, Reach},
};

pub(crate) use contract::Contract;
pub(crate) use shown::together;
pub(crate) use watch::watch;

use crate::{
    config::{self, Open},
    tls::{Trust, Unfit},
    upstream::{Cluster, Upstreams},
};

/// Names that belong to the mesh and to the gateway itself.
const RESERVED: [&str; 2] = ["trellis", "grpc"];

/// An upstream as the configuration has it.
pub(crate) struct Foreign {
    /// The prefix of service names that it answers.
    pub(crate) prefix: Arc<str>,
    pub(crate) cluster: Arc<Cluster>,
    /// Whom to believe that it is the one; `None`: it is called in the clear.
    pub(crate) trust: Option<Trust>,
    /// Who may call what its descriptors say nothing of; `None`: nobody.
    pub(crate) open: Option<Access>,
    pub(crate) source: Source,
    /// What it is told of the caller; `None`: nothing.
    pub(crate) tokens: Option<Arc<CallerTokens>>,
}

/// Where descriptors come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// There are none: whatever has the prefix passes.
    None,
    /// A file with an encoded `google.protobuf.FileDescriptorSet`.
    File(PathBuf),
    /// The upstream itself (`grpc.reflection.v1`, else `v1alpha`), which is there.
    Reflection(Addresses),
}

impl Source {
    /// Whether what was read from `other` still counts: the same file, or one of the same servers. Others may mean
    /// something else by the same names.
    fn knows(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Reflection(now), Self::Reflection(then)) => now.iter().any(|address| then.contains(address)),
            _ => self == other,
        }
    }
}

impl Foreign {
    /// Reads `gateway.foreign.<prefix>`. Errors name the key.
    pub(crate) fn new(
        prefix: &str,
        config: &config::Foreign,
        upstreams: &Upstreams,
        identity: &Arc<Identity>,
    ) -> Result<Self, String> {
        let bad = |key: &str, why: String| format!("gateway.foreign.{prefix:?}{key}: {why}");
        check_prefix(prefix).map_err(|why| bad("", why))?;
        let audience = config.token_audience.as_str();
        // A token for this upstream must be worth nothing inside the mesh.
        if audience == kit::jwt::AUDIENCE || ["users", "auth", "messaging", "gateway"].contains(&audience) {
            return Err(bad(".token_audience", format!("{audience:?} is a name of the mesh's own; choose another")));
        }
        let trust = Self::read_trust(prefix, config)?;
        Ok(Self {
            prefix: prefix.into(),
            cluster: upstreams.cluster(prefix, &config.to, trust.as_ref()).map_err(|why| bad(".to", why))?,
            trust,
            open: match config.access {
                Open::Deny => None,
                Open::Public => Some(Access::Public),
                Open::SignedIn => Some(Access::SignedIn { roles: Vec::new(), scopes: Vec::new(), reach: Reach::Any }),
            },
            source: match config.descriptors.as_str() {
                "" => Source::None,
                "reflection" => Source::Reflection(config.to.clone()),
                path => Source::File(PathBuf::from(path)),
            },
            tokens: (!audience.is_empty()).then(|| Arc::new(CallerTokens::new(Arc::clone(identity), audience))),
        })
    }

    /// Reads the files about TLS that its configuration names.
    pub(crate) fn read_trust(prefix: &str, config: &config::Foreign) -> Result<Option<Trust>, String> {
        let names_files = [&config.ca, &config.certificate, &config.key].iter().any(|path| !path.is_empty());
        if !names_files && balance::in_the_clear(&config.to).is_ok() {
            return Ok(None);
        }
        let unfit = |Unfit { key, why }| format!("gateway.foreign.{prefix:?}.{key}: {why}");
        Trust::read(config).map(Some).map_err(unfit)
    }

    /// Whether a service is this upstream's to answer.
    pub(crate) fn answers(&self, service: &str) -> bool {
        service.strip_prefix(&*self.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// Reads the descriptors that stand in a file.
    pub(crate) fn read_file(&self) -> Option<Result<Contract, String>> {
        let Source::File(path) = &self.source else { return None };
        let read = fs::read(path).map_err(|e| e.to_string());
        let contract = read.and_then(|encoded| Contract::read(&encoded, self, |service| self.answers(service)));
        Some(
            contract.map_err(|why| format!("gateway.foreign.{:?}.descriptors: {}: {why}", self.prefix, path.display())),
        )
    }
}

fn check_prefix(prefix: &str) -> Result<(), String> {
    let is_name = |part: &str| {
        !part.is_empty()
            && !part.starts_with(|c: char| c.is_ascii_digit())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if !prefix.split('.').all(is_name) {
        return Err("is no name of a package or service, such as acme.shop.v1".to_owned());
    }
    let first = prefix.split('.').next().unwrap_or_default();
    if RESERVED.contains(&first) {
        return Err(format!("{first}.* is answered by the mesh itself"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_names_and_not_ours() {
        for good in ["acme", "acme.shop.v1", "acme.shop.v1.Cart", "trellises"] {
            assert_eq!(check_prefix(good), Ok(()), "{good}");
        }
        for bad in
            ["", ".", "acme.", "acme..shop", "acme/shop", "1acme", "trellis", "trellis.users.v1", "grpc.health.v1"]
        {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
    }
}
