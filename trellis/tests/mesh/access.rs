//! Which caller may call which method: the table of `docs/access.md`, and a call for each of its cells on real
//! processes. The contracts name the kind of caller that a method admits; `REACH` names whose resources it reaches.

use std::{fmt::Write as _, path::Path};

use kit::{
    ClockAndRng,
    identity::{Identity, Key, SERVICE_TOKEN},
    policy::{Access, Policy, Table},
};
use proto::{
    auth::v1::{SignUpRequest, Tokens, auth_service_client::AuthServiceClient},
    messaging::v1::{
        CreateConversationRequest, SendMessageRequest, entry::Body, messaging_service_client::MessagingServiceClient,
    },
};
use tonic::Code;

use super::{
    grpc::Raw,
    harness::{Mesh, PASSWORD, Ports, bearing, fresh_database, new_id},
    samples,
    split::{PARTS, make_keys, process},
    web,
};

/// The caller of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Anonymous,
    /// A user who has no part in the resource.
    OtherUser,
    /// A user in the conversation.
    Member,
    /// The user whose conversation, message, session or profile it is.
    Owner,
    /// A user with the role `admin` and no part in the resource.
    Admin,
    Service(&'static str),
}

const CALLERS: [Caller; 9] = [
    Caller::Anonymous,
    Caller::OtherUser,
    Caller::Member,
    Caller::Owner,
    Caller::Admin,
    Caller::Service("users"),
    Caller::Service("auth"),
    Caller::Service("messaging"),
    Caller::Service("gateway"),
];

impl Caller {
    fn title(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::OtherUser => "other user",
            Self::Member => "member",
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Service(name) => name,
        }
    }
}

/// Whose resources a method reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The caller's own by definition, or what every user may see.
    Any,
    /// A resource of the owner that the request names: the user of the session or profile, the creator of the
    /// conversation, the author of the message.
    Owner,
    /// A conversation of its members. AcceptInvitation is also for invited users; the other user has no invitation.
    Member,
}

/// The reach of each method for signed-in users. A method without a line fails the test.
const REACH: [(&str, Reach); 32] = [
    ("auth.v1.AuthService/ChangePassword", Reach::Any),
    ("auth.v1.AuthService/DeleteAccount", Reach::Any),
    ("auth.v1.AuthService/ListSessions", Reach::Any),
    ("auth.v1.AuthService/RevokeAllSessions", Reach::Any),
    ("auth.v1.AuthService/RevokeSession", Reach::Owner),
    ("messaging.v1.MessagingService/AcceptInvitation", Reach::Member),
    ("messaging.v1.MessagingService/AddMember", Reach::Member),
    ("messaging.v1.MessagingService/BlockUser", Reach::Any),
    ("messaging.v1.MessagingService/CreateConversation", Reach::Any),
    ("messaging.v1.MessagingService/DeclineInvitation", Reach::Any),
    ("messaging.v1.MessagingService/DeleteMessage", Reach::Owner),
    ("messaging.v1.MessagingService/EditMessage", Reach::Owner),
    ("messaging.v1.MessagingService/GetConversation", Reach::Member),
    ("messaging.v1.MessagingService/GetMessage", Reach::Member),
    ("messaging.v1.MessagingService/GetSettings", Reach::Any),
    ("messaging.v1.MessagingService/LeaveConversation", Reach::Any),
    ("messaging.v1.MessagingService/ListBlockedUsers", Reach::Any),
    ("messaging.v1.MessagingService/ListConversations", Reach::Any),
    ("messaging.v1.MessagingService/ListInvitations", Reach::Any),
    ("messaging.v1.MessagingService/ListMembers", Reach::Member),
    ("messaging.v1.MessagingService/ListMessages", Reach::Member),
    ("messaging.v1.MessagingService/MarkRead", Reach::Member),
    ("messaging.v1.MessagingService/RemoveMember", Reach::Owner),
    ("messaging.v1.MessagingService/SendMessage", Reach::Member),
    ("messaging.v1.MessagingService/Subscribe", Reach::Any),
    ("messaging.v1.MessagingService/UnblockUser", Reach::Any),
    ("messaging.v1.MessagingService/UpdateConversation", Reach::Member),
    ("messaging.v1.MessagingService/UpdateSettings", Reach::Any),
    ("users.v1.UsersService/BatchGetUsers", Reach::Any),
    ("users.v1.UsersService/GetUser", Reach::Any),
    ("users.v1.UsersService/ListUsers", Reach::Any),
    ("users.v1.UsersService/UpdateUser", Reach::Owner),
];

/// Whether the table admits the caller.
fn may(caller: Caller, path: &str, policy: &Policy) -> bool {
    match (&policy.access, caller) {
        (Access::Public, _) => true,
        (Access::Internal { callers }, Caller::Service(name)) => callers.iter().any(|caller| caller == name),
        (Access::Internal { .. }, _) | (Access::SignedIn, Caller::Anonymous | Caller::Service(_)) => false,
        (Access::SignedIn, caller) => match reach(path) {
            Reach::Any => true,
            Reach::Member => matches!(caller, Caller::Member | Caller::Owner),
            Reach::Owner => caller == Caller::Owner,
        },
    }
}

fn reach(path: &str) -> Reach {
    let found = REACH.iter().find(|(method, _)| path.strip_prefix("/trellis.") == Some(method));
    found.unwrap_or_else(|| panic!("add {path} to REACH")).1
}

fn policies() -> Vec<(String, Policy)> {
    let table = Table::from_descriptors(proto::DESCRIPTORS).unwrap();
    let mut all: Vec<_> = table.iter().map(|(path, policy)| (path.to_owned(), policy.clone())).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

fn table() -> String {
    let mut text = String::from(
        "# Access rules\n\n\
         Generated by `cargo xtask gen`; the tests check every cell. Each column is a principal, which a credential \
         proves: none for *anonymous*; an access token for the next four, who are users in a session; a service token \
         for the last four, services of the mesh that call for themselves, without a user's token.\n\n\
         *Owner*: the user of the session or profile, the creator of the conversation, or the author of the message. \
         *Member*: in the conversation. Invited users may also call AcceptInvitation; the *other user* has no \
         invitation. No method requires a role yet, so an admin has the rights of any other user.\n\n| method |",
    );
    for caller in CALLERS {
        write!(text, " {} |", caller.title()).unwrap();
    }
    writeln!(text, "\n|---|{}", "---|".repeat(CALLERS.len())).unwrap();
    for (path, policy) in policies() {
        write!(text, "| {} |", path.trim_start_matches("/trellis.")).unwrap();
        for caller in CALLERS {
            write!(text, " {} |", if may(caller, &path, &policy) { "yes" } else { "–" }).unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn access_table_in_the_docs_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/access.md");
    let rewrite = std::env::var_os("TRELLIS_TEST_REWRITE").is_some();
    if rewrite {
        std::fs::write(&path, table()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == table(), "docs/access.md is out of date: run cargo xtask gen");
}

/// Four processes whose keys the test knows.
struct World {
    keys: tempfile::TempDir,
    ports: Ports,
    _processes: [Mesh; 4],
    connections: [(&'static str, Raw); 3],
}

/// Users and resources made for one cell, because a call may delete them.
struct Scene {
    owner: Tokens,
    member: Tokens,
    other: Tokens,
    known: Vec<(&'static str, String)>,
}

impl World {
    async fn start() -> Self {
        let (keys, database, ports) = (make_keys(), fresh_database().await, Ports::free());
        let mut processes = PARTS.map(|part| process(part, ports, keys.path(), &database));
        processes[3].ready(ports.gateway).await;
        let connections = [
            ("/trellis.users.", Raw::connect(ports.users).await),
            ("/trellis.auth.", Raw::connect(ports.auth).await),
            ("/trellis.messaging.", Raw::connect(ports.messaging).await),
        ];
        Self { keys, ports, _processes: processes, connections }
    }

    async fn sign_up(&self) -> (String, Tokens) {
        let handle = format!("u{}", &new_id().replace('-', "")[8..]);
        let email = format!("{handle}@example.org");
        let display_name = handle.clone();
        let request = SignUpRequest {
            email: email.clone(),
            password: PASSWORD.to_owned(),
            handle,
            display_name,
            refresh_delivery: 0,
        };
        let channel = self._processes[0].channel(self.ports.auth).await;
        let response = AuthServiceClient::new(channel).sign_up(request).await.unwrap();
        (email, response.into_inner().tokens.unwrap())
    }

    async fn scene(&self) -> Scene {
        let ((email, owner), (_, member), (_, other)) = tokio::join!(self.sign_up(), self.sign_up(), self.sign_up());
        let mut messaging = MessagingServiceClient::new(self._processes[0].channel(self.ports.messaging).await);
        let new = CreateConversationRequest {
            request_id: new_id(),
            member_ids: vec![member.user_id.clone()],
            title: "Tea".to_owned(),
        };
        let opened = messaging.create_conversation(bearing(new, &owner.access_token)).await.unwrap().into_inner();
        let conversation_id = opened.conversation.unwrap().conversation_id;
        let message = SendMessageRequest {
            conversation_id: conversation_id.clone(),
            client_message_id: new_id(),
            text: "hello".to_owned(),
        };
        let sent = messaging.send_message(bearing(message, &owner.access_token)).await.unwrap().into_inner();
        let Some(Body::Message(message)) = sent.entry.unwrap().body else { panic!("a message was sent") };
        let known = vec![
            ("conversation_id", conversation_id),
            ("message_id", message.message_id),
            ("user_id", owner.user_id.clone()),
            ("session_id", owner.session_id.clone()),
            ("refresh_token", owner.refresh_token.clone()),
            ("email", email),
            ("password", PASSWORD.to_owned()),
            ("current_password", PASSWORD.to_owned()),
        ];
        Scene { owner, member, other, known }
    }

    fn header(&self, caller: Caller, scene: &Scene, callee: &str) -> Option<(&'static str, String)> {
        let bearer = |token: &str| Some(("authorization", format!("Bearer {token}")));
        match caller {
            Caller::Anonymous => None,
            Caller::OtherUser => bearer(&scene.other.access_token),
            Caller::Member => bearer(&scene.member.access_token),
            Caller::Owner => bearer(&scene.owner.access_token),
            Caller::Admin => bearer(&self.admin(&scene.other)),
            Caller::Service(name) => {
                let key = Key::read(&self.keys.path().join(format!("{name}.key"))).unwrap();
                let identity = Identity::new(name, &key, [], ClockAndRng::system()).unwrap();
                Some((SERVICE_TOKEN, identity.token_for(callee).to_str().unwrap().to_owned()))
            }
        }
    }

    /// The token that auth signs for an account with the role.
    fn admin(&self, user: &Tokens) -> String {
        let key = super::split::signing_key(&self.keys.path().join("auth"));
        let key = kit::jwt::AccessKey::from_pkcs8(&key).unwrap();
        let now = ClockAndRng::system().now().as_secs();
        let claims = kit::jwt::AccessClaims {
            iss: kit::jwt::ISSUER.to_owned(),
            aud: kit::jwt::AUDIENCE.to_owned(),
            sub: user.user_id.parse().unwrap(),
            principal: kit::jwt::PrincipalClaims::User {
                sid: user.session_id.parse().unwrap(),
                auth_time: now,
                amr: vec!["pwd".to_owned()],
            },
            iat: now,
            exp: now + 600,
            jti: new_id().parse().unwrap(),
            roles: vec!["admin".to_owned()],
            scope: String::new(),
        };
        key.sign(&claims).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_of_the_access_table_is_enforced() {
    let world = World::start().await;
    let methods = samples::methods(&samples::contracts());
    let mut wrong = Vec::new();
    for (path, policy) in policies() {
        let (_, method) = methods.iter().find(|(of, _)| *of == path).unwrap();
        let (prefix, service) = world.connections.iter().find(|(prefix, _)| path.starts_with(prefix)).unwrap();
        let callee = prefix.trim_start_matches("/trellis.").trim_end_matches('.');
        for caller in CALLERS {
            let scene = world.scene().await;
            let known: Vec<_> = scene.known.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let body = web::frame(&samples::bytes(&samples::right(&method.input(), &known))).to_vec();
            let header = world.header(caller, &scene, callee);
            let headers: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let status = service.send(&path, &headers, body).await;
            let refused = [Code::Unauthenticated, Code::PermissionDenied, Code::NotFound].contains(&status.code());
            let broken = [Code::Unimplemented, Code::Internal, Code::InvalidArgument, Code::Unknown];
            if refused == may(caller, &path, &policy) || broken.contains(&status.code()) {
                wrong.push(format!("{path} by {}: {:?} {}", caller.title(), status.code(), status.message()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
