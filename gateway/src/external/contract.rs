//! What an upstream's descriptors say.

use kit::{
    descriptors,
    policy::{Policy, Table},
};
use prost_types::FileDescriptorSet;

use super::{ExternalUpstream, Source, is_under};

/// The methods of an upstream, as far as they are its own to declare.
#[derive(Debug)]
pub(crate) struct Contract {
    /// As they were read, to see whether they have changed.
    encoded: Vec<u8>,
    /// Where they came from: what was read elsewhere counts for nothing once the configuration says otherwise.
    source: Source,
    pub(crate) methods: Vec<Declared>,
}

/// A method that descriptors declare.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) path: String,
    pub(crate) streams: bool,
    /// A repeat does no harm.
    pub(crate) idempotent: bool,
    /// Where it carries `trellis.policy.v1.method`.
    pub(crate) policy: Option<Policy>,
}

impl Contract {
    /// Reads an encoded `google.protobuf.FileDescriptorSet` from `source`. Services that the upstream does not answer, and
    /// those outside its prefix, are passed over: it claims nothing that was not given to it.
    pub(crate) fn read(
        encoded: &[u8],
        prefix: &str,
        source: &Source,
        answers: impl Fn(&str) -> bool,
    ) -> Result<Self, String> {
        let policies = Table::from_descriptors(encoded).map_err(|e| e.to_string())?;
        let declared = descriptors::methods(encoded).map_err(|e| e.to_string())?;
        let mine = |path: &str| {
            let service = path.strip_prefix('/').and_then(|path| path.split('/').next());
            service.is_some_and(|service| is_under(prefix, service) && answers(service))
        };
        let methods = declared
            .into_iter()
            .filter(|method| mine(&method.path))
            .map(|descriptors::Declared { path, streams, idempotent }| Declared {
                policy: policies.get(&path).cloned(),
                path,
                streams,
                idempotent,
            })
            .collect::<Vec<_>>();
        if methods.is_empty() {
            return Err(format!("no service of {} is declared", prefix));
        }
        Ok(Self { encoded: encoded.to_vec(), source: source.clone(), methods })
    }

    /// What of it strangers may see: the methods for which `shows` holds.
    pub(crate) fn shown(&self, shows: impl Fn(&str) -> bool) -> FileDescriptorSet {
        // It was decoded when it was read.
        descriptors::shown(&self.encoded, shows).unwrap_or_default()
    }

    /// Whether it says what `other` says. Of what the same files declare an upstream may come to answer more.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let mut methods = self.methods.iter().zip(&other.methods);
        self.encoded == other.encoded
            && self.source == other.source
            && self.methods.len() == other.methods.len()
            && methods.all(|(mine, others)| mine.path == others.path)
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Whether it counts for an upstream as it is configured now.
    pub(crate) fn counts_for(&self, external: &ExternalUpstream) -> bool {
        external.source.knows(&self.source)
    }
}
