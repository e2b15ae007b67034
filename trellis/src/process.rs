//! One process: binds the listeners, opens the stores, wires the parts together, runs them, and stops them in order.

use std::{io, sync::Arc};

use auth::{AuthStore, keys::OwnKeys};
use gateway::{Gateway, Route};
use kit::{
    ClockAndRng,
    balance::{self, Addresses},
    bus::{self, Bus},
    client::Peer,
    health::{self, HealthChecks, Readiness, peer_is_serving},
    identity::{GATEWAY, Identity},
    keys::KeySet,
    limiter::{self, RateLimiter},
    policy::Table,
    server::{self, ServiceContext},
    shutdown::Shutdown,
    tls::MeshTls,
};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    banner, cleartext,
    config::Config,
    first_admin,
    identities::Identities,
    keys::{FromAuth, NoAuth},
    listeners::Listeners,
    part::Part,
    reload::{self, Source},
    services::{self, Service},
    signals::StopSignals,
    stores::Stores,
};

/// Runs `parts` until a signal or a failure stops them.
pub(crate) async fn run(config: &Config, source: &Source, parts: &[Part]) -> Result<(), String> {
    cleartext::warn(config, parts);
    let listeners = Listeners::bind(config, parts).await?;
    let mut stores = Stores::new(config);
    let mut process = Process::new(config, parts, &listeners, &mut stores).await?;
    let store = process.auth.as_ref().map(|(store, _)| Arc::clone(store));
    let clock_rng = process.clock_rng.clone();
    let has_page = config.gateway.console && !process.external_only;
    let mut addresses = banner::Addresses::of(&listeners, has_page);
    process.local_page = addresses.local_page(parts);
    let Listeners { services, gateway, admin } = listeners;
    for (service, listener) in services {
        service.start(&mut process, &mut stores, listener).await?;
    }
    addresses.mailbox = process.mailbox_page.take();
    // Before the process can report that it is ready: from then on it stops without losing a call.
    let signals = StopSignals::install();
    if !gateway.is_empty() {
        process.start_gateway(gateway, source)?;
    }
    process.start_admin(admin);
    if let [part] = parts {
        stores.warn_of_local_data(*part);
    }
    let folder = stores.folder().map(|folder| folder.path().to_owned());
    let ready = process.ready();
    let greeting = async {
        ready.await;
        let first_admin = match store {
            Some(store) => {
                let prints_code = addresses.page().is_some() && first_admin::is_printed(config.log.format);
                first_admin::look(&*store, &clock_rng, config.auth.admin_code_lifetime.0, prints_code).await
            }
            None => None,
        };
        banner::greet(config.log.format, parts, &addresses, folder.as_deref(), first_admin);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        result = process.finish(signals) => result,
        () = greeting => Ok(()),
    }
}

/// The running parts, and the state that they share.
pub(crate) struct Process<'a> {
    pub(crate) config: &'a Config,
    pub(crate) clock_rng: ClockAndRng,
    pub(crate) shutdown: Shutdown,
    identities: Identities,
    policies: Arc<Table>,
    keys: Arc<KeySet>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) limiter: Arc<dyn RateLimiter>,
    /// The addresses of each service.
    addresses: Vec<(Service, Addresses)>,
    /// All parts run in this process.
    pub(crate) runs_all: bool,
    /// The process is a gateway to external upstreams only, without a mesh.
    external_only: bool,
    /// The address of the page, if all parts run here and only programs on this machine reach it.
    pub(crate) local_page: Option<String>,
    /// The address of the page's mailbox, with its key, if auth has one.
    pub(crate) mailbox_page: Option<String>,
    /// Auth's database and secrets, if auth runs here.
    pub(crate) auth: Option<(Arc<dyn AuthStore>, auth::Keys)>,
    shown: kit::admin::Shown,
    running: JoinSet<(&'static str, io::Result<()>)>,
}

impl<'a> Process<'a> {
    async fn new(
        config: &'a Config,
        parts: &[Part],
        listeners: &Listeners,
        stores: &mut Stores<'_>,
    ) -> Result<Self, String> {
        let clock_rng = ClockAndRng::system();
        let tls = MeshTls::read(&config.tls).map_err(|error| format!("configuration: {error}"))?;
        let tls = Arc::new(tls);
        let external_only = config.is_external_only(parts);
        if external_only {
            tracing::info!("neither identity nor peers are configured: the gateway serves external upstreams only");
        }
        let identities = match parts {
            _ if external_only => Identities::generated(clock_rng.clone(), Arc::clone(&tls)),
            [part] => Identities::configured(*part, &config.identity, clock_rng.clone(), Arc::clone(&tls))?,
            _ => Identities::generated(clock_rng.clone(), Arc::clone(&tls)),
        };
        let addresses =
            Service::ALL.iter().map(|service| (*service, listeners.addresses(*service, config))).collect::<Vec<_>>();
        let me = parts.first().copied().unwrap_or(Part::Gateway);
        let policies = Arc::new(Table::from_descriptors(proto::DESCRIPTORS).map_err(|e| e.to_string())?);
        let bus = bus::open(&config.redis, &clock_rng).map_err(|error| format!("configuration: {error}"))?;
        let limiter = limiter::open(&config.limiter, &config.redis, &clock_rng);
        let limiter = limiter.map_err(|error| format!("configuration: {error}"))?;
        let shutdown = Shutdown::new();
        tokio::spawn(tls.keep_fresh(shutdown.clone()));
        let auth = match parts.contains(&Part::Service(Service::Auth)) {
            true => Some((services::open_auth(stores).await?, stores.auth_keys()?)),
            false => None,
        };
        let refresh = config.identity.keys_refresh.0;
        let keys = if let Some((store, keys)) = auth.clone() {
            KeySet::new(OwnKeys { keys, store, clock_rng: clock_rng.clone() }, clock_rng.clone())
                .refreshed_each(refresh)
        } else if external_only {
            KeySet::new(NoAuth, clock_rng.clone())
        } else {
            let identity = identities.of(me)?;
            let auth = peer(&addresses, &config.balance, Service::Auth, identity, Arc::clone(&policies))?;
            KeySet::new(FromAuth(auth), clock_rng.clone()).refreshed_each(refresh)
        };
        let keys = Arc::new(keys);
        tokio::spawn(keys.follow(&*bus, shutdown.clone()));
        if !external_only {
            tokio::spawn(Arc::clone(&keys).keep_fresh(shutdown.clone()));
        }
        Ok(Self {
            config,
            shutdown,
            policies,
            keys,
            bus,
            limiter,
            identities,
            addresses,
            runs_all: parts == Part::ALL,
            external_only,
            local_page: None,
            mailbox_page: None,
            auth,
            clock_rng,
            shown: kit::admin::Shown::new(),
            running: JoinSet::new(),
        })
    }

    fn context(&self, part: Part) -> Result<ServiceContext, String> {
        Ok(ServiceContext {
            limits: self.config.limits.clone(),
            balance: self.config.balance.clone(),
            identity: self.identities.of(part)?,
            keys: Arc::clone(&self.keys),
            policies: Arc::clone(&self.policies),
            descriptors: proto::DESCRIPTORS,
            // Each service has its own.
            audit: None,
        })
    }

    /// The service `callee`, as `caller` calls it.
    pub(crate) fn peer(&self, callee: Service, caller: Part) -> Result<Peer, String> {
        let policies = Arc::clone(&self.policies);
        let identity = self.identities.of(caller)?;
        let peer = peer(&self.addresses, &self.config.balance, callee, identity, policies)?;
        tokio::spawn(health::measure_clock(peer.clone(), self.shutdown.clone()));
        Ok(peer)
    }

    /// The context and the readiness of a service that starts.
    pub(crate) fn prepare(
        &mut self,
        service: Service,
        checks: HealthChecks,
    ) -> Result<(ServiceContext, Readiness), String> {
        let context = self.context(Part::Service(service))?;
        let readiness = self.watch(service.name(), &context, checks);
        Ok((context, readiness))
    }

    /// Runs a part until the process stops.
    pub(crate) fn spawn(&mut self, name: &'static str, serving: impl Future<Output = io::Result<()>> + Send + 'static) {
        self.running.spawn(async move { (name, serving.await) });
    }

    fn start_gateway(&mut self, listeners: Vec<gateway::Listener>, source: &Source) -> Result<(), String> {
        let context = self.context(Part::Gateway)?;
        let mut needs = HealthChecks::new();
        let mut routes = Vec::new();
        let mesh = self.addresses.clone().into_iter().filter(|_| !self.external_only);
        for (service, addresses) in mesh {
            let peer = self.peer(service, Part::Gateway)?;
            // An informational check: without one service the gateway can still call the others.
            needs = needs.and_shown(service.name(), move || peer_is_serving(peer.clone()));
            routes.push(Route { service: service.full_name().to_owned(), peer: service.name().to_owned(), addresses });
        }
        let readiness = self.watch(GATEWAY, &context, needs);
        let limiter = Arc::clone(&self.limiter);
        let gateway = Arc::new(Gateway::new(&self.config.gateway, context, routes, limiter, readiness)?);
        tokio::spawn(reload::watch(source.clone(), self.config.clone(), Arc::clone(&gateway)));
        let serving = gateway.serve(listeners, self.shutdown.clone());
        self.spawn(GATEWAY, serving);
        Ok(())
    }

    fn start_admin(&self, listener: TcpListener) {
        let serving = kit::admin::serve(self.config.admin.clone(), self.shown.clone(), listener, self.shutdown.clone());
        // Not in `running`: the admin listener outlives the drain of the parts, and its failure does not stop them.
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the admin listener failed; metrics and log levels are unavailable until a restart");
            }
        });
    }

    fn watch(&mut self, name: &'static str, context: &ServiceContext, needs: HealthChecks) -> Readiness {
        // Informational: without Redis, delivery continues by polling.
        let bus = Arc::clone(&self.bus);
        let needs = needs.and_shown("bus", move || std::future::ready(bus.is_connected()));
        // Informational: without Redis, each process counts rate limits on its own.
        let limiter = Arc::clone(&self.limiter);
        let needs = needs.and_shown("limiter", move || std::future::ready(limiter.is_shared()));
        let identity = Arc::clone(&context.identity);
        let needs = needs.and_shown("clocks", move || std::future::ready(identity.skews().are_bounded()));
        let readiness = if self.external_only {
            Readiness::watch(needs, self.shutdown.clone())
        } else {
            server::readiness(context, needs, &self.shutdown)
        };
        let identity = Arc::clone(&context.identity);
        let readiness = readiness.with_skews(move || identity.skews().millis());
        self.shown.insert(name, readiness.clone());
        readiness
    }

    /// Completes when every part is ready.
    fn ready(&self) -> impl Future<Output = ()> + use<> {
        let shown = self.shown.clone();
        async move {
            for readiness in shown.values() {
                readiness.ready().await;
            }
        }
    }

    /// Runs until a signal or a failure, then until all parts have stopped.
    async fn finish(mut self, signals: StopSignals) -> Result<(), String> {
        let mut failure = None;
        let stopping = self.shutdown.clone();
        let config = self.config.shutdown.clone();
        let mut stop = tokio::spawn(async move {
            signals.requested().await;
            tracing::info!("stopping");
            stopping.run(&config).await;
        });
        while let Some(ended) = self.running.join_next().await {
            let (name, result) = ended.map_err(|e| format!("a part of the process panicked: {e}"))?;
            if let Err(error) = result {
                failure.get_or_insert(format!("{name}: {error}"));
            }
            if !self.shutdown.is_stopping() {
                // The other parts are of no use alone. The process exits, so that its supervisor restarts it.
                failure.get_or_insert(format!("{name} stopped unexpectedly"));
                stop.abort();
                let (shutdown, config) = (self.shutdown.clone(), self.config.shutdown.clone());
                stop = tokio::spawn(async move { shutdown.run(&config).await });
                self.shutdown.stopping().await;
            }
        }
        stop.abort();
        // Returns the unused leases and the streams, so that other processes can use them.
        self.limiter.close().await;
        failure.map_or(Ok(()), Err)
    }
}

fn peer(
    addresses: &[(Service, Addresses)],
    config: &balance::BalanceConfig,
    callee: Service,
    identity: Arc<Identity>,
    policies: Arc<Table>,
) -> Result<Peer, String> {
    let addresses = addresses.iter().find(|(service, _)| *service == callee).map_or(&[][..], |(_, found)| found);
    Peer::new(callee.name(), addresses, config, identity, policies)
}
