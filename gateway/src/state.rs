//! The state of a running gateway: one immutable snapshot, replaced as a whole by a reload, by changed files and by
//! changed descriptors of external upstreams.

mod config_check;
mod graphql;
mod last_good;
mod openapi;
mod persisted;
mod refresh;
mod snapshot;

use std::sync::Arc;

use kit::{health::Readiness, server, server::ServiceContext, shutdown::Shutdown};
use parking_lot::{Mutex, MutexGuard, RwLock};
use tokio::sync::Notify;
use tonic::service::Routes as Here;
use transcode::Registry;

use crate::{
    config::Config, external::Contract, issuers::IssuerRegistry, own_services::OwnServices, protocol,
    route_rules::InFlightCounts, routes::Route, server::Stalls, tls::ListenerTls, upstream::Upstreams,
};
use last_good::{Before, LastGood};
pub(crate) use persisted::PersistedQueries;
use snapshot::Fixed;
pub(crate) use snapshot::Snapshot;

/// See the module.
pub(crate) struct State {
    context: ServiceContext,
    mesh: Vec<Route>,
    own: Option<OwnServices>,
    /// The messages of the mesh's contracts.
    registry: Registry,
    health: Here,
    upstreams: Upstreams,
    /// The calls in progress that limits count.
    in_flight: InFlightCounts,
    /// The issuers of tokens, with their keys.
    issuers: IssuerRegistry,
    stalls: Arc<Stalls>,
    tls: Arc<ListenerTls>,
    /// The values that `current` was built with. Locked while another is built, so that no update is lost.
    known: Mutex<LastGood>,
    current: RwLock<Arc<Snapshot>>,
    /// Notified after a reload.
    reloaded: Notify,
}

impl State {
    /// The state of a gateway to `mesh`. Errors name the key of the configuration that is wrong.
    pub(crate) fn new(
        config: &Config,
        context: &ServiceContext,
        mesh: Vec<Route>,
        readiness: &Readiness,
    ) -> Result<Self, String> {
        Self::build_first(config, context, (mesh, None), readiness)
    }

    /// The state of a gateway to services of this process.
    pub(crate) fn with_own(
        config: &Config,
        context: &ServiceContext,
        own: OwnServices,
        readiness: &Readiness,
    ) -> Result<Self, String> {
        Self::build_first(config, context, (Vec::new(), Some(own)), readiness)
    }

    fn build_first(
        config: &Config,
        context: &ServiceContext,
        (mesh, own): (Vec<Route>, Option<OwnServices>),
        readiness: &Readiness,
    ) -> Result<Self, String> {
        let of_mesh = mesh.iter().map(|route| (route.service.as_str(), Some(route.peer.as_str())));
        let of_own = own.iter().flat_map(|own| own.names.iter().map(|name| (*name, None)));
        let served: Vec<_> = of_mesh.chain(of_own).collect();
        let health = server::health(&served, readiness);
        let upstreams = Upstreams::new(config.upstream_connections, config.threads, context);
        let (known, _) = LastGood::read(config, None)?;
        let registry = protocol::registry(context.policies.pool());
        let (in_flight, issuers) = (InFlightCounts::default(), IssuerRegistry::default());
        let fixed = Fixed {
            context,
            mesh: &mesh,
            own: own.as_ref(),
            registry: &registry,
            health: &health,
            upstreams: &upstreams,
            in_flight: &in_flight,
            issuers: &issuers,
        };
        let current = Snapshot::new(config, &fixed, &known)?;
        if let Some(error) = current.errors().next() {
            return Err(error);
        }
        current.warn(None);
        let tls = ListenerTls::none()?;
        tls.replace(known.certified.clone(), known.clients.as_ref())?;
        issuers.keep(&current.issuers);
        Ok(Self {
            context: context.clone(),
            mesh,
            own,
            registry,
            health,
            upstreams,
            in_flight,
            issuers,
            stalls: Stalls::new(config.stalled_response_bytes),
            tls,
            known: Mutex::new(known),
            current: RwLock::new(Arc::new(current)),
            reloaded: Notify::new(),
        })
    }

    /// Applies another configuration to calls that begin from now on. An error names the invalid key, and changes
    /// nothing.
    pub(crate) fn reload(&self, config: &Config) -> Result<(), String> {
        let mut known = self.lock_known();
        let current = self.snapshot();
        let config = current.config.taking_over(config);
        let (wanted, problems) = LastGood::read(&config, Some(Before { config: &current.config, known: &known }))?;
        let next = self.build(&config, &wanted)?;
        if let Some(error) = self.new_errors(&next).first() {
            return Err(error.clone());
        }
        self.take(next, &mut known, wanted)?;
        for problem in problems {
            tracing::warn!(problem, "the last good content stays in force");
        }
        self.reloaded.notify_one();
        Ok(())
    }

    /// Keeps the state up to date with files and upstreams, until the process stops.
    pub(crate) async fn refresh(self: Arc<Self>, shutdown: Shutdown) {
        refresh::watch(self, shutdown).await;
    }

    /// The snapshot in force.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read())
    }

    /// The unread bytes of all responses.
    pub(crate) fn stalls(&self) -> Arc<Stalls> {
        Arc::clone(&self.stalls)
    }

    /// The TLS of the listeners.
    pub(crate) fn tls(&self) -> Arc<ListenerTls> {
        Arc::clone(&self.tls)
    }

    /// Whether there is a mesh behind the gateway, and not only external upstreams.
    pub(crate) fn has_mesh(&self) -> bool {
        !self.mesh.is_empty()
    }

    /// Whether all calls go to external upstreams.
    pub(crate) fn is_external_only(&self) -> bool {
        self.mesh.is_empty() && self.own.is_none()
    }

    /// Applies an upstream's descriptors.
    fn learn(&self, prefix: &Arc<str>, contract: Contract) {
        let mut known = self.lock_known();
        if known.contracts.get(prefix).is_some_and(|known| known.is_same(&contract)) {
            return;
        }
        let current = self.snapshot();
        if !current.external.iter().any(|external| external.prefix == *prefix && contract.counts_for(external)) {
            // After a reload, the descriptors are those of another server.
            return;
        }
        let mut wanted = known.clone();
        wanted.contracts.insert(Arc::clone(prefix), Arc::new(contract));
        match self.rebuild(&current.config, &mut known, wanted) {
            Ok(()) => tracing::info!(upstream = %prefix, "descriptors read"),
            Err(error) => {
                tracing::warn!(upstream = %prefix, error, "the previous routes stay in force")
            }
        }
    }

    /// Applies changed files. A file that cannot be read is returned as a problem, and its last good content remains.
    fn read_changed_files(&self) -> Vec<String> {
        let current = self.snapshot();
        let before = self.lock_known().clone();
        let read = LastGood::read(&current.config, Some(Before { config: &current.config, known: &before }));
        let (wanted, mut problems) = match read {
            Ok(read) => read,
            Err(problem) => return vec![problem],
        };
        if wanted.differs(&before) {
            let mut known = self.lock_known();
            if !Arc::ptr_eq(&current, &self.snapshot()) {
                // A reload came first. The next check starts from it.
                return problems;
            }
            match self.rebuild(&current.config, &mut known, wanted) {
                Ok(()) => tracing::info!("changed files applied"),
                Err(problem) => problems.push(problem),
            }
        }
        problems
    }

    fn rebuild(&self, config: &Config, known: &mut LastGood, wanted: LastGood) -> Result<(), String> {
        let next = self.build(config, &wanted)?;
        // An upstream may change its descriptors while the configuration stays: that must not stop the update.
        let current = self.snapshot();
        for error in next.undeclared.iter().filter(|error| !current.undeclared.contains(error)) {
            tracing::warn!(mistake = error, "a rule for methods has no effect");
        }
        self.take(next, known, wanted)
    }

    fn build(&self, config: &Config, known: &LastGood) -> Result<Snapshot, String> {
        let Self { context, mesh, own, registry, health, upstreams, in_flight, issuers, .. } = self;
        let own = own.as_ref();
        Snapshot::new(config, &Fixed { context, mesh, own, registry, health, upstreams, in_flight, issuers }, known)
    }

    fn take(&self, next: Snapshot, known: &mut LastGood, wanted: LastGood) -> Result<(), String> {
        self.tls.replace(wanted.certified.clone(), wanted.clients.as_ref())?;
        self.stalls.set_bound(next.config.stalled_response_bytes);
        self.issuers.keep(&next.issuers);
        *known = wanted;
        next.warn(Some(&self.snapshot()));
        *self.current.write() = Arc::new(next);
        Ok(())
    }

    /// The errors of a configuration, except those that the one in force has, too: its descriptors may have changed.
    fn new_errors(&self, next: &Snapshot) -> Vec<String> {
        let current: Vec<_> = self.snapshot().errors().collect();
        next.errors().filter(|error| !current.contains(error)).collect()
    }

    fn lock_known(&self) -> MutexGuard<'_, LastGood> {
        self.known.lock()
    }
}
