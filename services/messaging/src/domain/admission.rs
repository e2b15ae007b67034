//! The rules for adding users to conversations.

use std::time::Duration;

use kit::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ConversationId, UserId};

/// Which users may add a user to conversations directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddRule {
    /// Every user.
    Anyone,
    /// Users who share a conversation with the user. Others send an invitation or, for a conversation of two, a
    /// request.
    Contacts,
    /// No user. Other users cannot send invitations or requests either.
    NoOne,
}

impl AddRule {
    /// The stored form. Processes of different releases read it, so it keeps its first names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anyone => "everybody",
            Self::Contacts => "contacts",
            Self::NoOne => "nobody",
        }
    }

    /// Parses the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Anyone, Self::Contacts, Self::NoOne].into_iter().find(|rule| rule.as_str() == text)
    }
}

/// Which members of a conversation may add others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddPolicy {
    /// All of them.
    AllMembers,
    /// Its owner.
    OwnerOnly,
}

impl AddPolicy {
    /// The stored form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllMembers => "all_members",
            Self::OwnerOnly => "owner_only",
        }
    }

    /// Parses the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::AllMembers, Self::OwnerOnly].into_iter().find(|policy| policy.as_str() == text)
    }
}

/// How a user became a member, which decides the bound that the membership counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembershipKind {
    /// The user opened the conversation, or accepted it. Counts among the user's own conversations.
    Own,
    /// Another user added them. Counts separately, so that others cannot use up the user's own bound.
    Added,
    /// A stranger opened a conversation of two with them, which they have not accepted. Counts as a request.
    Requested,
}

impl MembershipKind {
    /// The stored form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Added => "added",
            Self::Requested => "requested",
        }
    }

    /// Parses the stored form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Own, Self::Added, Self::Requested].into_iter().find(|membership_kind| membership_kind.as_str() == text)
    }
}

/// The rule and the bounds by which users are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The rule of users who have not chosen one.
    pub rule: AddRule,
    /// Conversations that a user has opened or accepted.
    pub own: u32,
    /// Conversations that other users have added a user to.
    pub added: u32,
    /// Conversations of strangers that a user has not accepted.
    pub requests: u32,
    /// Invitations that a user has not decided.
    pub invitations: u32,
    /// Requests and invitations that a user has sent and that are not decided.
    pub sent: u32,
    /// How long an invitation is valid.
    pub lifetime: Duration,
}

/// The relation of a user to the actor who adds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acquaintance {
    /// The user's own rule.
    pub rule: Option<AddRule>,
    /// The user has blocked the actor.
    pub is_blocked: bool,
    /// Both are members of another conversation that both have accepted.
    pub is_shared: bool,
}

/// How a user is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The user becomes a member.
    Member(MembershipKind),
    /// The user gets an invitation.
    Invited,
}

impl Admission {
    /// How to add a user to a conversation, which is `direct` if it has only two members. `None`: the user cannot be
    /// added, because of a block or of their rule.
    pub fn way(&self, user: Acquaintance, direct: bool) -> Option<Way> {
        match user.rule.unwrap_or(self.rule) {
            _ if user.is_blocked => None,
            AddRule::NoOne => None,
            AddRule::Anyone => Some(Way::Member(MembershipKind::Added)),
            AddRule::Contacts if user.is_shared => Some(Way::Member(MembershipKind::Added)),
            AddRule::Contacts if direct => Some(Way::Member(MembershipKind::Requested)),
            AddRule::Contacts => Some(Way::Invited),
        }
    }
}

/// An invitation, as the invited user sees it. Of the members it shows only the inviter and the number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its title.
    pub title: String,
    /// The number of members.
    pub member_count: i64,
    /// The member who invites.
    pub inviter: UserId,
    /// When it was sent.
    pub create_time: Timestamp,
    /// When it expires.
    pub expire_time: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Admission = Admission {
        rule: AddRule::Contacts,
        own: 1,
        added: 1,
        requests: 1,
        invitations: 1,
        sent: 1,
        lifetime: Duration::from_secs(1),
    };

    #[test]
    fn rule_and_acquaintance_decide_how_a_user_is_added() {
        let (added, requested) =
            (Some(Way::Member(MembershipKind::Added)), Some(Way::Member(MembershipKind::Requested)));
        // The rule, whether a conversation is shared, and the result for a conversation of two and for a group.
        let cases = [
            (Some(AddRule::Anyone), false, added, added),
            (Some(AddRule::Contacts), true, added, added),
            (Some(AddRule::Contacts), false, requested, Some(Way::Invited)),
            (Some(AddRule::NoOne), true, None, None),
            (None, false, requested, Some(Way::Invited)),
        ];
        for (rule, is_shared, direct, group) in cases {
            let user = Acquaintance { rule, is_blocked: false, is_shared };
            assert_eq!((BOUNDS.way(user, true), BOUNDS.way(user, false)), (direct, group), "{user:?}");
            let blocked = Acquaintance { is_blocked: true, ..user };
            assert_eq!((BOUNDS.way(blocked, true), BOUNDS.way(blocked, false)), (None, None));
        }
    }
}
