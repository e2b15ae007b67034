//! Processes the events of the outbox: deletes the profile and the memberships of a deleted account.
//!
//! An event is removed only after its last step, and every step is idempotent: after a failure in between, processing
//! starts again with the first step. A replica takes an event with a lease that is longer than its processing. If the
//! replica ends meanwhile, another one takes the event when the lease has expired.

use std::{sync::Arc, time::Duration};

use kit::{ClockAndRng, Context, client::Peer, error::chain, shutdown::Shutdown};
use kit_data::store::Error;
use proto::{
    messaging::v1::{DeleteMemberRequest, messaging_service_client::MessagingServiceClient},
    users::v1::{DeleteUserRequest, users_service_client::UsersServiceClient},
};
use tokio::{sync::Notify, time::Instant};
use tonic::Status;

use crate::{
    Auth,
    domain::{
        AccountId,
        outbox::{Event, Kind, backoff},
    },
    store::AuthStore,
};

/// The deadline of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// After this time no further call is started for a taken event; it continues when the event is taken again.
const WORKING: Duration = Duration::from_secs(15);
/// The lease of an event: longer than `WORKING` and a last call together.
const TAKEN: Duration = Duration::from_secs(30);

pub(crate) struct OutboxWorker {
    store: Arc<dyn AuthStore>,
    users: Peer,
    messaging: Peer,
    clock_rng: ClockAndRng,
    interval: Duration,
}

/// The progress of an event.
enum Progress {
    Done,
    /// No step failed, but memberships remain.
    More,
}

impl OutboxWorker {
    pub(crate) fn new(auth: &Auth) -> Self {
        Self {
            store: Arc::clone(&auth.store),
            users: auth.users.clone(),
            messaging: auth.messaging.clone(),
            clock_rng: auth.clock_rng.clone(),
            interval: auth.config.outbox_interval.0,
        }
    }

    /// Runs until the process stops: one round at each notification of `wake` and at each interval.
    pub(crate) async fn run(self, wake: Arc<Notify>, shutdown: Shutdown) {
        loop {
            if let Err(error) = self.round(&shutdown).await {
                tracing::warn!(error = %chain(&error), "the outbox cannot be read; the next attempt follows soon");
            }
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep(self.interval) => {}
                () = shutdown.stopping() => return,
            }
        }
    }

    /// Processes the due events one after the other.
    async fn round(&self, shutdown: &Shutdown) -> Result<(), Error> {
        while !shutdown.is_stopping() {
            let now = self.clock_rng.now();
            let Some(event) = self.store.take(now, now + TAKEN).await? else { break };
            self.process(&event).await?;
        }
        let (backlog, now) = (self.store.backlog().await?, self.clock_rng.now());
        let age = backlog.oldest.map_or(Duration::ZERO, |oldest| oldest.until(now));
        metrics::gauge!("auth_outbox_events").set(backlog.events as f64);
        metrics::gauge!("auth_outbox_oldest_age_seconds").set(age.as_secs_f64());
        Ok(())
    }

    async fn process(&self, event: &Event) -> Result<(), Error> {
        match self.run_steps(event).await {
            Ok(Progress::Done) => self.store.remove(event).await,
            Ok(Progress::More) => self.store.put_back(event, 0, self.clock_rng.now()).await,
            Err(status) => {
                let wait = backoff(event.attempts, u32::from_be_bytes(self.clock_rng.random()));
                tracing::warn!(
                    event.id = %event.id,
                    event.kind = event.kind.as_str(),
                    event.attempts = event.attempts,
                    rpc.code = ?status.code(),
                    error = status.message(),
                    wait_ms = wait.as_millis(),
                    "an outbox event failed; it is retried after wait_ms"
                );
                self.store.put_back(event, event.attempts, self.clock_rng.now() + wait).await
            }
        }
    }

    async fn run_steps(&self, event: &Event) -> Result<Progress, Status> {
        match event.kind {
            Kind::Abandoned => {
                self.delete_profile(event.subject, true).await?;
                Ok(Progress::Done)
            }
            Kind::Deleted => {
                let begun = Instant::now();
                self.delete_profile(event.subject, false).await?;
                while !self.delete_memberships(event.subject).await? {
                    if begun.elapsed() > WORKING {
                        return Ok(Progress::More);
                    }
                }
                Ok(Progress::Done)
            }
        }
    }

    async fn delete_profile(&self, account: AccountId, release_handle: bool) -> Result<(), Status> {
        let message = DeleteUserRequest { user_id: account.0.to_string(), release_handle };
        let request = Context::default().request(message, CALL_TIMEOUT);
        in_time(UsersServiceClient::new(self.users.clone()).delete_user(request)).await?;
        Ok(())
    }

    /// Deletes some memberships. Returns whether none is left.
    async fn delete_memberships(&self, account: AccountId) -> Result<bool, Status> {
        let request = Context::default().request(DeleteMemberRequest { user_id: account.0.to_string() }, CALL_TIMEOUT);
        let response = in_time(MessagingServiceClient::new(self.messaging.clone()).delete_member(request)).await?;
        Ok(response.into_inner().done)
    }
}

/// Bounds the call here too: the callee knows the deadline, but may be unreachable.
async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let response = tokio::time::timeout(CALL_TIMEOUT, call).await;
    response.unwrap_or_else(|_| Err(Status::deadline_exceeded("the call exceeded its deadline")))
}
