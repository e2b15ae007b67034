//! Sign-ins of accounts with a second factor: the password gets a challenge, and a code completes it.
//!
//! A session of such an account opens only with a proof: the store refuses every other one. So no flow can skip the second
//! factor, neither a reset of the password nor a link in a mail.

use std::net::IpAddr;

use kit::{audit, error};
use proto::auth::v1::{CompleteSignInRequest, ProofKind, SignInChallenge};
use tonic::{Code, Status};

use super::{Api, bad_credentials};
use crate::{
    domain::{
        Account, AccountId, ChallengeToken, Client, FactorProof, MailKind, NewChallenge, RefreshToken, StoredTotp,
        TotpCode, TotpSecret, TypedCode,
    },
    password::Queue,
    store::{Attempt, CodeKind, Continued, Proved},
};

impl Api {
    /// Offers a challenge to the owner of an account, whose session did not open. Without a second factor the account has
    /// changed meanwhile.
    pub(super) async fn challenge(&self, account: &Account) -> Result<SignInChallenge, Status> {
        let token = ChallengeToken::generate(&self.auth.clock_rng);
        let expire_time = self.auth.clock_rng.now() + self.auth.config.factors.challenge_lifetime.0;
        let offered =
            NewChallenge { hash: token.hash(), account: account.id, password_no: account.password_no, expire_time };
        let has_codes = self.auth.store.offer_challenge(&offered).await?.ok_or_else(bad_credentials)?;
        let mut proofs = vec![ProofKind::Totp.into()];
        if has_codes {
            proofs.push(ProofKind::RecoveryCode.into());
        }
        Ok(SignInChallenge { token: token.expose().to_owned(), proofs, expire_time: Some(expire_time.into()) })
    }

    /// Opens the session of a challenge.
    pub(super) async fn complete(
        &self,
        client: Client,
        address: Option<IpAddr>,
        request: CompleteSignInRequest,
    ) -> Result<(Continued, RefreshToken), Status> {
        self.count_link(address).await?;
        let store = &self.auth.store;
        let challenge = ChallengeToken::from(request.challenge_token).hash();
        let account = store.find_challenge(&challenge).await?.ok_or_else(challenge_invalid)?;
        audit::about(account.0, account.name());
        let account = store.find(account).await?.ok_or_else(challenge_invalid)?;
        self.count_code(account.id, address).await?;
        let code = TypedCode::read(&request.code);
        let (most, now) = (self.auth.config.factors.most_attempts(), self.auth.clock_rng.now());
        let proof = match store.try_challenge(&challenge, kind(&code), most, now).await? {
            Attempt::Counted(totp) => self.verify(account.id, &code, totp)?,
            Attempt::Locked => return Err(codes_locked()),
            Attempt::Invalid => return Err(challenge_invalid()),
        };
        let notice = self.used_notice(&proof, account.id, &client);
        let (mut session, token) = self.new_session(&account, client.clone());
        if !client.address.is_empty() && self.queue(&account.email, address).await? == Queue::Unknown {
            session.mail = self.notice(MailKind::NewDevice, Some(account.id), client);
        }
        match store.complete_sign_in(&challenge, &proof, &session, notice.as_ref()).await? {
            Proved::Done => Ok((Continued { second_factor: true, ..session.into() }, token)),
            Proved::WrongCode => Err(code_invalid()),
            Proved::Gone | Proved::Refused => Err(challenge_invalid()),
        }
    }

    /// Verifies a code of the app. A recovery code is verified by its use.
    pub(super) fn verify(
        &self,
        account: AccountId,
        code: &TypedCode,
        totp: Option<StoredTotp>,
    ) -> Result<FactorProof, Status> {
        match (code, totp) {
            (TypedCode::Recovery(hash), _) => Ok(FactorProof::Recovery(hash.clone())),
            (TypedCode::Totp(code), Some(totp)) => self.verify_totp(account, *code, &totp),
            (TypedCode::Totp(_), None) => Err(code_invalid()),
        }
    }

    pub(super) fn verify_totp(
        &self,
        account: AccountId,
        code: TotpCode,
        totp: &StoredTotp,
    ) -> Result<FactorProof, Status> {
        let text = self.auth.keys.factor_seal().open_text(&totp.sealed_secret, &totp.id.binding(account));
        let secret = text.as_deref().and_then(TotpSecret::from_base32).ok_or_else(|| {
            tracing::error!(
                "the secret of a second factor was encrypted with another refresh.key; restore the earlier file"
            );
            error::unavailable("the second factor")
        })?;
        let step = secret.step_of(code, self.auth.clock_rng.now(), totp.last_step);
        step.map(|step| FactorProof::Totp(totp.id, step)).ok_or_else(code_invalid)
    }
}

pub(super) fn kind(code: &TypedCode) -> CodeKind {
    match code {
        TypedCode::Totp(_) => CodeKind::Totp,
        TypedCode::Recovery(_) => CodeKind::Recovery,
    }
}

/// The same status for every reason, so that it does not reveal which code is wrong, or why.
pub(super) fn code_invalid() -> Status {
    let message = "the code is wrong, or was used before; wait for the next one, or use a recovery code";
    error::status(Code::Unauthenticated, "CODE_INVALID", message)
}

pub(super) fn codes_locked() -> Status {
    let message = "too many codes were wrong; use a recovery code, or set a new password";
    error::status(Code::FailedPrecondition, "CODES_LOCKED", message)
}

fn challenge_invalid() -> Status {
    let message = "this sign-in has expired, was completed, or had too many wrong codes; sign in again";
    error::status(Code::FailedPrecondition, "CHALLENGE_INVALID", message)
}
