//! The methods that an upstream's descriptors declare.

use std::{collections::HashMap, sync::Arc};

use kit::{
    descriptors,
    policy::{Policy, Table, is_idempotent},
};
use prost_reflect::MethodDescriptor;
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
    /// The messages of the descriptors.
    pub(crate) registry: Registry,
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
        let registry = protocol::registry(policies.pool());
        Ok(Self { encoded: encoded.to_vec(), source: source.clone(), methods, registry })
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
