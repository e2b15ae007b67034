//! The methods that an upstream's descriptors declare.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use kit::{
    descriptors,
    policy::{Policy, Table, is_idempotent},
};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use prost_types::FileDescriptorSet;
use transcode::Registry;

use super::{DescriptorSource, ExternalUpstream};
use crate::{config::is_under, protocol, rate_limit::DeclaredMethods};

/// The contracts of upstreams, by prefix.
pub(crate) type Contracts = HashMap<Arc<str>, Arc<Contract>>;

/// The methods of an upstream within its prefix.
#[derive(Debug)]
pub(crate) struct Contract {
    /// The encoded descriptors, to detect changes.
    encoded: Vec<u8>,
    /// Their source: descriptors from another source do not apply once the configuration names a different one.
    source: DescriptorSource,
    pub(crate) methods: Vec<Declared>,
    pool: DescriptorPool,
    /// The messages of the descriptors, compiled on first use: a contract that is read again is mostly unchanged.
    registry: OnceLock<Registry>,
}

/// A method that descriptors declare.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) path: String,
    pub(crate) descriptor: MethodDescriptor,
    /// The policy in the extension `trellis.policy.v1.method`, if any.
    pub(crate) policy: Option<Policy>,
}

impl Declared {
    /// Whether a repeated call does no harm.
    pub(crate) fn is_idempotent(&self) -> bool {
        is_idempotent(&self.descriptor)
    }

    /// Whether its requests or responses are streams.
    pub(crate) fn streams(&self) -> bool {
        self.descriptor.is_client_streaming() || self.descriptor.is_server_streaming()
    }
}

impl Contract {
    /// Reads an encoded `google.protobuf.FileDescriptorSet` from `source`. Services that the upstream does not serve,
    /// and those outside its prefix, are ignored.
    pub(crate) fn read(
        encoded: &[u8],
        prefix: &str,
        source: &DescriptorSource,
        serves: impl Fn(&str) -> bool,
    ) -> Result<Self, String> {
        let policies = Table::from_descriptors(encoded).map_err(|e| e.to_string())?;
        let mine = |path: &str| {
            let service = path.strip_prefix('/').and_then(|path| path.split('/').next());
            service.is_some_and(|service| is_under(prefix, service) && serves(service))
        };
        let declared = |(path, descriptor): (String, MethodDescriptor)| Declared {
            policy: policies.get(&path).cloned(),
            path,
            descriptor,
        };
        let methods: Vec<_> = policies.descriptors().filter(|(path, _)| mine(path)).map(declared).collect();
        if methods.is_empty() {
            return Err(format!("no service of {} is declared", prefix));
        }
        let pool = policies.pool().clone();
        Ok(Self { encoded: encoded.to_vec(), source: source.clone(), methods, pool, registry: OnceLock::new() })
    }

    /// The messages of the descriptors.
    pub(crate) fn registry(&self) -> &Registry {
        self.registry.get_or_init(|| protocol::registry(&self.pool))
    }

    /// The descriptors that reflection shows: those of the methods for which `shows` holds.
    pub(crate) fn shown(&self, shows: impl Fn(&str) -> bool) -> FileDescriptorSet {
        // The same bytes were decoded by `read`.
        descriptors::shown(&self.encoded, shows).unwrap_or_default()
    }

    /// Whether both declare the same. With unchanged files an upstream may begin to serve more services.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let mut methods = self.methods.iter().zip(&other.methods);
        self.encoded == other.encoded
            && self.source == other.source
            && self.methods.len() == other.methods.len()
            && methods.all(|(mine, others)| mine.path == others.path)
    }

    /// The paths of its methods.
    fn paths(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().map(|method| method.path.as_str())
    }

    pub(crate) fn source(&self) -> &DescriptorSource {
        &self.source
    }

    /// Whether it applies to the upstream as it is configured now.
    pub(crate) fn counts_for(&self, external: &ExternalUpstream) -> bool {
        external.source.knows(&self.source)
    }
}

/// The paths of the methods that contracts declare, by prefix.
pub(crate) fn declared_methods(contracts: &Contracts) -> DeclaredMethods<'_> {
    contracts.iter().map(|(prefix, contract)| (&**prefix, contract.paths().collect())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_contracts::encoded;

    fn contract(source: &str) -> Contract {
        Contract::read(&encoded(source), "acme", &DescriptorSource::None, |_| true).unwrap()
    }

    const SOURCE: &str = r#"syntax = "proto3"; package acme;
        // The service.
        service S {
          // Internal notes.
          rpc Hidden(R) returns (R);
          // For all.
          rpc Open(R) returns (R);
        }
        message R {}"#;

    #[test]
    fn reflection_shows_no_comments() {
        let contract = contract(SOURCE);
        assert!(contract.encoded.windows(9).any(|text| text == b"Internal "), "the source has comments");
        let shown = contract.shown(|path| path == "/acme.S/Open");
        let file = shown.file.iter().find(|file| file.name() == "t.proto").unwrap();
        assert_eq!(file.service[0].method.iter().map(|method| method.name()).collect::<Vec<_>>(), ["Open"]);
        assert!(shown.file.iter().all(|file| file.source_code_info.is_none()));
    }

    #[test]
    fn comparison_compiles_no_messages() {
        let (first, again) = (contract(SOURCE), contract(SOURCE));
        assert!(first.is_same(&again));
        assert!(first.registry.get().is_none() && again.registry.get().is_none());
        assert!(first.registry().message("acme.R").is_some());
    }
}
