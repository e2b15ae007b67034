//! The server stack of a service.

mod accept;
mod closing;
mod connection;
mod frames;
mod introspection;
mod listener;
mod malformed;
mod measured;
mod stack;

use std::{io, sync::Arc};

use prost_reflect::prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::net::TcpListener;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};

pub use accept::{Accepted, ConnectedPeer, Connections};
pub use closing::Discard;
pub use frames::{Flood, Frames, PeerTrust};
pub use introspection::PROBE;
pub(crate) use listener::{BoundedListener, PeerAddress};
use stack::Gate;

use crate::{
    audit::RefusalLog,
    balance, descriptors,
    health::{HealthChecks, Readiness},
    identity::Identity,
    keys::KeySet,
    limits::Limits,
    policy::Table,
    rng::Rng,
    shutdown::Shutdown,
};

/// Makes a tonic server accept compressed requests, within its limit after decompression, and compress responses
/// according to `grpc-accept-encoding`.
#[macro_export]
macro_rules! compressing {
    ($server:expr) => {
        $server
            .accept_compressed(::tonic::codec::CompressionEncoding::Gzip)
            .accept_compressed(::tonic::codec::CompressionEncoding::Zstd)
            .send_compressed(::tonic::codec::CompressionEncoding::Gzip)
            .send_compressed(::tonic::codec::CompressionEncoding::Zstd)
    };
}

/// The flow-control windows. The connection's window is larger than those of all streams together: hyper derives h2's
/// buffer for small frames from it, which must hold what a stream's window allows (255 bytes for each byte).
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 2 * 255;

/// What all services of a process need to be served.
#[derive(Clone)]
pub struct ServiceContext {
    /// The limits of this process.
    pub limits: Limits,
    /// The identity of this process and the keys of its peers.
    pub identity: Arc<Identity>,
    /// The keys of access tokens.
    pub keys: Arc<KeySet>,
    /// The load balancing of peers with several endpoints.
    pub balance: balance::BalanceConfig,
    /// The contract's policies.
    pub policies: Arc<Table>,
    /// The contract, for reflection: an encoded descriptor set.
    pub descriptors: &'static [u8],
    /// Stores the refusals of audited methods. A service with such methods needs it.
    pub audit: Option<Arc<dyn RefusalLog>>,
}

impl ServiceContext {
    /// With the audit log of the service.
    #[must_use]
    pub fn with_audit(self, log: impl RefusalLog + 'static) -> Self {
        Self { audit: Some(Arc::new(log)), ..self }
    }

    /// A service without an audit log must not have audited methods.
    fn check_audit(&self, service: &str) -> io::Result<()> {
        let is_of_service = |path: &str| {
            path.strip_prefix('/').and_then(|path| path.split_once('/')).is_some_and(|(of, _)| of == service)
        };
        let audited = self.policies.iter().find(|(path, policy)| policy.audit && is_of_service(path));
        match audited {
            Some((path, _)) if self.audit.is_none() => {
                Err(io::Error::other(format!("{path} is audited, and the service has no audit log")))
            }
            _ => Ok(()),
        }
    }
}

/// Serves `routes` on `listener` until the shutdown's drain is over. `service` is the full name of the gRPC service
/// whose health is reported in addition to that of the process.
pub async fn serve(
    context: &ServiceContext,
    service: &'static str,
    routes: Routes,
    readiness: &Readiness,
    listener: TcpListener,
    shutdown: Shutdown,
) -> io::Result<()> {
    context.check_audit(service)?;
    let limits = &context.limits;
    let gate = Arc::new(Gate::new(context));
    let meters = gate.meters();
    let gated = stack::guard(routes, gate);
    // Health and reflection need no authentication: probes and tools have no token.
    let shown = descriptors::public(context.descriptors, &context.policies, &[service])?;
    let health = stack::telling_time(health(&[(service, None)], readiness), Arc::clone(&context.identity));
    let mut open = vec![health];
    if limits.reflection {
        open.push(reflection(&shown)?);
    }
    let streams = introspection::NetworkStreams::new(limits.introspection_streams);
    let open = open.into_iter().map(|routes| stack::open(routes, &streams, &meters));
    let merge = |router: axum::Router, routes: Routes| router.merge(routes.into_axum_router().reset_fallback());
    let router = open.fold(gated.into_axum_router(), merge);

    let connections = Connections::new(limits.connections, Discard::of(limits));
    let admitted = accept::stream(TcpIncoming::from(listener).with_nodelay(Some(true)), connections.clone());
    let tls = context.identity.tls().cloned();
    let incoming = connection::handshakes(admitted, tls, limits.connections, limits.request_head.0);
    let server = Server::builder();
    let server = match limits.age(Rng::new().share()) {
        Some(age) => server.max_connection_age(age),
        None => server,
    };
    let serving = server
        // [`Frames`] counts resets instead: h2 cannot distinguish a service of the mesh from other clients.
        .http2_max_pending_accept_reset_streams(Some(usize::MAX))
        .http2_max_local_error_reset_streams(None)
        // h2 refuses a list of exactly this size; RFC 9113 refuses only larger ones.
        .http2_max_header_list_size(limits.header_bytes.saturating_add(1))
        .max_concurrent_streams(limits.streams_per_connection)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(limits.keepalive.0))
        .http2_keepalive_timeout(Some(limits.keepalive.0))
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(incoming, {
            let shutdown = shutdown.clone();
            async move { shutdown.draining().await }
        });
    let served = async {
        serving.await.map_err(io::Error::other)?;
        connections.closed().await;
        Ok(())
    };
    tokio::select! {
        result = served => result,
        () = shutdown.cut() => Ok(()),
    }
}

/// The health service for the process and for `services`, each with the check that it needs in addition to those of the
/// process.
pub fn health(services: &[(&str, Option<&str>)], readiness: &Readiness) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reported = [("", None)].iter().chain(services);
    readiness.report(reporter, reported.map(|(name, need)| ((*name).to_owned(), need.map(str::to_owned))).collect());
    Routes::new(compressing!(health))
}

/// Reflection (v1 and v1alpha) of `shown`, of health, and of error details (`google.rpc`), which no contract imports
/// and tools need to print them.
pub fn reflection(shown: &FileDescriptorSet) -> io::Result<Routes> {
    let (encoded, services) = (shown.encode_to_vec(), descriptors::services(shown));
    let builder = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(&encoded)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        services.iter().fold(builder, |builder, name| builder.with_service_name(name))
    };
    let v1 = builder().build_v1().map_err(io::Error::other)?;
    let v1alpha = builder().build_v1alpha().map_err(io::Error::other)?;
    Ok(Routes::new(compressing!(v1)).add_service(compressing!(v1alpha)))
}

/// Starts the checks of `needs` and of the keys of access tokens, which every service needs.
pub fn readiness(context: &ServiceContext, needs: HealthChecks, shutdown: &Shutdown) -> Readiness {
    let keys = Arc::clone(&context.keys);
    let needs = needs.and("keys", move || {
        let keys = Arc::clone(&keys);
        async move { keys.ready().await }
    });
    Readiness::watch(needs, shutdown.clone())
}
