//! Services of this process, which a gateway calls without a connection.

use std::{collections::BTreeSet, convert::Infallible, fmt};

use http::{Request, Response};
use kit::policy::Table;
use tonic::{body::Body, server::NamedService, service::Routes};
use tower::Service;

/// Services that are implemented with tonic in the same process as their gateway: see [`Gateway::embedded`].
///
/// [`Gateway::embedded`]: crate::Gateway::embedded
#[derive(Clone)]
pub struct OwnServices {
    pub(crate) descriptors: &'static [u8],
    pub(crate) routes: Routes,
    pub(crate) names: BTreeSet<&'static str>,
    pub(crate) are_public: bool,
}

impl OwnServices {
    /// No services yet. `descriptors` is an encoded `google.protobuf.FileDescriptorSet` with their contracts and all
    /// imports. Custom options, such as `google.api.http`, must be in it.
    pub fn new(descriptors: &'static [u8]) -> Self {
        Self { descriptors, routes: Routes::default(), names: BTreeSet::new(), are_public: false }
    }

    /// Adds a service.
    #[must_use]
    pub fn with<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self.names.insert(S::NAME);
        self
    }

    /// Opens the methods without a policy in their contract (`trellis.policy.v1.method`) to all clients. Otherwise no
    /// client may call them.
    #[must_use]
    pub fn public(self) -> Self {
        Self { are_public: true, ..self }
    }

    /// Whether this process serves a method.
    pub(crate) fn serve(&self, path: &str) -> bool {
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        service.is_some_and(|(service, _)| self.names.contains(service))
    }

    /// Checks that the contracts declare the services, and that each method can be called without an auth service.
    pub(crate) fn check(&self, policies: &Table) -> Result<(), String> {
        for name in &self.names {
            if policies.pool().get_service_by_name(name).is_none() {
                return Err(format!("the descriptors do not declare the service {name}; encode its contract"));
            }
        }
        let of_user = policies.iter().find(|(path, policy)| self.serve(path) && policy.access.is_for_users());
        match of_user {
            Some((path, _)) => {
                Err(format!("{path}: signed-in users need an auth service, which this process does not have"))
            }
            None => Ok(()),
        }
    }
}

impl fmt::Debug for OwnServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnServices").field("names", &self.names).field("are_public", &self.are_public).finish()
    }
}
