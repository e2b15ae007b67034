//! What users decide about being added, and what waits for their decision.

use async_trait::async_trait;
use kit::{Timestamp, store::Error};

use super::{ChangeError, Changed};
use crate::domain::{AddRule, Admission, Change, ConversationId, Invitation, Recent, UserId};

/// Invitations and requests that wait for a user.
#[async_trait]
pub trait Invitations: Send + Sync {
    /// A page of the invitations of `invitee`, the newest first, and one more when there are more. Those of blocked users
    /// are left out.
    async fn list_invitations(&self, invitee: UserId, page: Recent, now: Timestamp) -> Result<Vec<Invitation>, Error>;

    /// The users whom `inviter` has invited to the conversation, and who have not decided yet.
    async fn invited(&self, id: ConversationId, inviter: UserId, now: Timestamp) -> Result<Vec<UserId>, Error>;

    /// The actor accepts an invitation and becomes a member, or accepts a request.
    async fn accept(&self, change: Change, admission: &Admission) -> Result<Changed, ChangeError>;

    /// The actor declines an invitation.
    async fn decline(&self, change: Change) -> Result<(), Error>;

    /// Whether the conversation is a request that `user` has not accepted.
    async fn is_request(&self, id: ConversationId, user: UserId) -> Result<bool, Error>;

    /// The conversations in which an invitation or a request of `other` waits for `user`.
    async fn pending_from(&self, user: UserId, other: UserId) -> Result<Vec<ConversationId>, Error>;

    /// Forgets what a deleted account has decided and sent, and what waits for it.
    async fn forget_user(&self, user: UserId) -> Result<(), Error>;
}

/// The rule and the blocks of a user. Both change under the lock of the user's row, so that they hold for everybody who
/// is added after they were stored.
#[async_trait]
pub trait People: Send + Sync {
    /// The rule that the user has chosen.
    async fn find_rule(&self, user: UserId) -> Result<Option<AddRule>, Error>;

    /// Stores the user's rule. `None`: the server's choice.
    async fn set_rule(&self, user: UserId, rule: Option<AddRule>) -> Result<(), Error>;

    /// Blocks `other`, if the user has blocked fewer than `limit`.
    async fn block(&self, user: UserId, other: UserId, now: Timestamp, limit: u32) -> Result<(), BlockError>;

    /// Takes a block back.
    async fn unblock(&self, user: UserId, other: UserId) -> Result<(), Error>;

    /// The users whom `user` has blocked, past `after`, by id.
    async fn list_blocked(&self, user: UserId, after: UserId, limit: usize) -> Result<Vec<UserId>, Error>;
}

/// Why a user was not added.
#[derive(Debug)]
pub enum AdmitError {
    /// The account of a user is deleted.
    MemberUnknown,
    /// The user's rule does not allow it, or they have blocked the actor.
    NotAllowed,
    /// The user is in too many conversations already.
    TooManyConversations,
    /// Too many requests or invitations wait for the user.
    TooManyWaiting,
    /// Too many requests and invitations of the actor wait for others.
    TooManySent,
    /// The store failed.
    Store(Error),
}

impl<E: Into<Error>> From<E> for AdmitError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// Why a user was not blocked.
#[derive(Debug)]
pub enum BlockError {
    /// Too many are blocked already.
    TooMany,
    /// The store failed.
    Store(Error),
}

impl<E: Into<Error>> From<E> for BlockError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}
