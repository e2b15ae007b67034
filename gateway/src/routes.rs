//! Which call goes where, and under which policy.

use std::{collections::HashMap, sync::Arc, time::Duration};

use kit::{
    limiter::Quota,
    policy::{Access, Policy, Table},
};
use tonic::service::Routes as Here;

use crate::{Config, Route, upstream::Upstream};

/// Where a call is answered.
#[derive(Clone)]
pub(crate) enum Target {
    /// By a service of the mesh.
    Mesh {
        /// Where.
        upstream: Arc<Upstream>,
        /// The name that service tokens are made out to.
        callee: Arc<str>,
    },
    /// By a stranger.
    Foreign(Arc<Upstream>),
    /// By the gateway itself.
    Here(Here),
}

/// What the gateway knows of a method.
pub(crate) struct Method {
    pub(crate) target: Target,
    pub(crate) access: Access,
    pub(crate) quota: Quota,
    pub(crate) cost: u32,
    /// Count by address even for a signed-in caller.
    pub(crate) by_address: bool,
    /// Default and ceiling; `None`: the stream runs until its token ends.
    pub(crate) deadline: Option<Duration>,
    pub(crate) reads_session_cookie: bool,
}

/// The table. A path that it does not know leads nowhere.
pub(crate) struct Routes {
    /// By path: the methods that a contract with policies declares.
    methods: HashMap<String, Method>,
    /// By service: those whose contract the gateway does not know.
    services: HashMap<String, Method>,
}

impl Routes {
    /// The routes to the mesh, to foreign upstreams, and to what the gateway answers itself.
    pub(crate) fn new(
        config: &Config,
        limits: &kit::limits::Limits,
        policies: &Table,
        mesh: &[Route],
        here: &Here,
    ) -> Result<Self, String> {
        let connect = |key: &str, address: &str| {
            let upstream = Upstream::new(address, config.upstream_connections, limits);
            upstream.map(Arc::new).map_err(|e| format!("{key}: {e}"))
        };
        let mut routes = Self { methods: HashMap::new(), services: HashMap::new() };
        let open = |target| Method {
            target,
            access: Access::Public,
            quota: config.default_quota(),
            cost: 1,
            by_address: true,
            deadline: None,
            reads_session_cookie: false,
        };
        for Route { service, peer, address } in mesh {
            let upstream = connect(&format!("peers.{peer}"), address)?;
            let callee: Arc<str> = peer.as_str().into();
            let prefix = format!("/{service}/");
            for (path, policy) in policies.iter().filter(|(path, _)| path.starts_with(&prefix)) {
                // Internal methods have no way in from outside.
                if !matches!(policy.access, Access::Internal { .. }) {
                    let target = Target::Mesh { upstream: Arc::clone(&upstream), callee: Arc::clone(&callee) };
                    routes.methods.insert(path.to_owned(), method(policy, target, config, limits.deadline.0));
                }
            }
        }
        for (service, address) in &config.foreign {
            let target = Target::Foreign(connect(&format!("gateway.foreign.{service}"), address)?);
            routes.services.insert(service.clone(), open(target));
        }
        for service in crate::INTROSPECTION {
            routes.services.insert(service.to_owned(), open(Target::Here(here.clone())));
        }
        Ok(routes)
    }

    /// The method at a path.
    pub(crate) fn find(&self, path: &str) -> Option<&Method> {
        self.methods.get(path).or_else(|| {
            let (service, method) = path.strip_prefix('/')?.split_once('/')?;
            self.services.get(service).filter(|_| !method.is_empty() && !method.contains('/'))
        })
    }
}

fn method(policy: &Policy, target: Target, config: &Config, default_deadline: Duration) -> Method {
    let rate = policy.rate_limit.as_ref();
    Method {
        target,
        access: policy.access.clone(),
        quota: rate.map_or_else(|| config.default_quota(), |rate| rate.quota),
        cost: rate.map_or(1, |rate| rate.cost),
        by_address: rate.is_some_and(|rate| rate.by_address),
        deadline: policy.deadline.or((!policy.streams).then_some(default_deadline)),
        reads_session_cookie: policy.reads_session_cookie,
    }
}
