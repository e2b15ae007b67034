//! The bindings of the project's own contracts.

use std::collections::BTreeSet;

use super::*;

/// A request for each binding: the request line, the body, the method, and the JSON form of the message.
const REQUESTS: [(&str, &str, &str, &str); 48] = [
    ("POST /v1/auth:signUp", r#"{"email":"a@b.c"}"#, "SignUp", r#"{"email":"a@b.c"}"#),
    ("POST /v1/auth:signIn", r#"{"email":"a@b.c"}"#, "SignIn", r#"{"email":"a@b.c"}"#),
    ("POST /v1/auth:refresh", "{}", "RefreshToken", "{}"),
    ("POST /v1/auth:signOut", "", "SignOut", "{}"),
    ("GET /v1/auth/jwks", "", "GetJwks", "{}"),
    ("GET /v1/auth/sessions", "", "ListSessions", "{}"),
    ("DELETE /v1/auth/sessions/s1", "", "RevokeSession", r#"{"sessionId":"s1"}"#),
    ("POST /v1/auth/sessions:revokeAll", "{}", "RevokeAllSessions", "{}"),
    ("POST /v1/auth:changePassword", r#"{"newPassword":"x"}"#, "ChangePassword", r#"{"newPassword":"x"}"#),
    ("POST /v1/auth:requestPasswordReset", r#"{"email":"a@b.c"}"#, "RequestPasswordReset", r#"{"email":"a@b.c"}"#),
    ("POST /v1/auth:resetPassword", r#"{"token":"t"}"#, "ResetPassword", r#"{"token":"t"}"#),
    ("GET /v1/auth/email", "", "GetEmail", "{}"),
    ("POST /v1/auth/email:requestVerification", "{}", "RequestEmailVerification", "{}"),
    ("POST /v1/auth/email:verify", r#"{"token":"t"}"#, "VerifyEmail", r#"{"token":"t"}"#),
    ("POST /v1/auth/email:release", r#"{"token":"t"}"#, "ReleaseEmail", r#"{"token":"t"}"#),
    ("POST /v1/auth/email:change", "{}", "ChangeEmail", "{}"),
    ("POST /v1/auth/email:confirmChange", r#"{"token":"t"}"#, "ConfirmEmailChange", r#"{"token":"t"}"#),
    ("POST /v1/auth/email:undoChange", r#"{"token":"t"}"#, "UndoEmailChange", r#"{"token":"t"}"#),
    ("POST /v1/auth/mailbox:list", r#"{"key":"k"}"#, "ListMailbox", r#"{"key":"k"}"#),
    ("POST /v1/auth:deleteAccount", r#"{"password":"x"}"#, "DeleteAccount", r#"{"password":"x"}"#),
    ("POST /v1/conversations", r#"{"title":"t"}"#, "CreateConversation", r#"{"title":"t"}"#),
    (
        "POST /v1/conversations/c1/messages",
        r#"{"text":"hi","conversationId":"c2"}"#,
        "SendMessage",
        r#"{"conversationId":"c1","text":"hi"}"#,
    ),
    (
        "GET /v1/conversations/c1/messages?page_size=5&pageToken=t%2B",
        "",
        "ListMessages",
        r#"{"conversationId":"c1","pageSize":5,"pageToken":"t+"}"#,
    ),
    ("POST /v1/conversations:subscribe", "{}", "Subscribe", "{}"),
    ("GET /v1/conversations:subscribe?resumeCursor=c1", "", "Subscribe", r#"{"resumeCursor":"c1"}"#),
    ("GET /v1/conversations/c1", "", "GetConversation", r#"{"conversationId":"c1"}"#),
    ("GET /v1/conversations?pageSize=100", "", "ListConversations", r#"{"pageSize":100}"#),
    (
        "PATCH /v1/conversations/c1",
        r#"{"title":"t","updateMask":"title"}"#,
        "UpdateConversation",
        r#"{"conversationId":"c1","title":"t","updateMask":"title"}"#,
    ),
    ("GET /v1/conversations/c1/members", "", "ListMembers", r#"{"conversationId":"c1"}"#),
    (
        "POST /v1/conversations/c1/members",
        r#"{"userId":"u1"}"#,
        "AddMember",
        r#"{"conversationId":"c1","userId":"u1"}"#,
    ),
    ("DELETE /v1/conversations/c1/members/u1", "", "RemoveMember", r#"{"conversationId":"c1","userId":"u1"}"#),
    ("POST /v1/conversations/c1:leave", "", "LeaveConversation", r#"{"conversationId":"c1"}"#),
    ("GET /v1/invitations", "", "ListInvitations", "{}"),
    ("POST /v1/invitations/c1:accept", "{}", "AcceptInvitation", r#"{"conversationId":"c1"}"#),
    ("POST /v1/invitations/c1:decline", "{}", "DeclineInvitation", r#"{"conversationId":"c1"}"#),
    ("POST /v1/blockedUsers", r#"{"userId":"u1"}"#, "BlockUser", r#"{"userId":"u1"}"#),
    ("DELETE /v1/blockedUsers/u1", "", "UnblockUser", r#"{"userId":"u1"}"#),
    ("GET /v1/blockedUsers", "", "ListBlockedUsers", "{}"),
    ("GET /v1/messagingSettings", "", "GetSettings", "{}"),
    (
        "PATCH /v1/messagingSettings?updateMask=addRule",
        "{}",
        "UpdateSettings",
        r#"{"settings":{},"updateMask":"addRule"}"#,
    ),
    ("GET /v1/conversations/c1/messages/m1", "", "GetMessage", r#"{"conversationId":"c1","messageId":"m1"}"#),
    (
        "PATCH /v1/conversations/c1/messages/m1",
        r#"{"text":"new"}"#,
        "EditMessage",
        r#"{"conversationId":"c1","messageId":"m1","text":"new"}"#,
    ),
    ("DELETE /v1/conversations/c1/messages/m1", "", "DeleteMessage", r#"{"conversationId":"c1","messageId":"m1"}"#),
    (
        "POST /v1/conversations/c1:markRead",
        r#"{"messageNo":"7"}"#,
        "MarkRead",
        r#"{"conversationId":"c1","messageNo":"7"}"#,
    ),
    ("GET /v1/users/u%201", "", "GetUser", r#"{"userId":"u 1"}"#),
    ("GET /v1/users:batchGet?user_ids=u1&user_ids=u2", "", "BatchGetUsers", r#"{"userIds":["u1","u2"]}"#),
    ("GET /v1/users?query=ada+love", "", "ListUsers", r#"{"query":"ada love"}"#),
    (
        "PATCH /v1/users/u1?updateMask=displayName",
        r#"{"displayName":"Ada","userId":"u2"}"#,
        "UpdateUser",
        r#"{"user":{"userId":"u1","displayName":"Ada"},"updateMask":"displayName"}"#,
    ),
];

fn contracts() -> RouteTable {
    table(&DescriptorPool::decode(proto::DESCRIPTORS).unwrap())
}

#[test]
fn each_binding_makes_its_request() {
    let table = contracts();
    for (line, body, method, json) in REQUESTS {
        assert_eq!(request(&table, line, body), Ok((method.to_owned(), json.to_owned())), "{line}");
    }
    let bound: BTreeSet<_> = table.bindings().iter().map(|binding| binding.method().name().to_owned()).collect();
    let requested: BTreeSet<_> = REQUESTS.iter().map(|(_, _, method, _)| (*method).to_owned()).collect();
    assert_eq!(requested, bound);
    assert_eq!(table.bindings().len(), REQUESTS.len());
}

#[test]
fn other_methods_and_paths_find_no_binding() {
    let table = contracts();
    let look = |line: &str| match table.find(line.split_once(' ').unwrap().0, line.split_once(' ').unwrap().1) {
        Lookup::Found(found) => found.binding.method().name().to_owned(),
        Lookup::MethodNotAllowed(allow) => format!("405 {allow}"),
        Lookup::Options(allow) => format!("options {allow}"),
        Lookup::NotFound => "404".to_owned(),
        Lookup::TooLong => "414".to_owned(),
    };
    for (line, found) in [
        ("HEAD /v1/users/u1", "GetUser"),
        ("OPTIONS /v1/users/u1", "options GET, HEAD, OPTIONS, PATCH"),
        ("PUT /v1/users/u1", "405 GET, HEAD, OPTIONS, PATCH"),
        ("GET /v1/auth:signIn", "405 OPTIONS, POST"),
        ("GET /v1/users/", "404"),
        ("GET /v1/users/../auth", "404"),
        ("GET /v1/users/%2e%2e", "404"),
        ("GET /v2/users", "404"),
        // A verb that no template of the path has is a part of the id, which the service refuses.
        ("GET /v1/users/u1:leave", "GetUser"),
        ("POST /v1/conversations/c1:other", "405 GET, HEAD, OPTIONS, PATCH"),
    ] {
        assert_eq!(look(line), found, "{line}");
    }
}

#[test]
fn internal_methods_have_no_binding() {
    let table = contracts();
    for name in ["CreateUser", "DeleteUser", "GetNames", "ListContacts", "DeleteMember"] {
        assert!(table.bindings().iter().all(|binding| binding.method().name() != name), "{name}");
    }
}
