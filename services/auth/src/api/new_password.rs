//! Refuses new passwords that are short, easy to guess, or known.

use kit::{Context, error};
use proto::users::v1::{GetUserRequest, users_service_client::UsersServiceClient};
use tonic::Status;
use uuid::Uuid;

use super::Api;
use crate::{
    domain::PasswordHash,
    password::{OwnWords, Password, Queue, Weakness},
};

impl Api {
    /// Hashes the new password in `field`. Refuses one that is easy to guess or in the list of breached passwords.
    pub(super) async fn hash_new(
        &self,
        field: &str,
        password: Password,
        own: OwnWords,
        queue: Queue,
    ) -> Result<PasswordHash, Status> {
        let hashed = self.hasher.hash_new(password, own, self.breached.clone(), queue).await?;
        let hashed = hashed.map_err(|error| {
            tracing::error!(%error, "auth.breached_passwords cannot be searched; new passwords are refused");
            error::unavailable("the list of breached passwords")
        })?;
        hashed.map_err(|weakness| match weakness {
            Weakness::Guessable(why) => error::invalid_field(field, "PASSWORD_TOO_WEAK", &why),
            Weakness::Breached => error::invalid_field(field, "PASSWORD_BREACHED", BREACHED),
        })
    }

    /// The handle and the name of the caller. Without the users service the result is empty: a user who suspects a theft
    /// must be able to change the password.
    pub(super) async fn names(&self, context: &Context, user: Uuid) -> [String; 2] {
        let message = GetUserRequest { user_id: user.to_string() };
        let request = context.request(message, self.auth.config.users_timeout.0);
        match UsersServiceClient::new(self.auth.users.clone()).get_user(request).await {
            Ok(response) => {
                let user = response.into_inner().user.unwrap_or_default();
                [user.handle, user.display_name]
            }
            Err(status) => {
                tracing::debug!(rpc.code = ?status.code(), "the user's names are unknown to the check of a password");
                Default::default()
            }
        }
    }
}

const BREACHED: &str = "is in a list of stolen passwords; choose another one, and replace it wherever else you use it";
