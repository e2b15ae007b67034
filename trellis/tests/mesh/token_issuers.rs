//! Tokens of issuers outside the mesh: they open external upstreams that list the issuer, and nothing of the mesh.

use std::{
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use bytes::Bytes;
use hyper::{HeaderMap, body::Frame};
use kit::{
    jwt::AccessKey,
    time::{Clock as _, SystemClock},
};
use proto::{auth::v1::ListSessionsRequest, users::v1::GetUserRequest};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tonic::Code;

use super::{
    external_upstream::{respond, serve, well},
    files,
    harness::{Mesh, Person, Ports, bearing, reason},
    web::{self, BINARY, Http, Received},
};

const READ: &str = "/acme.v1.Shop/Read";
const WRITE: &str = "/acme.v1.Shop/Write";
const CONTRACT: &str = r#"
    syntax = "proto3";
    package acme.v1;
    message Note { string text = 1; }
    service Shop {
      rpc Read(Note) returns (Note);
      rpc Write(Note) returns (Note);
    }
"#;

/// An issuer with ES256 keys. Its keys are served over HTTP on the loopback.
struct Issuer {
    address: String,
    set: Arc<Mutex<String>>,
}

impl Issuer {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, set) = (format!("http://{}", listener.local_addr().unwrap()), Arc::<Mutex<String>>::default());
        let (served, own) = (Arc::clone(&set), address.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::serve(stream, own.clone(), Arc::clone(&served)));
            }
        });
        Self { address, set }
    }

    async fn serve(mut stream: TcpStream, own: String, set: Arc<Mutex<String>>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let body = if head.starts_with(b"GET /.well-known/openid-configuration ") {
            json!({ "issuer": own, "jwks_uri": format!("{own}/keys") }).to_string()
        } else {
            set.lock().unwrap().clone()
        };
        if body == "slow" {
            tokio::time::sleep(Duration::from_secs(30)).await;
        }
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(response.as_bytes()).await.ok();
    }

    fn publish(&self, keys: &[&AccessKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        *self.set.lock().unwrap() = json!({ "keys": keys }).to_string();
    }

    /// A token with some claims changed.
    fn token(&self, key: &SigningKey, changes: Value) -> String {
        let now = SystemClock.now().as_secs();
        let mut claims = json!({
            "iss": self.address, "aud": "https://api.acme.test", "sub": "ada", "iat": now, "exp": now + 600,
            "scope": "shop:read", "org": "north"
        });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        key.sign(&claims)
    }
}

/// A key of the issuer.
struct SigningKey {
    public: AccessKey,
    pair: ring::signature::EcdsaKeyPair,
}

impl SigningKey {
    fn new() -> Self {
        let pkcs8 = AccessKey::generate();
        let random = ring::rand::SystemRandom::new();
        let algorithm = &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = ring::signature::EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &random).unwrap();
        Self { public: AccessKey::from_pkcs8(&pkcs8).unwrap(), pair }
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.public.jwk().kid });
        let message = format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()));
        let signature = self.pair.sign(&ring::rand::SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", BASE64URL.encode(signature))
    }
}

struct Fixture {
    mesh: Mesh,
    issuer: Issuer,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
    ada: Person,
}

impl Fixture {
    async fn start(rest: &str) -> Self {
        let issuer = Issuer::start().await;
        let (upstream, seen) = serve(|_| respond(vec![Ok(Frame::data(web::frame(b""))), well()])).await;
        let mut mesh = Mesh::new(&[], Ports::free());
        let (file, set) = (mesh.folder().join("trellis.toml"), mesh.folder().join("shop.bin"));
        fs::write(&set, files::descriptors(CONTRACT, mesh.folder())).unwrap();
        let config = format!(
            "log.format = \"json\"\n\
             [gateway.external.\"acme.v1.Shop\"]\nto = {upstream:?}\naccess = \"signed_in\"\ndescriptors = {set:?}\n\
             token_audience = \"shop\"\ntoken_issuers = [\"acme\"]\n{rest}\
             [gateway.external.\"other.v1.Shop\"]\nto = {upstream:?}\naccess = \"signed_in\"\n\
             [gateway.token_issuers.acme]\nissuer = {:?}\naudiences = [\"https://api.acme.test\"]\n\
             algorithms = [\"ES256\"]\nrefresh = \"1s\"\nlimit_claim = \"org\"\n\
             claim_headers = {{ x-org = \"org\" }}\n\
             [gateway.required_scopes.write]\nmethods = [\"acme.v1.Shop/Write\"]\nscopes = [\"shop:write\"]\n\
             [gateway.rate_limits.overrides.write]\nmethods = [\"acme.v1.Shop/Write\"]\n\
             limits = [{{ requests = 3, period = \"1h\", by = \"caller\" }}]\n",
            issuer.address
        );
        fs::write(&file, config).unwrap();
        mesh.set("CONFIG", file.to_str().unwrap());
        mesh.launch();
        mesh.ready(mesh.ports.gateway).await;
        let ada = mesh.sign_up("ada").await;
        Self { mesh, issuer, seen, ada }
    }

    async fn call(&self, path: &str, token: &str) -> Received {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("x-org", "forged"), ("x_org", "forged")];
        let port = self.mesh.ports.gateway;
        web::send(port, Http::Two, web::call(port, path, BINARY, &headers, &GetUserRequest::default())).await.unwrap()
    }

    /// The reason of a refusal; empty: the call has succeeded.
    async fn refusal(&self, path: &str, token: &str) -> String {
        let received = self.call(path, token).await;
        if received.grpc_status() == "0" { String::new() } else { received.reason() }
    }

    async fn until(&self, path: &str, token: &str, expected: &str) {
        for _ in 0..600 {
            if self.refusal(path, token).await == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("never {expected:?}: {:?}", self.refusal(path, token).await);
    }

    fn last_seen(&self) -> HeaderMap {
        self.seen.lock().unwrap().pop().expect("a request")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_another_issuer_opens_only_its_upstream() {
    let fixture = Fixture::start("").await;
    let (issuer, key) = (&fixture.issuer, SigningKey::new());
    let token = issuer.token(&key, json!({ "sub": fixture.ada.id() }));
    // Without keys nothing is decided.
    assert_eq!(fixture.call(READ, &token).await.grpc_status(), "14");
    issuer.publish(&[&key.public]);
    fixture.until(READ, &token, "").await;
    let seen = fixture.last_seen();
    assert_eq!(seen.get_all("x-org").iter().collect::<Vec<_>>(), ["north"]);
    // Its subject is the id of a user of Trellis: the upstream gets no token that states this user.
    assert!(!seen.contains_key("x_org") && !seen.contains_key("authorization"), "{seen:?}");
    fixture.seen.lock().unwrap().clear();
    // Nothing else accepts it.
    assert_eq!(fixture.refusal("/other.v1.Shop/Read", &token).await, "TOKEN_INVALID");
    let sessions = fixture.ada.auth().list_sessions(bearing(ListSessionsRequest::default(), &token)).await.unwrap_err();
    assert_eq!((sessions.code(), reason(&sessions).as_str()), (Code::Unauthenticated, "TOKEN_INVALID"));
    for forged in [
        issuer.token(&SigningKey::new(), json!({})),
        issuer.token(&key, json!({ "iss": "trellis-auth", "aud": "trellis" })),
        issuer.token(&key, json!({ "aud": "trellis" })),
    ] {
        assert_eq!(fixture.refusal(READ, &forged).await, "TOKEN_INVALID");
    }
    assert_eq!(fixture.refusal(READ, &issuer.token(&key, json!({ "exp": 1 }))).await, "TOKEN_EXPIRED");
    assert_eq!(fixture.refusal(READ, "").await, "TOKEN_INVALID");
    assert!(fixture.seen.lock().unwrap().is_empty(), "a refused call is not forwarded");
    // Users of Trellis still call it, and are identified by the gateway's own token.
    assert_eq!(fixture.refusal(READ, &fixture.ada.tokens.access_token).await, "");
    let seen = fixture.last_seen();
    assert!(seen.contains_key("authorization") && !seen.contains_key("x-org"), "{seen:?}");
    fixture
        .mesh
        .until_logged(|line| {
            ["\"principal.kind\":\"external\"", "\"principal.issuer\":\"acme\"", "\"principal.subject\":"]
                .iter()
                .all(|part| line.contains(part))
                && !line.contains("\"user.id\"")
        })
        .await;
    let log = fixture.mesh.log();
    assert!(!log.contains(&token), "no log line has the token");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_other_issuers_limit_and_open_methods() {
    let fixture = Fixture::start("forward_issuer_token = true\n").await;
    let (issuer, key) = (&fixture.issuer, SigningKey::new());
    issuer.publish(&[&key.public]);
    let reads = issuer.token(&key, json!({}));
    fixture.until(READ, &reads, "").await;
    assert_eq!(fixture.last_seen()["authorization"], format!("Bearer {reads}"), "the upstream verifies it again");
    assert_eq!(fixture.refusal(WRITE, &reads).await, "SCOPE_REQUIRED");
    assert_eq!(fixture.refusal(WRITE, &fixture.ada.tokens.access_token).await, "SCOPE_REQUIRED");
    let writer = |sub: &str, org: Value| issuer.token(&key, json!({ "sub": sub, "org": org, "scope": "shop:write" }));
    // Two users of one organization share its quota; the subject counts only without the claim.
    let (ada, bob) = (writer("ada", json!("south")), writer("bob", json!("south")));
    for token in [&ada, &bob, &ada] {
        assert_eq!(fixture.refusal(WRITE, token).await, "");
    }
    assert_eq!(fixture.refusal(WRITE, &bob).await, "RATE_LIMITED");
    for other in [writer("ada", json!("east")), writer("south", json!(null)), writer("ada", json!(null))] {
        assert_eq!(fixture.refusal(WRITE, &other).await, "");
    }
    // The same in the other protocols.
    let port = fixture.mesh.ports.gateway;
    let bearer = format!("Bearer {reads}");
    for (path, status) in [(READ, 200), (WRITE, 403)] {
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        let request = web::request("POST", port, path, &headers, Bytes::from_static(b"{}"));
        assert_eq!(web::send(port, Http::One, request).await.unwrap().status, status, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_issuer_rotate() {
    let fixture = Fixture::start("").await;
    let (issuer, old, new) = (&fixture.issuer, SigningKey::new(), SigningKey::new());
    issuer.publish(&[&old.public]);
    let (before, after) = (issuer.token(&old, json!({})), issuer.token(&new, json!({})));
    fixture.until(READ, &before, "").await;
    assert_eq!(fixture.refusal(READ, &after).await, "TOKEN_INVALID");
    issuer.publish(&[&old.public, &new.public]);
    fixture.until(READ, &after, "").await;
    assert_eq!(fixture.refusal(READ, &before).await, "");
    // A set that cannot be read, or not in time, changes nothing.
    for unreadable in
        ["no JSON".to_owned(), "slow".to_owned(), format!("{{\"keys\":[],\"a\":\"{}\"}}", "a".repeat(300_000))]
    {
        *issuer.set.lock().unwrap() = unreadable;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(fixture.refusal(READ, &after).await, "");
    }
    issuer.publish(&[&new.public]);
    fixture.until(READ, &before, "TOKEN_INVALID").await;
    assert_eq!(fixture.refusal(READ, &after).await, "");
}
