//! Which caller may call which method: the table of `docs/access.md`, and a call for each of its cells on real
//! processes. The contracts name the kind of caller that a method admits; `REACH` names whose resources it reaches.

use std::path::Path;

use kit::{
    ClockAndRng,
    identity::{Identity, Key, SERVICE_TOKEN},
};
use prost_types::{MethodOptions, method_options::IdempotencyLevel};
use proto::{
    auth::v1::{SignUpRequest, Tokens, auth_service_client::AuthServiceClient},
    messaging::v1::{
        CreateConversationRequest, SendMessageRequest, entry::Body, messaging_service_client::MessagingServiceClient,
    },
};
use tonic::Code;

use super::{
    access_table::{Caller, admits, page, rules},
    grpc::Raw,
    harness::{Mesh, PASSWORD, Ports, bearing, fresh_database, new_id},
    samples,
    split::{make_keys, process},
    wait::until,
    web,
};

#[test]
fn access_table_in_the_docs_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/access.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/access.md is out of date: run cargo xtask gen");
}

/// A process for each part. The test knows their keys.
struct World {
    keys: tempfile::TempDir,
    ports: Ports,
    gateway: Mesh,
    _services: Vec<Mesh>,
    connections: Vec<(String, Raw)>,
    policies: kit::policy::Table,
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
        let start = |part| process(part, ports, keys.path(), &database);
        let services = proto::SERVICES.into_iter().map(start).collect();
        let mut gateway = start("gateway");
        gateway.ready(ports.gateway).await;
        let connections = ports.connections().await;
        let policies = kit::policy::Table::from_descriptors(proto::DESCRIPTORS).unwrap();
        let world = Self { keys, ports, gateway, _services: services, connections, policies };
        world.keys_are_known().await;
        world
    }

    /// Waits until each service has read the keys of auth: it may have started before auth.
    async fn keys_are_known(&self) {
        let (_, user) = self.sign_up().await;
        let authorization = format!("Bearer {}", user.access_token);
        for path in ["users.v1.UsersService/ListUsers", "messaging.v1.MessagingService/ListConversations"] {
            let path = format!("/trellis.{path}");
            let (_, service) = self.connections.iter().find(|(prefix, _)| path.starts_with(prefix)).unwrap();
            until("the service has the keys", async || {
                let headers = [("authorization", authorization.as_str())];
                service.send(&path, &headers, web::frame(&[]).to_vec()).await.code() != Code::Unavailable
            })
            .await;
        }
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
        let channel = self.gateway.channel(self.ports.auth).await;
        let response = AuthServiceClient::new(channel).sign_up(request).await.unwrap();
        (email, response.into_inner().tokens.unwrap())
    }

    async fn scene(&self) -> Scene {
        let ((email, owner), (_, member), (_, other)) = tokio::join!(self.sign_up(), self.sign_up(), self.sign_up());
        let mut messaging = MessagingServiceClient::new(self.gateway.channel(self.ports.messaging).await);
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
            ("new_password", "a longer and better password".to_owned()),
            ("role", "support".to_owned()),
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
            Caller::Role(role) => bearer(&self.token_with(role, &scene.other)),
            Caller::Service(name) => {
                let key = Key::read(&self.keys.path().join(format!("{name}.key"))).unwrap();
                let identity = Identity::new(name, &key, [], ClockAndRng::system()).unwrap();
                Some((SERVICE_TOKEN, identity.token_for(callee).to_str().unwrap().to_owned()))
            }
        }
    }

    /// The token that auth signs for an account with the role.
    fn token_with(&self, role: &str, user: &Tokens) -> String {
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
            roles: vec![role.to_owned()],
            scope: self.policies.roles().scopes([&role.to_owned()]).join(" "),
        };
        key.sign(&claims).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_of_the_access_table_is_enforced() {
    let world = World::start().await;
    let methods = samples::methods(&samples::contracts());
    let mut wrong = Vec::new();
    // A call that is refused, that only reads, or that lacks a precondition, leaves the scene as it was.
    let mut scene = world.scene().await;
    for (path, policy) in rules() {
        let (_, method) = methods.iter().find(|(of, _)| *of == path).unwrap();
        let (prefix, service) = world.connections.iter().find(|(prefix, _)| path.starts_with(prefix)).unwrap();
        let level = method.method_descriptor_proto().options.as_ref().map(MethodOptions::idempotency_level);
        let reads = level == Some(IdempotencyLevel::NoSideEffects);
        let callee = prefix.trim_start_matches("/trellis.").trim_end_matches('.');
        for caller in Caller::all() {
            let known: Vec<_> = scene.known.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let body = web::frame(&samples::bytes(&samples::right(&method.input(), &known))).to_vec();
            let header = world.header(caller, &scene, callee);
            let headers: Vec<_> = header.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let status = service.send(&path, &headers, body).await;
            let refused = [Code::Unauthenticated, Code::PermissionDenied, Code::NotFound].contains(&status.code());
            let broken = [Code::Unimplemented, Code::Internal, Code::InvalidArgument, Code::Unknown];
            if refused == admits(&path, &policy, caller) || broken.contains(&status.code()) {
                wrong.push(format!("{path} by {}: {:?} {}", caller.title(), status.code(), status.message()));
            }
            if !refused && !reads && status.code() != Code::FailedPrecondition {
                scene = world.scene().await;
            }
        }
    }
    assert!(wrong.is_empty(), "see REACH in proto/examples/access_table/table.rs: {wrong:#?}");
}
