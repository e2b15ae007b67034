//! Users' rules and blocks for being added, and the invitations that await their decision.

use async_trait::async_trait;
use kit::Timestamp;
use kit_data::store::Error;

use super::{ChangeError, Changed};
use crate::domain::{AddRule, Admission, Change, ConversationId, Invitation, Recent, UserId};

/// Invitations and requests that await a user's decision.
#[async_trait]
pub trait Invitations: Send + Sync {
    /// A page of the invitations of `invitee`, the newest first, and one more when there are more. Omits those of
    /// blocked users.
    async fn list_invitations(&self, invitee: UserId, page: Recent, now: Timestamp) -> Result<Vec<Invitation>, Error>;

    /// The users whom `inviter` has invited to the conversation and who have not decided yet.
    async fn invited(&self, id: ConversationId, inviter: UserId, now: Timestamp) -> Result<Vec<UserId>, Error>;

    /// Accepts an invitation, which makes the actor a member, or a request.
    async fn accept(&self, change: Change, admission: &Admission) -> Result<Changed, ChangeError>;

    /// Declines the actor's invitation.
    async fn decline(&self, change: Change) -> Result<(), Error>;

    /// Whether the conversation is a request that `user` has not accepted.
    async fn is_request(&self, id: ConversationId, user: UserId) -> Result<bool, Error>;

    /// The conversations in which an invitation or a request of `other` awaits the decision of `user`.
    async fn pending_from(&self, user: UserId, other: UserId) -> Result<Vec<ConversationId>, Error>;

    /// Deletes the rule, the blocks, and the sent and received invitations of a deleted account.
    async fn forget_user(&self, user: UserId) -> Result<(), Error>;
}

/// The rule and the blocks of a user. Both change under the lock of the user's row, so that they apply to every
/// addition after they are stored.
#[async_trait]
pub trait People: Send + Sync {
    /// The rule that the user has chosen.
    async fn find_rule(&self, user: UserId) -> Result<Option<AddRule>, Error>;

    /// Stores the user's rule. `None`: the configured default applies.
    async fn set_rule(&self, user: UserId, rule: Option<AddRule>) -> Result<(), Error>;

    /// Blocks `other`, if the user has blocked fewer than `limit`.
    async fn block(&self, user: UserId, other: UserId, now: Timestamp, limit: u32) -> Result<(), BlockError>;

    /// Removes a block.
    async fn unblock(&self, user: UserId, other: UserId) -> Result<(), Error>;

    /// The users whom `user` has blocked, with ids greater than `after`, in the order of ids.
    async fn list_blocked(&self, user: UserId, after: UserId, limit: usize) -> Result<Vec<UserId>, Error>;
}

/// Why a user was not added.
#[derive(Debug)]
pub enum AdmitError {
    /// The account of a user is deleted.
    MemberUnknown,
    /// The user's rule does not allow it, or they have blocked the actor.
    NotAllowed,
    /// The user has too many conversations already.
    TooManyConversations,
    /// The user has too many undecided requests or invitations.
    TooManyWaiting,
    /// The actor has sent too many requests and invitations that are not decided.
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
    /// The user has blocked too many users already.
    TooMany,
    /// The store failed.
    Store(Error),
}

impl<E: Into<Error>> From<E> for BlockError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}
