//! Refuses new passwords that are short, easy to guess, or known.

use kit::{Context, error};
use proto::users::v1::{GetNamesRequest, GetNamesResponse, users_service_client::UsersServiceClient};
use tonic::{Response, Status};

use super::Api;
use crate::{
    domain::{AccountId, EmailAddress, PasswordHash},
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

    /// The words of an account that must not make up its password. Without the users service they are those of the address
    /// only: a user who suspects a theft must be able to change the password.
    pub(super) async fn own_words(&self, account: AccountId, email: &EmailAddress) -> OwnWords {
        let message = GetNamesRequest { user_id: account.0.to_string() };
        let request = Context::default().request(message, self.auth.config.users_timeout.0);
        let names = UsersServiceClient::new(self.auth.users.clone()).get_names(request).await;
        let GetNamesResponse { handle, display_name } = names.map(Response::into_inner).unwrap_or_else(|status| {
            tracing::debug!(rpc.code = ?status.code(), "the user's names are unknown to the check of a password");
            GetNamesResponse::default()
        });
        OwnWords::new(&[email.as_str(), &handle, &display_name])
    }
}

const BREACHED: &str = "is in a list of stolen passwords; choose another one, and replace it wherever else you use it";
