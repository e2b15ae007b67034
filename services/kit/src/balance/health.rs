//! Asking an endpoint how it is: `grpc.health.v1`, over a connection of its own, so that the answer does not wait behind
//! calls.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::time::timeout;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{Location, standing::Health};
use crate::tls::{self, Trust};

/// How many checks an endpoint that does not know them is spared.
const SPARED: u32 = 60;

/// Asks one endpoint.
pub(super) struct Prober {
    /// `None` where it is called over TLS and nobody says whom to believe here: its calls are all there is to judge by.
    channel: Option<Channel>,
    spared: AtomicU32,
}

impl Prober {
    /// Connects when it first asks. Must be called within a runtime.
    pub(super) fn new(location: &Location, trust: Option<&Trust>) -> Self {
        let is_possible = !location.is_secure || trust.is_some();
        let channel = is_possible.then(|| tls::channel(location, trust, |endpoint| endpoint));
        Self { channel, spared: AtomicU32::new(0) }
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
