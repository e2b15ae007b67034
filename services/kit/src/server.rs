//! The server stack: how a service is served.

mod accept;
mod frames;
mod introspection;
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

pub use accept::{Accepted, Connections};
pub use frames::{Flood, Frames};
pub use introspection::PROBE;
use stack::Gate;
pub use stack::parse_timeout;

use crate::{
    balance::{self, Chance},
    descriptors,
    health::{Needs, Readiness},
    identity::Identity,
    keys::KeySet,
    limits::Limits,
    policy::Table,
    shutdown::Shutdown,
};

/// What every service is given to be served with.
#[derive(Clone)]
pub struct Surroundings {
    /// What this process accepts.
    pub limits: Limits,
    /// Who it is and whom it believes.
    pub identity: Arc<Identity>,
    /// The keys of access tokens.
    pub keys: Arc<KeySet>,
    /// How what has several endpoints is called.
    pub balance: balance::Config,
    /// The contract's policies.
    pub policies: Arc<Table>,
    /// The contract, for reflection: an encoded descriptor set.
    pub descriptors: &'static [u8],
}

/// h2's own default; tonic's server would switch the cap off when it is not set (CVE-2025-8671).
const LOCAL_ERROR_RESETS: usize = 1_024;

/// Serves `routes` on `listener` until the shutdown's drain is over. `service` is the full name of the gRPC
/// service whose health is told beside the whole process's.
pub async fn serve(
    surroundings: &Surroundings,
    service: &'static str,
    routes: Routes,
    readiness: &Readiness,
    listener: TcpListener,
    shutdown: Shutdown,
) -> io::Result<()> {
    let limits = &surroundings.limits;
    let gated = stack::guard(routes, Arc::new(Gate::new(surroundings)));
    // Health and reflection stand outside authentication: probes and tools have no token.
    let shown = descriptors::public(surroundings.descriptors, &surroundings.policies, &[service])?;
    let mut open = vec![health(&[service], readiness)];
    if limits.reflection {
        open.push(reflection(&shown)?);
    }
    let streams = introspection::Streams::new(limits.introspection_streams);
    let open = open.into_iter().map(|routes| stack::open(routes, &streams));
    let merge = |router: axum::Router, routes: Routes| router.merge(routes.into_axum_router().reset_fallback());
    let router = open.fold(gated.into_axum_router(), merge);

    let connections = Connections::new(limits.connections);
    let incoming = accept::stream(TcpIncoming::from(listener).with_nodelay(Some(true)), connections);
    let server = Server::builder();
    let server = match limits.age(Chance::new().share()) {
        Some(age) => server.max_connection_age(age),
        None => server,
    };
    let serving = server
        .http2_max_local_error_reset_streams(Some(LOCAL_ERROR_RESETS))
        // h2 refuses a list that is as large as this, where RFC 9113 means larger ones.
        .http2_max_header_list_size(limits.header_bytes.saturating_add(1))
        .max_concurrent_streams(limits.streams_per_connection)
        .http2_keepalive_interval(Some(limits.keepalive.0))
        .http2_keepalive_timeout(Some(limits.keepalive.0))
        .add_routes(Routes::from(router))
        .serve_with_incoming_shutdown(incoming, {
            let shutdown = shutdown.clone();
            async move { shutdown.draining().await }
        });
    tokio::select! {
        result = serving => result.map_err(io::Error::other),
        () = shutdown.cut() => Ok(()),
    }
}

/// Health of `services` and of the process as a whole.
pub fn health(services: &[&str], readiness: &Readiness) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    readiness.report(reporter, [""].iter().chain(services).map(|name| (*name).to_owned()).collect());
    Routes::new(health)
}

/// Reflection (v1 and v1alpha) of what `shown` declares, of health, and of the details of errors (`google.rpc`), which
/// no contract imports and tools need in order to print them.
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
    Ok(Routes::new(v1).add_service(builder().build_v1alpha().map_err(io::Error::other)?))
}

/// Starts watching `needs` together with what every service needs: the keys of access tokens.
pub fn readiness(surroundings: &Surroundings, needs: Needs, shutdown: &Shutdown) -> Readiness {
    let keys = Arc::clone(&surroundings.keys);
    let needs = needs.and("keys", move || {
        let keys = Arc::clone(&keys);
        async move { keys.ready().await }
    });
    Readiness::watch(needs, shutdown.clone())
}
