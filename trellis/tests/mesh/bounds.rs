//! Every list in a response has a bound, and a response without pages fits into the smallest `limits.message_bytes`.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use proto::{
    auth::v1::{ListSessionsResponse, Session},
    users::v1::{BatchGetUsersResponse, User},
};

use super::samples;

/// The smallest value that `limits.message_bytes` accepts.
const LEAST: usize = 512 * 1024;

/// Each list that a response may hold, with its bound. A new list belongs here together with a test of its bound.
const LISTS: &[(&str, &str)] = &[
    // The roles of the contract, and at most 16 in `auth.own_roles`.
    ("trellis.auth.v1.Account.roles", "configuration"),
    // As many as auth has keys.
    ("trellis.auth.v1.GetJwksResponse.keys", "configuration"),
    ("trellis.auth.v1.ListAccountSessionsResponse.sessions", "page"),
    ("trellis.auth.v1.ListAccountsResponse.accounts", "page"),
    ("trellis.auth.v1.ListAuditEventsResponse.audit_events", "page"),
    ("trellis.auth.v1.ListEndedSessionsResponse.session_ids", "page"),
    ("trellis.auth.v1.ListMailboxResponse.mails", "page"),
    ("trellis.auth.v1.ListSessionsResponse.sessions", "page"),
    ("trellis.messaging.v1.Conversation.members", "8"),
    ("trellis.messaging.v1.ConversationCreated.member_ids", "8"),
    ("trellis.messaging.v1.CreateConversationResponse.invited_ids", "999, by the request"),
    ("trellis.messaging.v1.ListAuditEventsResponse.audit_events", "page"),
    ("trellis.messaging.v1.ListBlockedUsersResponse.user_ids", "page"),
    ("trellis.messaging.v1.ListContactsResponse.user_ids", "10 000"),
    ("trellis.messaging.v1.ListConversationsResponse.conversations", "page"),
    ("trellis.messaging.v1.ListInvitationsResponse.invitations", "page"),
    ("trellis.messaging.v1.ListMembersResponse.members", "page"),
    ("trellis.messaging.v1.ListMessagesResponse.entries", "page"),
    ("trellis.messaging.v1.ReadMarks.marks", "100"),
    ("trellis.users.v1.BatchGetUsersResponse.users", "100, by the request"),
    ("trellis.users.v1.ListAuditEventsResponse.audit_events", "page"),
    ("trellis.users.v1.ListUsersResponse.users", "page"),
];

/// Collects the lists of a message and of the messages in it.
fn lists(message: &MessageDescriptor, seen: &mut BTreeSet<String>, found: &mut BTreeSet<String>) {
    if !message.full_name().starts_with("trellis.") || !seen.insert(message.full_name().to_owned()) {
        return;
    }
    let is_list = |field: &FieldDescriptor| field.is_list() || field.is_map();
    for field in message.fields() {
        if is_list(&field) {
            found.insert(field.full_name().to_owned());
        }
        if let Kind::Message(inner) = field.kind() {
            lists(&inner, seen, found);
        }
    }
}

#[test]
fn every_list_in_a_response_has_a_bound() {
    let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
    for (_, method) in samples::methods(&samples::contracts()) {
        lists(&method.output(), &mut seen, &mut found);
    }
    let known: BTreeSet<String> = LISTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, known);
}

/// The tests of messaging cover its own pages.
#[test]
fn largest_pages_of_users_and_sessions_fit() {
    let time = kit::Timestamp::from_micros(253_402_300_799_999_999).into();
    let user = User {
        user_id: "0".repeat(36),
        handle: "h".repeat(30),
        display_name: "𝄞".repeat(64),
        create_time: Some(time),
        etag: "0".repeat(64),
    };
    let users = BatchGetUsersResponse { users: vec![user; 100] };
    let session = Session {
        session_id: "0".repeat(36),
        create_time: Some(time),
        last_use_time: Some(time),
        expire_time: Some(time),
        user_agent: "𝄞".repeat(256),
        address: "0".repeat(45),
        current: true,
    };
    let sessions = ListSessionsResponse { sessions: vec![session; 100], next_page_token: "0".repeat(256) };
    for bytes in [users.encoded_len(), sessions.encoded_len()] {
        assert!(bytes <= kit::page::budget(LEAST), "{bytes}");
    }
}
