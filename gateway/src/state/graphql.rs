//! The GraphQL schema of the methods that clients may call.

use std::sync::{Arc, OnceLock};

use graphql::{Api, Method, Options, Source};
use kit::policy::Policy;
use transcode::Registry;

/// The schema, which is built when it is first requested.
pub(crate) struct GraphqlSchema {
    /// The mesh, then the external upstreams that take part.
    services: Vec<Services>,
    options: Options,
    api: OnceLock<Option<Api>>,
}

/// The methods of the mesh or of an external upstream.
pub(super) struct Services {
    /// The prefix of the upstream; `None`: the mesh.
    pub(super) prefix: Option<Arc<str>>,
    pub(super) registry: Registry,
    pub(super) methods: Vec<Method>,
}

impl Services {
    fn source(&self) -> Source<'_> {
        Source { prefix: self.prefix.as_deref(), registry: &self.registry, methods: self.methods.clone() }
    }
}

impl GraphqlSchema {
    pub(super) fn new(services: Vec<Services>, options: Options) -> Self {
        Self { services, options, api: OnceLock::new() }
    }

    /// The schema; `None`: there is no method, or the names of the mesh are not unique.
    pub(crate) fn api(&self) -> Option<&Api> {
        self.api.get_or_init(|| self.build()).as_ref()
    }

    /// Builds the schema. An external upstream whose names conflict with those before it is left out.
    fn build(&self) -> Option<Api> {
        let (mut sources, mut built) = (Vec::<&Services>::new(), None);
        for services in self.services.iter().filter(|services| !services.methods.is_empty()) {
            sources.push(services);
            match Api::new(&sources.iter().map(|services| services.source()).collect::<Vec<_>>(), self.options) {
                Ok(api) => built = Some(api),
                Err(error) => {
                    sources.pop();
                    let upstream = services.prefix.as_deref().unwrap_or("mesh");
                    tracing::warn!(upstream, error, "the services have no GraphQL form");
                }
            }
        }
        built
    }
}

/// The cost of a call in the rate limits of the contract.
pub(super) fn cost(policy: Option<&Policy>) -> usize {
    let costs = policy.into_iter().flat_map(|policy| &policy.rate_limits).map(|limit| limit.cost as usize);
    costs.max().unwrap_or_default().max(1)
}
