//! The job that creates the profile of an imported account.

use std::time::Duration;

use kit::{Context, client::Peer, error};
use kit_data::jobs::{Failure, Outcome};
use proto::users::v1::{CreateUserRequest, users_service_client::UsersServiceClient};
use tonic::Code;

use crate::{
    domain::{AccountId, State, jobs::AccountImported},
    store::AuthStore,
};

/// The deadline of one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest handle.
const LONGEST: usize = 30;
/// Handles that are tried before one that is unique.
const TRIES: u32 = 5;

/// Creates the profile. If the handle is taken or reserved, the user gets a similar one. Idempotent: users keeps the
/// profile of an earlier attempt.
pub(crate) async fn create_profile(
    store: &dyn AuthStore,
    users: &Peer,
    job: &AccountImported,
) -> Result<Outcome, Failure> {
    let account = store.find(AccountId(job.account_id)).await?;
    if account.is_none_or(|account| account.state == State::Deleted) {
        return Ok(Outcome::Done);
    }
    for handle in handles(job) {
        let message = CreateUserRequest { handle, ..requested(job) };
        let request = Context::default().request(message, CALL_TIMEOUT);
        let call = UsersServiceClient::new(users.clone());
        let Err(status) = tokio::time::timeout(CALL_TIMEOUT, { call }.create_user(request))
            .await
            .unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("the call exceeded its deadline")))
        else {
            return Ok(Outcome::Done);
        };
        match error::reason(&status).as_deref() {
            Some("HANDLE_TAKEN" | "HANDLE_RESERVED") => {}
            // It was deleted meanwhile.
            Some("USER_NOT_ACTIVE") => return Ok(Outcome::Done),
            _ if status.code() == Code::InvalidArgument => return Err(Failure::permanent(status.message())),
            _ => return Err(status.into()),
        }
    }
    Err(Failure::permanent("no handle is free"))
}

/// The profile with the first handle.
pub(super) fn requested(job: &AccountImported) -> CreateUserRequest {
    let handle = handles(job).swap_remove(0);
    let display_name = job.display_name.clone().unwrap_or_else(|| handle.clone());
    CreateUserRequest { user_id: job.account_id.to_string(), handle, display_name, attempt: 0 }
}

/// The handle, and similar ones. The last one is unique.
fn handles(job: &AccountImported) -> Vec<String> {
    // The last digits of a UUID of version 7 are random.
    let digits = job.account_id.simple().to_string();
    let unique = digits.get(20..).unwrap_or_default();
    let Some(handle) = &job.handle else { return vec![format!("user_{unique}")] };
    let begin = |most: usize| handle.chars().take(most).collect::<String>();
    let similar = (2..=TRIES).map(|n| format!("{}_{n}", begin(LONGEST - 2)));
    let unique = format!("{}_{unique}", begin(LONGEST - 1 - unique.len()));
    [handle.clone()].into_iter().chain(similar).chain([unique]).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn similar_handles_are_valid_and_the_last_is_unique() {
        let account_id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0123_4567_89ab);
        let of = |handle: Option<&str>| {
            let job = AccountImported { account_id, handle: handle.map(str::to_owned), display_name: None };
            assert_eq!(proto::validate::violations(&requested(&job)), []);
            handles(&job)
        };
        assert_eq!(of(None), ["user_0123456789ab"]);
        assert_eq!(of(Some("ada")), ["ada", "ada_2", "ada_3", "ada_4", "ada_5", "ada_0123456789ab"]);
        let longest = of(Some(&"a".repeat(30)));
        assert!(longest.iter().all(|handle| handle.len() == 30), "{longest:?}");
    }
}
