//! The services that a schema is made of.

use prost_reflect::{MethodDescriptor, prost_types::method_options::IdempotencyLevel};
use transcode::Registry;

/// The mesh, or an external upstream.
pub struct Source<'a> {
    /// The prefix of an external upstream, which begins the names of its types and root fields; `None`: the mesh.
    pub prefix: Option<&'a str>,
    /// The messages of the methods.
    pub registry: &'a Registry,
    /// The methods that clients may call.
    pub methods: Vec<Method>,
}

/// A method that clients may call.
#[derive(Debug, Clone)]
pub struct Method {
    /// Its descriptor.
    pub descriptor: MethodDescriptor,
    /// The cost of a call in the contract's rate limits, at least 1.
    pub cost: usize,
}

impl Method {
    /// Whether the method has no side effects.
    pub(crate) fn is_query(&self) -> bool {
        let method = self.descriptor.method_descriptor_proto();
        let level = method.options.as_ref().map(|options| options.idempotency_level());
        level == Some(IdempotencyLevel::NoSideEffects)
    }
}
