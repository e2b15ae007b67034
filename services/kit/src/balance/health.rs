//! Asking an endpoint how it is: `grpc.health.v1`, over a connection of its own, so that the answer does not wait behind
//! calls.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::timeout;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{Location, standing::Health};

/// How many checks an endpoint that does not know them is spared.
const SPARED: u32 = 60;

/// Asks one endpoint.
pub(super) struct Prober {
    /// `None` where it is called over TLS: its calls are all there is to judge by.
    channel: Option<Channel>,
    spared: AtomicU32,
}

impl Prober {
    /// Connects when it first asks. Must be called within a runtime.
    pub(super) fn new(location: &Location) -> Self {
        // The place is a number; what requests are addressed to is the name.
        let endpoint = || Endpoint::from(location.uri()).origin(location.origin()).tcp_nodelay(true);
        Self { channel: (!location.is_secure).then(|| endpoint().connect_lazy()), spared: AtomicU32::new(0) }
    }

    /// Asks once. `None`: not this time.
    pub(super) async fn ask(&self, patience: Duration) -> Option<Health> {
        let channel = self.channel.clone()?;
        let spare = |left: u32| left.checked_sub(1);
        if self.spared.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spare).is_ok() {
            return None;
        }
        let mut client = HealthClient::new(channel);
        // The empty name stands for the process as a whole.
        let answer = timeout(patience, client.check(HealthCheckRequest { service: String::new() })).await;
        let health = match answer {
            Ok(Ok(answer)) => match answer.into_inner().status() {
                ServingStatus::Serving => Health::Serving,
                ServingStatus::NotServing => Health::NotServing,
                ServingStatus::Unknown | ServingStatus::ServiceUnknown => Health::Unknown,
            },
            // Nobody listens: it is gone, or stops and takes no more connections. That is no silence, for which the calls
            // that it still works on would be given up: of a process that has ended their connections tell.
            Ok(Err(status)) if status.code() == Code::Unavailable => Health::NotServing,
            Ok(Err(status)) if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => Health::Silent,
            // It answers, but not this: it has no such service, or tells strangers nothing.
            Ok(Err(_)) => Health::Unknown,
            Err(_) => Health::Silent,
        };
        if health == Health::Unknown {
            self.spared.store(SPARED, Ordering::Relaxed);
        }
        Some(health)
    }
}
