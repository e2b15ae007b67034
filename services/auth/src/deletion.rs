//! Deletes the data of deleted and abandoned accounts in the other services. Every step is idempotent: after a failure in
//! between, the next attempt starts again with the first step.

use std::time::Duration;

use kit::{Context, client::Peer};
use kit_data::jobs::{Attempt, Failure, Outcome};
use proto::{
    messaging::v1::{DeleteMemberRequest, messaging_service_client::MessagingServiceClient},
    users::v1::{DeleteUserRequest, users_service_client::UsersServiceClient},
};
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

use crate::{
    Auth,
    domain::jobs::{AccountAbandoned, AccountDeleted},
};

/// The deadline of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// After this time no further call is started; the job continues in its next attempt, after others that wait.
const WORKING: Duration = Duration::from_secs(15);

/// The handlers of auth's jobs.
#[derive(Clone)]
pub(crate) struct Deletion {
    users: Peer,
    messaging: Peer,
}

impl Deletion {
    pub(crate) fn new(auth: &Auth) -> Self {
        Self { users: auth.users.clone(), messaging: auth.messaging.clone() }
    }

    /// Deletes the profile of an abandoned sign-up, and releases its handle.
    pub(crate) async fn abandoned(self, job: AccountAbandoned) -> Result<Outcome, Failure> {
        self.delete_profile(job.account_id, true).await?;
        Ok(Outcome::Done)
    }

    /// Deletes the profile and the memberships of a deleted account.
    pub(crate) async fn deleted(self, job: AccountDeleted, attempt: Attempt) -> Result<Outcome, Failure> {
        let begun = Instant::now();
        self.delete_profile(job.account_id, false).await?;
        while !self.delete_memberships(job.account_id).await? {
            if begun.elapsed() > WORKING || attempt.is_stopping() {
                return Ok(Outcome::Continue);
            }
        }
        Ok(Outcome::Done)
    }

    async fn delete_profile(&self, account: Uuid, release_handle: bool) -> Result<(), Status> {
        let message = DeleteUserRequest { user_id: account.to_string(), release_handle };
        let request = Context::default().request(message, CALL_TIMEOUT);
        in_time(UsersServiceClient::new(self.users.clone()).delete_user(request)).await?;
        Ok(())
    }

    /// Deletes some memberships. Returns whether none is left.
    async fn delete_memberships(&self, account: Uuid) -> Result<bool, Status> {
        let request = Context::default().request(DeleteMemberRequest { user_id: account.to_string() }, CALL_TIMEOUT);
        let response = in_time(MessagingServiceClient::new(self.messaging.clone()).delete_member(request)).await?;
        Ok(response.into_inner().done)
    }
}

/// Bounds the call here too: the callee knows the deadline, but may be unreachable.
async fn in_time<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    let response = tokio::time::timeout(CALL_TIMEOUT, call).await;
    response.unwrap_or_else(|_| Err(Status::deadline_exceeded("the call exceeded its deadline")))
}
