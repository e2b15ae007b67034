//! Health checks of an endpoint (`grpc.health.v1`). They use a connection of their own, so that they do not wait behind
//! calls.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::timeout;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{Location, channel, endpoint_health::Health};
use crate::tls::Trust;

/// The number of checks skipped after an endpoint did not know the health service.
const SKIPPED: u32 = 60;

/// Checks the health of one endpoint.
pub(super) struct Prober {
    /// `None` if the endpoint is called over TLS and no trust is configured: outlier detection alone judges it.
    channel: Option<Channel>,
    skipped: AtomicU32,
}

impl Prober {
    /// Connects at the first check. Must be called within a runtime.
    pub(super) fn new(location: &Location, trust: Option<&Trust>) -> Self {
        let is_possible = !location.is_secure || trust.is_some();
        let channel = is_possible.then(|| channel(location, trust, |endpoint| endpoint));
        Self { channel, skipped: AtomicU32::new(0) }
    }

    /// Checks once. `None`: the check was skipped.
    pub(super) async fn check(&self, limit: Duration) -> Option<Health> {
        let channel = self.channel.clone()?;
        let skip = |left: u32| left.checked_sub(1);
        if self.skipped.fetch_update(Ordering::Relaxed, Ordering::Relaxed, skip).is_ok() {
            return None;
        }
        let mut client = HealthClient::new(channel);
        // The empty name is the whole process.
        let response = timeout(limit, client.check(HealthCheckRequest { service: String::new() })).await;
        let health = match response {
            Ok(Ok(response)) => match response.into_inner().status() {
                ServingStatus::Serving => Health::Serving,
                ServingStatus::NotServing => Health::NotServing,
                ServingStatus::Unknown | ServingStatus::ServiceUnknown => Health::Unknown,
            },
            // No process listens, or it drains and accepts no new connections. This does not count as silence: silence
            // would end the calls that a draining process still works on. When a process ends, its connections report
            // that.
            Ok(Err(status)) if status.code() == Code::Unavailable => Health::NotServing,
            Ok(Err(status)) if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => Health::Silent,
            // The endpoint responds, but has no health service or refuses this client.
            Ok(Err(_)) => Health::Unknown,
            Err(_) => Health::Silent,
        };
        if health == Health::Unknown {
            self.skipped.store(SKIPPED, Ordering::Relaxed);
        }
        Some(health)
    }
}
