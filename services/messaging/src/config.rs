//! The configuration of the service.

use std::time::Duration;

use kit::config::{Secret, Span};
use serde::{Deserialize, Serialize};

use crate::domain::{AddRule, Admission, Quotas};

/// The section `[messaging]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The address on which gRPC is served.
    pub listen: String,
    /// `postgres://…`. Empty: SQLite in the data folder.
    pub database_url: Secret,
    /// Connections to PostgreSQL.
    pub pool_size: u32,
    /// The rule of users who have not chosen one, for which users may add them: `anyone`, `contacts`, or `no_one`.
    pub add_rule: AddRule,
    /// Conversations that one user may have opened or accepted.
    pub conversations_per_user: u32,
    /// Conversations that other users may have added one user to.
    pub added_conversations_per_user: u32,
    /// Requests (conversations that strangers opened) that one user may have without a decision.
    pub requests_per_user: u32,
    /// Invitations that one user may have without a decision.
    pub invitations_per_user: u32,
    /// Requests and invitations that one user may have sent and that are not decided.
    pub sent_invitations_per_user: u32,
    /// How long an invitation is valid.
    pub invitation_lifetime: Span,
    /// Users whom one user may block.
    pub blocked_per_user: u32,
    /// Stored bytes of one conversation's log.
    pub conversation_bytes: u64,
    /// Stored bytes of the messages, edits and titles of one user, in all conversations.
    pub user_bytes: u64,
    /// Edits of one message.
    pub edits_per_message: u32,
    /// Membership rows that a search for the contacts of a user may read.
    pub contact_rows: u32,
    /// Rows that the list calls of one user may read at once.
    pub listed_rows_per_user: u32,
    /// Subscribe streams that one session may hold at once.
    pub streams_per_session: usize,
    /// Subscribe streams that one user may hold at once.
    pub streams_per_user: usize,
    /// Bytes that a stream reads ahead of its client.
    pub undelivered_bytes: usize,
    /// The interval of heartbeats on an idle stream.
    pub heartbeat: Span,
    /// How long the database may be unavailable before a stream ends with UNAVAILABLE.
    pub database_patience: Span,
    /// The minimum interval at which each process publishes the read marks of one conversation.
    pub read_marks_interval: Span,
    /// The timeout of calls to the users service.
    pub users_timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        let Quotas { conversation_bytes, user_bytes, edits_per_message, contact_rows } = Quotas::default();
        Self {
            listen: "127.0.0.1:7003".to_owned(),
            database_url: Secret::default(),
            pool_size: 10,
            add_rule: AddRule::Contacts,
            conversations_per_user: 5_000,
            added_conversations_per_user: 4_000,
            requests_per_user: 100,
            invitations_per_user: 100,
            sent_invitations_per_user: 100,
            invitation_lifetime: Span(Duration::from_secs(30 * 24 * 60 * 60)),
            blocked_per_user: 1_000,
            conversation_bytes,
            user_bytes,
            edits_per_message,
            contact_rows,
            listed_rows_per_user: 200,
            streams_per_session: 8,
            streams_per_user: 32,
            undelivered_bytes: 1024 * 1024,
            heartbeat: Span(Duration::from_secs(20)),
            database_patience: Span(Duration::from_secs(5)),
            read_marks_interval: Span(Duration::from_secs(1)),
            users_timeout: Span(Duration::from_secs(2)),
        }
    }
}

impl Config {
    /// The rule and the bounds by which users are added.
    pub fn admission(&self) -> Admission {
        Admission {
            rule: self.add_rule,
            own: self.conversations_per_user,
            added: self.added_conversations_per_user,
            requests: self.requests_per_user,
            invitations: self.invitations_per_user,
            sent: self.sent_invitations_per_user,
            lifetime: self.invitation_lifetime.0,
        }
    }

    /// The quotas of the store.
    pub fn quotas(&self) -> Quotas {
        Quotas {
            conversation_bytes: self.conversation_bytes,
            user_bytes: self.user_bytes,
            edits_per_message: self.edits_per_message,
            contact_rows: self.contact_rows,
        }
    }
}
