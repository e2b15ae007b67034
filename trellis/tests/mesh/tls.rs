//! A mesh of processes that use mutual TLS.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use proto::{
    auth::v1::{GetJwksRequest, auth_service_client::AuthServiceClient},
    messaging::v1::CreateConversationRequest,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;

use super::{
    harness::{Mesh, Ports, fresh_database, new_id},
    split::{PARTS, make_keys, prepared},
    wait::until,
    web,
};

/// The timeout on a busy machine.
const NOTICED: Duration = Duration::from_secs(60);

/// Certificates and keys, in the test's own folder.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(TempDir::new().unwrap());
        files.install("server");
        files.copy("authority.crt", "ca.crt");
        files
    }

    /// Installs the certificate and key that processes present.
    fn install(&self, name: &str) {
        self.copy(&format!("{name}.crt"), "tls.crt");
        self.copy(&format!("{name}.key"), "tls.key");
    }

    fn copy(&self, from: &str, to: &str) {
        let from = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tls")).join(from);
        let unfinished = self.0.path().join("unfinished");
        fs::copy(from, &unfinished).unwrap();
        // Git does not store these permissions.
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(unfinished, self.0.path().join(to)).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }
}

fn process(part: &str, ports: Ports, keys: &Path, database: &str, files: &Files) -> Mesh {
    let mut process = prepared(part, ports, keys, database);
    for (service, port) in ports.services() {
        let service = service.to_uppercase();
        process.set(&format!("PEERS__{service}"), &format!("https://localhost:{port}"));
        // `localhost` resolves to both loopback addresses.
        process.set(&format!("{service}__LISTEN"), &format!("127.0.0.1:{port}"));
    }
    process.set("TLS__CERTIFICATE", &files.path("tls.crt"));
    process.set("TLS__KEY", &files.path("tls.key"));
    process.set("TLS__CA", &files.path("ca.crt"));
    process.set("TLS__CLIENT_CA", &files.path("ca.crt"));
    process.set("TLS__REFRESH", "200ms");
    process
}

#[tokio::test(flavor = "multi_thread")]
async fn mesh_uses_tls_and_trusts_only_its_authority() {
    let (keys, database, ports, files) = (make_keys(), fresh_database().await, Ports::free(), Files::new());
    let start = |part| {
        let mut process = process(part, ports, keys.path(), &database, &files);
        process.launch();
        process
    };
    let [users, auth, messaging, mut gateway] = PARTS.map(start);
    gateway.ready(ports.gateway).await;
    let (ada, bob) = (gateway.sign_up("ada").await, gateway.sign_up("bob").await);
    // Through messaging, which calls users.
    let open = async || {
        let members = vec![bob.id().to_owned()];
        let new = CreateConversationRequest { request_id: new_id(), member_ids: members, title: String::new() };
        ada.messaging().create_conversation(ada.request(new)).await
    };
    open().await.unwrap();

    // A client without TLS gets no response.
    let mut client = TcpStream::connect(("127.0.0.1", ports.users)).await.unwrap();
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut output = Vec::new();
    timeout(NOTICED, client.read_to_end(&mut output)).await.expect("the connection is closed").ok();
    assert!(output.len() < 16, "at most a TLS alert: {output:?}");

    // A process whose certificate another authority signed can neither call nor be called.
    let other = Files::new();
    for (what, change) in [("TLS__CA", "one.crt"), ("TLS__CERTIFICATE", "")] {
        other.copy("one.crt", "one.crt");
        let far = Ports { gateway: Ports::free().gateway, ..ports };
        let mut wrong = process("gateway", far, keys.path(), &database, &other);
        if change.is_empty() {
            for name in ["TLS__CERTIFICATE", "TLS__KEY", "TLS__CLIENT_CA"] {
                wrong.set(name, "");
            }
        } else {
            wrong.set(what, &other.path(change));
        }
        wrong.set("LOG__LEVEL", "info,kit=debug");
        wrong.launch();
        until("it listens", async || web::get(far.gateway, "/livez").await.is_ok()).await;
        until("the reason is logged", async || wrong.log().contains("a call to another service failed")).await;
        let mut through = AuthServiceClient::new(wrong.channel(far.gateway).await);
        let refused = through.get_jwks(GetJwksRequest {}).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{what}: {refused:?}\n{}", wrong.log());
    }

    // Renewed in place: new connections use and accept the new certificate.
    files.install("client");
    let services = [&users, &auth, &messaging];
    for service in services {
        until("the certificate is renewed", async || {
            service.log().contains("a renewed certificate is in use on the ports of services")
        })
        .await;
    }
    let far = Ports { gateway: Ports::free().gateway, ..ports };
    let mut late = process("gateway", far, keys.path(), &database, &files);
    late.launch();
    late.ready(far.gateway).await;
    open().await.unwrap();
    for mut process in [users, auth, messaging, gateway, late] {
        assert_eq!(process.terminate().code(), Some(0), "{}", process.log());
    }
}

/// As when a pod starts, before its Service routes to it.
#[tokio::test(flavor = "multi_thread")]
async fn auth_is_ready_alone_with_any_address_and_certificate() {
    let (keys, database, ports, files) = (make_keys(), fresh_database().await, Ports::free(), Files::new());
    let mut auth = process("auth", ports, keys.path(), &database, &files);
    // The certificate names localhost; the name does not resolve (RFC 6761), and no other process runs.
    auth.set("PEERS__AUTH", "https://auth.invalid:7002");
    auth.launch();
    auth.ready(auth.ports.admin).await;
    assert_eq!(auth.terminate().code(), Some(0), "{}", auth.log());
}
