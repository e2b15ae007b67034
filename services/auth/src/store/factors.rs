//! The store of second factors.

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::store::Error;

use crate::domain::{
    AccountId, FactorId, FactorProof, Factors, NewChallenge, NewMail, NewSession, PendingTotp, SessionId, StoredTotp,
    TokenHash, TotpStep,
};

use super::Continued;

/// The statements on second factors. Each change locks the account's row before the statements that decide. So of two uses
/// of one code, one fails.
#[async_trait]
pub trait FactorStore: Send + Sync {
    /// Stores a secret that waits for its first code, instead of an earlier one.
    async fn begin_totp(&self, pending: &PendingTotp) -> Result<Begun, Error>;

    /// The secret that waits for its first code from this session, made at `since` or later.
    async fn find_pending_totp(
        &self,
        account: AccountId,
        session: SessionId,
        since: Timestamp,
    ) -> Result<Option<StoredTotp>, Error>;

    /// Turns on the app that this session has begun at `since` or later, whose code of `step` was right: sign-ins need a
    /// second factor from then on. Stores the hashes of its recovery codes, and the notice. `false`: it does not wait (any
    /// more), or the session has ended, and nothing was changed.
    async fn confirm_totp(&self, confirmed: &ConfirmedTotp<'_>, since: Timestamp) -> Result<bool, Error>;

    /// The second factors of an account.
    async fn list_factors(&self, account: AccountId) -> Result<Factors, Error>;

    /// Stores a challenge. `None`: the account is not active (any more), its password has changed since it was verified, or
    /// it has no second factor. Returns whether the account has recovery codes.
    async fn offer_challenge(&self, challenge: &NewChallenge) -> Result<Option<bool>, Error>;

    /// The account of a challenge, which never changes. Its use decides whether it is valid.
    async fn find_challenge(&self, challenge: &TokenHash) -> Result<Option<AccountId>, Error>;

    /// Counts a code for a challenge, before the code is verified.
    async fn try_challenge(
        &self,
        challenge: &TokenHash,
        kind: CodeKind,
        most: MostAttempts,
        now: Timestamp,
    ) -> Result<Attempt, Error>;

    /// Counts an attempt of a signed-in user, before the code is verified.
    async fn try_code(&self, account: AccountId, kind: CodeKind, most: MostAttempts) -> Result<Attempt, Error>;

    /// Uses the challenge and the proof up, and opens the session, in one transaction. `notice` is stored too.
    async fn complete_sign_in(
        &self,
        challenge: &TokenHash,
        proof: &FactorProof,
        session: &NewSession,
        notice: Option<&NewMail>,
    ) -> Result<Proved, Error>;

    /// Uses the proof up, and removes the factor. The last factor takes the recovery codes and the challenges with it.
    async fn remove_factor(&self, factor: FactorId, change: &FactorChange<'_>) -> Result<Proved, Error>;

    /// Uses the proof up, and replaces the recovery codes.
    async fn replace_recovery_codes(&self, codes: &[TokenHash], change: &FactorChange<'_>) -> Result<Proved, Error>;

    /// Uses the proof up, and stores that the user of the session has proved again who they are. `Err`: why not.
    async fn prove_again_with_code(&self, change: &FactorChange<'_>) -> Result<Result<Continued, Proved>, Error>;

    /// Deletes at most `limit` rows in one statement: challenges that have expired, then secrets that wait since before
    /// `before`. Returns the number of rows.
    async fn prune_factors(&self, now: Timestamp, before: Timestamp, limit: u32) -> Result<u64, Error>;
}

/// The result of beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// The secret waits for its first code.
    Pending,
    /// The account has an authenticator app; nothing was changed.
    Enabled,
    /// The account is not active (any more), its password has changed, or the session has ended; nothing was changed.
    Refused,
}

/// An app whose first code was right.
#[derive(Debug)]
pub struct ConfirmedTotp<'a> {
    /// The app.
    pub factor: FactorId,
    /// The step of the code.
    pub step: TotpStep,
    /// The hashes of the recovery codes.
    pub codes: &'a [TokenHash],
    /// Who makes the change.
    pub account: AccountId,
    /// The session that makes it.
    pub session: SessionId,
    /// The notice.
    pub notice: Option<&'a NewMail>,
    /// When it is made.
    pub now: Timestamp,
}

/// A change of factors by a signed-in user with a proof.
#[derive(Debug)]
pub struct FactorChange<'a> {
    /// Who makes the change.
    pub account: AccountId,
    /// The account's `password_no` when the password was verified.
    pub password_no: i64,
    /// The session that makes it.
    pub session: SessionId,
    /// The proof.
    pub proof: &'a FactorProof,
    /// The notice.
    pub notice: Option<&'a NewMail>,
    /// When it is made.
    pub now: Timestamp,
}

/// The kind of a typed code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeKind {
    /// Of an authenticator app. It can be guessed, so wrong ones in a row are limited.
    Totp,
    /// A recovery code. It cannot be guessed.
    Recovery,
}

/// Limits of attempts.
#[derive(Debug, Clone, Copy)]
pub struct MostAttempts {
    /// Codes for one challenge.
    pub of_challenge: u32,
    /// Wrong codes of the app in a row, until the password is changed or a recovery code is used.
    pub in_a_row: u32,
}

/// The result of counting an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The code may be verified, with the secret of the app if it is a code of one.
    Counted(Option<StoredTotp>),
    /// Too many wrong codes of the app in a row.
    Locked,
    /// The challenge is not valid (any more), or the account has no second factor (any more).
    Invalid,
}

/// The result of a change that needs a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proved {
    /// The change is made.
    Done,
    /// The code is wrong, or was used before; nothing was changed.
    WrongCode,
    /// There is no such challenge or factor (any more); nothing was changed.
    Gone,
    /// The account is not active (any more), its password has changed, or the session has ended; nothing was changed.
    Refused,
}
