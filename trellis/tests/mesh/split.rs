//! One process for each service, on PostgreSQL, as in production.

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use proto::{
    auth::v1::{ChangePasswordRequest, SignOutRequest},
    messaging::v1::{CreateConversationRequest, SendMessageRequest, SubscribeRequest},
};
use tempfile::TempDir;
use tonic::Code;

use super::{
    harness::{Mesh, PASSWORD, Ports, free_port, fresh_database, new_id, reason},
    web,
};

/// The parts that the tests start as processes of their own.
pub(crate) const PARTS: [&str; proto::SERVICES.len() + 1] = {
    let mut parts = ["gateway"; proto::SERVICES.len() + 1];
    let (services, _) = parts.split_at_mut(proto::SERVICES.len());
    services.copy_from_slice(&proto::SERVICES);
    parts
};
/// Three health checks a second apart, and the time to detect a change.
const NOTICED: Duration = Duration::from_secs(60);

/// Keys for all parts, and auth's secrets.
pub(crate) fn make_keys() -> TempDir {
    let folder = TempDir::new().unwrap();
    let run = |arguments: &[&str]| {
        let status = Command::new(env!("CARGO_BIN_EXE_trellis")).args(arguments).output().unwrap().status;
        assert!(status.success(), "{arguments:?}");
    };
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("trusted")).unwrap();
    for part in PARTS {
        run(&["keys", "new", "--name", part, "--out", &path("")]);
        fs::rename(path(&format!("{part}.pub")), path(&format!("trusted/{part}.pub"))).unwrap();
    }
    run(&["keys", "auth", "--out", &path("auth")]);
    folder
}

/// The private key that signs access tokens, as PKCS#8, from auth's secrets in `folder`.
pub(crate) fn signing_key(folder: &Path) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let text = fs::read_to_string(folder.join("access.keys")).unwrap();
    let line = text.lines().find(|line| line.starts_with("signing ")).unwrap();
    STANDARD.decode(line.rsplit(' ').next().unwrap()).unwrap()
}

pub(crate) fn process(part: &str, ports: Ports, keys: &Path, database: &str) -> Mesh {
    let mut process = prepared(part, ports, keys, database);
    process.launch();
    process
}

/// A process that is not started yet.
pub(crate) fn prepared(part: &str, ports: Ports, keys: &Path, database: &str) -> Mesh {
    // Each process has its own admin listener.
    let mut process = Mesh::new(&[part], Ports { admin: free_port(), ..ports });
    let path = |name: &str| keys.join(name).to_str().unwrap().to_owned();
    process.set("IDENTITY__KEY_FILE", &path(&format!("{part}.key")));
    process.set("IDENTITY__TRUSTED_DIR", &path("trusted"));
    process.set("AUTH__KEYS_DIR", &path("auth"));
    for (service, port) in ports.services() {
        let service = service.to_uppercase();
        process.set(&format!("{service}__DATABASE_URL"), database);
        process.set(&format!("PEERS__{service}"), &format!("http://127.0.0.1:{port}"));
    }
    process
}

/// The processes of a mesh by their part.
pub(crate) struct Processes(BTreeMap<&'static str, Mesh>);

impl Processes {
    /// Starts a process for each part.
    pub(crate) fn start(mut start: impl FnMut(&'static str) -> Mesh) -> Self {
        Self(PARTS.into_iter().map(|part| (part, start(part))).collect())
    }

    /// Takes the processes of these parts. The others run until `self` is dropped.
    pub(crate) fn take<const N: usize>(&mut self, parts: [&str; N]) -> [Mesh; N] {
        parts.map(|part| self.0.remove(part).unwrap_or_else(|| panic!("no process of {part}")))
    }
}

/// The gateway's readiness status, and whether its verbose form reports users as reachable.
async fn gateway_readiness(ports: Ports) -> (u16, bool) {
    let Ok(response) = web::get(ports.gateway, "/readyz?verbose").await else { return (0, false) };
    (response.status, String::from_utf8_lossy(&response.body).contains("[+]users ok"))
}

/// Waits until the gateway reaches users, or does not. It stays ready throughout.
async fn wait_for_users(ports: Ports, reached: bool) {
    let waiting = async {
        loop {
            let (status, users) = gateway_readiness(ports).await;
            assert_eq!(status, 200, "a gateway is ready while it can work itself");
            if users == reached {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(NOTICED, waiting).await.unwrap_or_else(|_| panic!("never: users are reached: {reached}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_connect_and_authenticate_one_another() {
    let (keys, database, ports) = (make_keys(), fresh_database().await, Ports::free());
    let start = |part| process(part, ports, keys.path(), &database);
    let mut processes = Processes::start(start);
    let [mut users, auth, messaging, mut gateway] = processes.take(["users", "auth", "messaging", "gateway"]);
    gateway.ready(ports.gateway).await;

    let (ada, bob) = (gateway.sign_up("ada").await, gateway.sign_up("bob").await);
    let new =
        CreateConversationRequest { request_id: new_id(), member_ids: vec![bob.id().to_owned()], title: String::new() };
    let opened = ada.messaging().create_conversation(ada.request(new.clone())).await.unwrap();
    let message = SendMessageRequest {
        conversation_id: opened.into_inner().conversation.unwrap().conversation_id,
        client_message_id: new_id(),
        text: "hello".to_owned(),
    };
    bob.messaging().send_message(bob.request(message.clone())).await.unwrap();

    // Without users no call leaves partial data, calls that need no users succeed, and the gateway stays ready and
    // reports users as unreachable.
    users.kill();
    let again = CreateConversationRequest { request_id: new_id(), ..new };
    let refused = ada.messaging().create_conversation(ada.request(again.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let message = SendMessageRequest { client_message_id: new_id(), ..message };
    bob.messaging().send_message(bob.request(message)).await.unwrap();
    wait_for_users(ports, false).await;

    users.launch();
    wait_for_users(ports, true).await;
    ada.messaging().create_conversation(ada.request(again)).await.unwrap();
    for mut process in [users, auth, messaging, gateway] {
        assert_eq!(process.terminate().code(), Some(0), "{}", process.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_an_ended_session_is_refused_after_restarts() {
    let (keys, database, ports) = (make_keys(), fresh_database().await, Ports::free());
    let mut processes = Processes::start(|part| process(part, ports, keys.path(), &database));
    let [mut auth, mut messaging, mut gateway] = processes.take(["auth", "messaging", "gateway"]);
    gateway.ready(ports.gateway).await;
    let (ada, bob) = (gateway.sign_up("ada").await, gateway.sign_up("bob").await);
    let new =
        CreateConversationRequest { request_id: new_id(), member_ids: vec![bob.id().to_owned()], title: String::new() };
    let opened = ada.messaging().create_conversation(ada.request(new)).await.unwrap();
    let conversation_id = opened.into_inner().conversation.unwrap().conversation_id;

    // Without Redis the other processes get no revocation signal, and restarted ones have no memory of it.
    let token = ada.tokens.refresh_token.clone();
    ada.auth().sign_out(SignOutRequest { refresh_token: token }).await.unwrap();
    for process in [&mut auth, &mut messaging, &mut gateway] {
        process.kill();
        process.launch();
    }
    gateway.ready(ports.gateway).await;
    let message = SendMessageRequest { conversation_id, client_message_id: new_id(), text: "hello".to_owned() };
    let change = ChangePasswordRequest {
        current_password: PASSWORD.to_owned(),
        new_password: "another good password".to_owned(),
    };
    // Through the gateway, and directly at the services.
    for (messaging, auth) in [(ports.gateway, ports.gateway), (ports.messaging, ports.auth)] {
        let messaging = ada.through(gateway.channel(messaging).await).messaging();
        let auth = ada.through(gateway.channel(auth).await).auth();
        let refusals = [
            messaging.clone().send_message(ada.request(message.clone())).await.map(drop),
            messaging.clone().subscribe(ada.request(SubscribeRequest::default())).await.map(drop),
            auth.clone().change_password(ada.request(change.clone())).await.map(drop),
        ];
        for refusal in refusals {
            let refusal = refusal.unwrap_err();
            assert_eq!((refusal.code(), reason(&refusal).as_str()), (Code::Unauthenticated, "SESSION_REVOKED"));
        }
    }
    bob.messaging()
        .send_message(bob.request(SendMessageRequest { client_message_id: new_id(), ..message }))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn key_of_another_service_is_refused() {
    let keys = make_keys();
    let mut process = prepared("users", Ports::free(), keys.path(), "");
    let file = keys.path().join("auth.key").to_str().unwrap().to_owned();
    process.set("IDENTITY__KEY_FILE", &file);
    let output = process.command().output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let why = format!("identity.key_file: {file} does not match users.pub in identity.trusted_dir");
    assert!(log.ends_with(&format!("trellis: {why}; use the key file of users\n")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn local_data_of_a_part_is_logged() {
    let keys = make_keys();
    let mut process = prepared("auth", Ports::free(), keys.path(), "");
    process.set("AUTH__KEYS_DIR", "");
    process.launch();
    process.until_logged(|line| line.contains("auth stores its data in") && line.contains("auth.database_url")).await;
    process.until_logged(|line| line.contains("auth stores its keys in") && line.contains("auth.keys_dir")).await;
}
