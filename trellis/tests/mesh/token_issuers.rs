//! Tokens of issuers outside the mesh: they open external upstreams that list the issuer, and nothing of the mesh.

use std::{
    fs,
    io::Write as _,
    process::Stdio,
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
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring as ring_provider, pki_types::PrivateKeyDer},
};
use tonic::Code;

use super::{
    authority::Authority,
    external_upstream::{respond, serve, well},
    files,
    harness::{Mesh, Person, Ports, bearing, reason},
    wait::until,
    web::{self, BINARY, Http, Received},
};

const READ: &str = "/acme.v1.Shop/Read";
const WRITE: &str = "/acme.v1.Shop/Write";
/// A public method of an upstream that accepts the issuer.
const OPEN: &str = "/open.v1.Shop/Read";
/// Instead of a key set: the issuer does not respond.
const HANGS: &str = "hangs";
const CONTRACT: &str = r#"
    syntax = "proto3";
    package acme.v1;
    message Note { string text = 1; }
    service Shop {
      rpc Read(Note) returns (Note);
      rpc Write(Note) returns (Note);
    }
"#;

/// An issuer with ES256 keys. Its keys are served on the loopback.
struct Issuer {
    address: String,
    set: Arc<Mutex<String>>,
}

impl Issuer {
    /// Over HTTP.
    async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Over TLS, with a certificate of this authority.
    async fn start_over_tls(authority: &Authority) -> Self {
        let pair = authority.issue(|params| {
            params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        let key = PrivateKeyDer::Pkcs8(pair.key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(ring_provider::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![pair.certificate], key).unwrap();
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (scheme, port) = (if tls.is_some() { "https" } else { "http" }, listener.local_addr().unwrap().port());
        let (address, set) = (format!("{scheme}://localhost:{port}"), Arc::<Mutex<String>>::default());
        let (served, own) = (Arc::clone(&set), address.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (own, served, tls) = (own.clone(), Arc::clone(&served), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => Self::serve(stream, own, served).await,
                        Some(tls) => {
                            // A client that does not trust the certificate ends the handshake.
                            let Ok(stream) = tls.accept(stream).await else { return };
                            Self::serve(stream, own, served).await;
                        }
                    }
                });
            }
        });
        Self { address, set }
    }

    async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, own: String, set: Arc<Mutex<String>>) {
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
        if body == HANGS {
            std::future::pending::<()>().await;
        }
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(response.as_bytes()).await.ok();
        stream.shutdown().await.ok();
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
        Self::start_with(Issuer::start().await, rest, &[]).await
    }

    /// `environment`: variables without the prefix of Trellis.
    async fn start_with(issuer: Issuer, rest: &str, environment: &[(&str, &str)]) -> Self {
        let (upstream, seen) = serve(|_| respond(vec![Ok(Frame::data(web::frame(b""))), well()])).await;
        let mut mesh = Mesh::new(&[], Ports::free());
        let (file, set) = (mesh.folder().join("trellis.toml"), mesh.folder().join("shop.bin"));
        fs::write(&set, files::descriptors(CONTRACT, mesh.folder())).unwrap();
        let config = format!(
            "log.format = \"json\"\n\
             [gateway.external.\"acme.v1.Shop\"]\nto = {upstream:?}\naccess = \"signed_in\"\ndescriptors = {set:?}\n\
             token_audience = \"shop\"\ntoken_issuers = [\"acme\"]\n{rest}\
             [gateway.external.\"other.v1.Shop\"]\nto = {upstream:?}\naccess = \"signed_in\"\n\
             [gateway.external.\"open.v1.Shop\"]\nto = {upstream:?}\naccess = \"public\"\ntoken_issuers = [\"acme\"]\n\
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
        environment.iter().for_each(|(name, value)| mesh.set_elsewhere(name, value));
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
        until(&format!("{path} is {expected:?}"), async || self.refusal(path, token).await == expected).await;
    }

    /// How many reads of the keys had this outcome.
    async fn reads(&self, outcome: &str) -> f64 {
        let name = format!("gateway_issuer_keys_total{{issuer=\"acme\",outcome=\"{outcome}\"}}");
        count(&self.mesh, &name).await
    }

    /// How many tokens were refused for this cause.
    async fn refused(&self, issuer: &str, cause: &str) -> f64 {
        let name = format!("gateway_issuer_tokens_refused_total{{issuer=\"{issuer}\",cause=\"{cause}\"}}");
        count(&self.mesh, &name).await
    }

    fn last_seen(&self) -> HeaderMap {
        self.seen.lock().unwrap().pop().expect("a request")
    }
}

/// The value of a counter; 0 if it has not counted yet.
async fn count(mesh: &Mesh, name: &str) -> f64 {
    let metrics = web::get(mesh.ports.admin, "/metrics").await.unwrap();
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_another_issuer_opens_only_its_upstream() {
    let fixture = Fixture::start("").await;
    let (issuer, key) = (&fixture.issuer, SigningKey::new());
    let token = issuer.token(&key, json!({ "sub": fixture.ada.id() }));
    // Without keys nothing is decided: a public method, too, could take the user for an anonymous caller.
    for path in [READ, OPEN] {
        assert_eq!(fixture.call(path, &token).await.grpc_status(), "14", "{path}");
    }
    assert!(fixture.seen.lock().unwrap().is_empty(), "an undecided call is not forwarded");
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
    // The client learns that another sign-in does not help, and the operator learns the cause.
    let refused = fixture.call(READ, &issuer.token(&key, json!({ "aud": "trellis" }))).await;
    assert!(refused.header("grpc-message").contains("of%20another%20issuer"), "{refused:?}");
    for (issuer, cause) in [("acme", "unknown_key"), ("acme", "audience"), ("acme", "expired"), ("unlisted", "issuer")]
    {
        assert!(fixture.refused(issuer, cause).await >= 1.0, "{issuer} {cause}");
    }
    fixture.mesh.until_logged(|line| line.contains("its audience (aud) is none of") && line.contains("WARN")).await;
    assert_eq!(fixture.refusal(READ, "").await, "TOKEN_INVALID");
    assert!(fixture.seen.lock().unwrap().is_empty(), "a refused call is not forwarded");
    // For a public method, a caller with such a token is anonymous.
    assert_eq!(fixture.refusal(OPEN, &issuer.token(&SigningKey::new(), json!({}))).await, "");
    assert!(!fixture.last_seen().contains_key("x-org"));
    fixture.seen.lock().unwrap().clear();
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
    // A set that cannot be used, or not be read in time, changes nothing.
    let large = format!("{{\"keys\":[],\"a\":\"{}\"}}", "a".repeat(300_000));
    for (set, outcome) in [("no JSON", "unusable"), (HANGS, "failed"), (large.as_str(), "failed")] {
        let before = fixture.reads(outcome).await;
        set.clone_into(&mut issuer.set.lock().unwrap());
        until("the set is read", async || fixture.reads(outcome).await > before).await;
        assert_eq!(fixture.refusal(READ, &after).await, "");
    }
    let keys = format!("{}/keys", issuer.address);
    for why in ["is not a JWK set", "no response within 5s"] {
        fixture.mesh.until_logged(|line| line.contains(why) && line.contains(&keys)).await;
    }
    issuer.publish(&[&new.public]);
    fixture.until(READ, &before, "TOKEN_INVALID").await;
    assert_eq!(fixture.refusal(READ, &after).await, "");
}

/// The keys are read with the authorities of the system, which this variable names.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_read_over_tls() {
    let (known, stranger) = (Authority::new(), Authority::new());
    let (folder, key) = (tempfile::tempdir().unwrap(), SigningKey::new());
    for (authority, is_trusted) in [(&known, true), (&stranger, false)] {
        let file = folder.path().join("authority.crt");
        fs::write(&file, authority.pem()).unwrap();
        let issuer = Issuer::start_over_tls(&known).await;
        issuer.publish(&[&key.public]);
        let fixture = Fixture::start_with(issuer, "", &[("SSL_CERT_FILE", file.to_str().unwrap())]).await;
        let token = fixture.issuer.token(&key, json!({}));
        if is_trusted {
            fixture.until(READ, &token, "").await;
            assert!(fixture.reads("read").await >= 1.0);
        } else {
            assert_eq!(fixture.call(READ, &token).await.grpc_status(), "14");
            let place = format!("{}/.well-known/openid-configuration", fixture.issuer.address);
            fixture.mesh.until_logged(|line| line.contains(&place) && line.contains("certificate")).await;
        }
    }
}

/// A call waits for the keys of a provider that does not respond until its own deadline.
#[tokio::test(flavor = "multi_thread")]
async fn wait_for_a_hanging_provider_ends_at_the_deadline() {
    let issuer = Issuer::start().await;
    HANGS.clone_into(&mut issuer.set.lock().unwrap());
    let fixture = Fixture::start_with(issuer, "", &[]).await;
    let token = fixture.issuer.token(&SigningKey::new(), json!({}));
    let bearer = format!("Bearer {token}");
    let port = fixture.mesh.ports.gateway;
    let headers = [("authorization", bearer.as_str()), ("grpc-timeout", "200m")];
    let started = std::time::Instant::now();
    let request = web::call(port, READ, BINARY, &headers, &GetUserRequest::default());
    let received = web::send(port, Http::Two, request).await.unwrap();
    assert_eq!(received.grpc_status(), "4");
    // A read takes 5 s at most.
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(fixture.refusal(READ, &fixture.ada.tokens.access_token).await, "", "other tokens do not wait");
}

#[tokio::test(flavor = "multi_thread")]
async fn token_check_explains_a_token() {
    let (issuer, key) = (Issuer::start().await, SigningKey::new());
    issuer.publish(&[&key.public]);
    let fixture = Fixture::start_with(issuer, "", &[]).await;
    let issuer = &fixture.issuer;
    let check = |token: String| {
        let mut command = fixture.mesh.command();
        command.args(["token", "check"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
        assert!(token.is_empty() || !text.contains(&token), "the token is not printed");
        (output.status.success(), text)
    };
    let check = async |token: String| tokio::task::block_in_place(|| check(token));
    let (is_valid, text) = check(format!("Bearer {}\n", issuer.token(&key, json!({})))).await;
    assert!(is_valid && text.contains("the token is valid for acme.v1.Shop, open.v1.Shop"), "{text}");
    for (token, expected) in [
        (issuer.token(&key, json!({ "aud": "x" })), "its audience (aud) is none of"),
        (issuer.token(&key, json!({ "exp": 1 })), "it has expired"),
        (issuer.token(&SigningKey::new(), json!({})), "no key of the issuer has its key id"),
        (issuer.token(&key, json!({ "iss": format!("{}/", issuer.address) })), "by a slash at the end"),
        (issuer.token(&key, json!({ "iss": "https://x.test" })), "its issuer is none of gateway.token_issuers"),
        (fixture.ada.tokens.access_token.clone(), "Trellis has issued it"),
        ("a.b.c".to_owned(), "is no signed JSON Web Token"),
        (String::new(), "standard input has no token"),
    ] {
        let (is_valid, text) = check(token).await;
        assert!(!is_valid && text.contains(expected), "{expected}: {text}");
    }
}
