//! Keys that rotate, are withdrawn or cannot be read, and tokens that are not what they state.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use kit::{config::Span, jwt::IssuerAlgorithm, time::ManualClock};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

/// The pause of the tests.
const SHORT: Duration = Duration::from_secs(1);
const NOW: i64 = 1_700_000_000;

/// An issuer that serves its metadata and keys, and counts the requests for the keys.
struct LocalIssuer {
    issuer: Arc<Issuer>,
    clock: Arc<ManualClock>,
    address: String,
    /// The body of the keys; empty: the connection is closed.
    set: Arc<parking_lot::Mutex<String>>,
    requests: Arc<AtomicUsize>,
}

struct Key(Ed25519KeyPair, &'static str);

impl Key {
    fn new(id: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap(), id)
    }

    fn jwk(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.1, "use": "sig", "x": BASE64URL.encode(self.0.public_key()) })
    }

    /// A token with changes of the header; `null` removes a field.
    fn sign(&self, header: Value, claims: &Value) -> String {
        self.sign_text(header, &claims.to_string())
    }

    fn sign_text(&self, header: Value, claims: &str) -> String {
        let mut full = json!({ "alg": "EdDSA", "kid": self.1, "typ": "at+jwt" });
        let Value::Object(changes) = header else { panic!("{header}") };
        full.as_object_mut().unwrap().extend(changes);
        full.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let message = format!("{}.{}", BASE64URL.encode(full.to_string()), BASE64URL.encode(claims));
        let signature = BASE64URL.encode(self.0.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

impl LocalIssuer {
    async fn new(change: impl FnOnce(&mut TokenIssuerConfig)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (set, requests) = (Arc::<parking_lot::Mutex<String>>::default(), Arc::<AtomicUsize>::default());
        let mut config = TokenIssuerConfig {
            issuer: address.clone(),
            audiences: vec!["api".to_owned(), "other".to_owned()],
            algorithms: vec![IssuerAlgorithm::EdDsa],
            clock_skew: Span(Duration::from_secs(30)),
            limit_claim: "org".to_owned(),
            ..TokenIssuerConfig::default()
        };
        change(&mut config);
        let headers = vec![(HeaderName::from_static("x-org"), "org".to_owned())];
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(NOW * 1_000_000)));
        let issuer = Issuer { clock: Arc::clone(&clock) as _, pause: SHORT, ..Issuer::new("acme", &config, headers) };
        let served = (Arc::clone(&set), Arc::clone(&requests), address.clone());
        tokio::spawn(async move {
            let (set, requests, address) = served;
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let body = if head.starts_with(b"GET /.well-known/openid-configuration ") {
                    json!({ "issuer": address, "jwks_uri": format!("{address}/keys") }).to_string()
                } else {
                    requests.fetch_add(1, SeqCst);
                    set.lock().clone()
                };
                if !body.is_empty() {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    stream.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).await.ok();
                }
            }
        });
        Self { issuer: Arc::new(issuer), clock, address, set, requests }
    }

    fn publish(&self, keys: &[&Key]) {
        self.publish_keys(&keys.iter().map(|key| key.jwk()).collect::<Vec<_>>());
    }

    fn publish_keys(&self, keys: &[Value]) {
        *self.set.lock() = json!({ "keys": keys }).to_string();
    }

    fn claims(&self) -> Value {
        json!({ "iss": self.address, "aud": "api", "sub": "ada", "exp": NOW + 600, "iat": NOW, "org": 7, "scope": "a b" })
    }

    /// The claims with one changed; `null` removes it.
    fn with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        let all = claims.as_object_mut().unwrap();
        if value.is_null() {
            all.remove(name)
        } else {
            all.insert(name.to_owned(), value)
        };
        claims
    }

    fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }
}

#[tokio::test]
async fn genuine_token_names_its_user_by_issuer() {
    let local = LocalIssuer::new(|_| {}).await;
    let key = Key::new("1");
    local.publish(&[&key]);
    let Verdict::Genuine(user) = local.issuer.verify(&key.sign(json!({}), &local.claims())).await else { panic!() };
    assert_eq!((&*user.issuer, user.subject.as_str(), user.limit_key.as_str()), ("acme", "ada", "acme\0claim\x007"));
    assert_eq!((user.scopes.join(","), user.headers[0].1.as_bytes()), ("a,b".to_owned(), &b"7"[..]));
    let token = key.sign(json!({}), &local.with("org", json!(["a"])));
    let Verdict::Genuine(user) = local.issuer.verify(&token).await else { panic!() };
    assert_eq!((user.limit_key.as_str(), user.headers.len()), ("acme\0subject\0ada", 0));
    // The cache does not outlive the token.
    local.clock.advance(Duration::from_secs(629));
    assert!(matches!(local.issuer.verify(&token).await, Verdict::Genuine(_)));
    local.clock.advance(Duration::from_secs(1));
    assert_eq!(local.issuer.verify(&token).await, Verdict::Expired);
    assert_eq!(local.requests(), 1);
}

#[tokio::test]
async fn forged_token_is_invalid() {
    let local = LocalIssuer::new(|_| {}).await;
    let (key, stranger) = (Key::new("1"), Key::new("1"));
    local.publish(&[&key]);
    let good = local.claims();
    let unsigned = |alg: &str| {
        let part = |value: Value| BASE64URL.encode(value.to_string());
        format!("{}.{}.", part(json!({ "alg": alg, "kid": "1" })), part(local.claims()))
    };
    // HMAC with the public key as the secret.
    let hmac = {
        let message = unsigned("HS256");
        let message = message.trim_end_matches('.');
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.0.public_key().as_ref());
        format!("{message}.{}", BASE64URL.encode(ring::hmac::sign(&secret, message.as_bytes())))
    };
    let tokens = [
        ("no token", "a.b.c".to_owned()),
        ("none", unsigned("none")),
        ("None", unsigned("None")),
        ("without a signature", unsigned("EdDSA")),
        ("HMAC with the public key", hmac),
        ("another key", stranger.sign(json!({}), &good)),
        ("its own key in the header", stranger.sign(json!({ "jwk": stranger.jwk() }), &good)),
        ("critical extension", key.sign(json!({ "crit": ["exp"] }), &good)),
        ("a token of a service", key.sign(json!({ "typ": "trellis-service+jwt" }), &good)),
        ("another algorithm", key.sign(json!({ "alg": "ES256" }), &good)),
        ("issuer", key.sign(json!({}), &local.with("iss", json!("http://127.0.0.1:1")))),
        ("issuer with a slash", key.sign(json!({}), &local.with("iss", json!(format!("{}/", local.address))))),
        ("no issuer", key.sign(json!({}), &local.with("iss", Value::Null))),
        ("audience", key.sign(json!({}), &local.with("aud", json!("trellis")))),
        ("no audience", key.sign(json!({}), &local.with("aud", Value::Null))),
        ("no expiry", key.sign(json!({}), &local.with("exp", Value::Null))),
        ("an expiry that is a text", key.sign(json!({}), &local.with("exp", json!("never")))),
        ("not valid yet", key.sign(json!({}), &local.with("nbf", json!(NOW + 31)))),
        ("issued in the future", key.sign(json!({}), &local.with("iat", json!(NOW + 31)))),
        ("no subject", key.sign(json!({}), &local.with("sub", Value::Null))),
        ("an empty subject", key.sign(json!({}), &local.with("sub", json!("")))),
        ("a subject of two lines", key.sign(json!({}), &local.with("sub", json!("a\nb")))),
        ("a long subject", key.sign(json!({}), &local.with("sub", json!("a".repeat(256))))),
    ];
    for (name, token) in tokens {
        assert_eq!(local.issuer.verify(&token).await, Verdict::Invalid, "{name}");
    }
    for (expected, token) in [
        (Verdict::Expired, local.with("exp", json!(NOW - 30))),
        (Verdict::Expired, local.with("exp", json!(NOW as f64 - 30.5))),
    ] {
        assert_eq!(local.issuer.verify(&key.sign(json!({}), &token)).await, expected);
    }
    for genuine in [
        local.with("exp", json!(NOW - 29)),
        local.with("nbf", json!(NOW + 30)),
        local.with("aud", json!(["x", "other"])),
    ] {
        let token = key.sign(json!({ "typ": "JWT" }), &genuine);
        assert!(matches!(local.issuer.verify(&token).await, Verdict::Genuine(_)), "{genuine}");
    }
    assert_eq!(local.requests(), 1, "a forged token causes no request");
}

#[tokio::test]
async fn unknown_key_is_read_at_most_once_in_a_pause() {
    let local = LocalIssuer::new(|_| {}).await;
    let [old, new] = ["old", "new"].map(Key::new);
    local.publish(&[&old]);
    let genuine = async |key: &Key| {
        let token = key.sign(json!({}), &local.claims());
        matches!(local.issuer.verify(&token).await, Verdict::Genuine(_))
    };
    assert!(genuine(&old).await);
    local.publish(&[&old, &new]);
    assert!(!genuine(&new).await, "the last request was a moment ago");
    sleep(SHORT).await;
    for at in 0..50 {
        let token = old.sign(json!({ "kid": at.to_string() }), &local.claims());
        assert_eq!(local.issuer.verify(&token).await, Verdict::Invalid);
    }
    assert_eq!(local.requests(), 2);
    assert!(genuine(&old).await && genuine(&new).await);
    // A withdrawn key ends its cached tokens.
    local.publish(&[&new]);
    sleep(SHORT).await;
    local.issuer.refresh().await;
    assert!(!genuine(&old).await && genuine(&new).await);
}

#[tokio::test]
async fn last_keys_stay_in_force_for_their_time() {
    let local = LocalIssuer::new(|config| config.keys_max_age = Span(Duration::from_secs(300))).await;
    let key = Key::new("1");
    let token = key.sign(json!({}), &local.claims());
    assert_eq!(local.issuer.verify(&token).await, Verdict::Undecided, "no keys yet");
    local.publish(&[&key]);
    assert_eq!(local.issuer.verify(&token).await, Verdict::Undecided, "the last request was a moment ago");
    sleep(SHORT).await;
    assert!(matches!(local.issuer.verify(&token).await, Verdict::Genuine(_)));
    let many: Vec<_> = (0..=MOST_KEYS).map(|_| key.jwk()).collect();
    let large = format!("{{\"keys\":[],\"a\":\"{}\"}}", "a".repeat(256 * 1_024));
    for unreadable in [
        String::new(),
        "no JSON".to_owned(),
        json!({ "keys": [] }).to_string(),
        json!({ "keys": many }).to_string(),
        large,
    ] {
        local.set.lock().clone_from(&unreadable);
        sleep(SHORT).await;
        let error = local.issuer.read(SHORT).await.unwrap_err();
        assert!(error.starts_with(&format!("{}/keys", local.address)), "{unreadable:.20}: {error}");
        let of_new_key = key.sign(json!({ "kid": "2" }), &local.claims());
        assert_eq!(local.issuer.verify(&of_new_key).await, Verdict::Undecided, "the key may be a new one");
        assert!(matches!(local.issuer.verify(&token).await, Verdict::Genuine(_)));
    }
    local.clock.advance(Duration::from_secs(300));
    assert_eq!(local.issuer.verify(&token).await, Verdict::Undecided);
    local.publish(&[&key]);
    sleep(SHORT).await;
    assert!(matches!(local.issuer.verify(&token).await, Verdict::Genuine(_)));
}

#[tokio::test]
async fn metadata_of_another_issuer_is_refused() {
    let (local, other) = (LocalIssuer::new(|_| {}).await, LocalIssuer::new(|_| {}).await);
    local.publish(&[&Key::new("1")]);
    assert_eq!(local.issuer.read(Duration::ZERO).await, Ok(()));
    let config = TokenIssuerConfig { issuer: format!("{}/", other.address), ..other.issuer.config.clone() };
    let error = fetch::key_set(&config).await.unwrap_err();
    assert!(error.contains("is the metadata of"), "{error}");
    assert_eq!(other.requests(), 0);
}

#[test]
fn secure_issuer_states_a_secure_address() {
    for plain in ["http://localhost/keys", "HTTP://localhost/keys"] {
        assert!(fetch::check_scheme("https://login.acme.test", plain).is_err(), "{plain}");
        assert_eq!(fetch::check_scheme("http://localhost", plain), Ok(()));
    }
    assert_eq!(fetch::check_scheme("https://login.acme.test", "HTTPS://keys.acme.test"), Ok(()));
}

#[test]
fn issuers_keep_their_keys_through_a_reload() {
    let section = |refresh| TokenIssuerConfig {
        issuer: "https://login.acme.test".to_owned(),
        audiences: vec!["api".to_owned()],
        algorithms: vec![IssuerAlgorithm::EdDsa],
        refresh: Span(Duration::from_secs(refresh)),
        ..TokenIssuerConfig::default()
    };
    let config = |refresh| {
        let upstream = crate::config::ExternalConfig { token_issuers: vec!["acme".to_owned()], ..Default::default() };
        let token_issuers = BTreeMap::from([("acme".to_owned(), section(refresh))]);
        crate::Config { token_issuers, external: BTreeMap::from([("a".to_owned(), upstream)]), ..Default::default() }
    };
    let registry = IssuerRegistry::default();
    let of = |refresh| registry.of(&config(refresh)).unwrap().remove("acme").unwrap();
    let first = of(60);
    registry.keep(&[Arc::clone(&first)]);
    // A reload that is refused: its issuers are not kept.
    let changed = of(61);
    assert!(Arc::ptr_eq(&first, &of(60)) && !Arc::ptr_eq(&first, &changed));
    let unused = crate::Config { external: BTreeMap::new(), ..config(60) };
    assert!(check(&unused).unwrap_err().contains("has no effect"));
    let missing = crate::Config { token_issuers: BTreeMap::new(), ..config(60) };
    assert!(check(&missing).unwrap_err().contains("does not exist"));
    let mut misspelled = config(60);
    misspelled.external.get_mut("a").unwrap().token_issuers = vec!["acmee".to_owned()];
    assert!(check(&misspelled).unwrap_err().contains("acmee does not exist"));
}

#[test]
fn unsuitable_claim_header_is_refused() {
    let check_all = |headers: &[&str]| {
        let claim = |header: &&str| ((*header).to_owned(), "org".to_owned());
        let issuer = TokenIssuerConfig {
            issuer: "https://login.acme.test".to_owned(),
            audiences: vec!["api".to_owned()],
            algorithms: vec![IssuerAlgorithm::EdDsa],
            claim_headers: headers.iter().map(claim).collect(),
            ..TokenIssuerConfig::default()
        };
        let upstream = crate::config::ExternalConfig { token_issuers: vec!["acme".to_owned()], ..Default::default() };
        let mut config = crate::Config {
            token_issuers: BTreeMap::from([("acme".to_owned(), issuer)]),
            external: BTreeMap::from([("a".to_owned(), upstream)]),
            ..Default::default()
        };
        config.authorization.sets = vec!["X-User".to_owned()];
        check(&config)
    };
    let check = |header: &str| check_all(&[header]);
    assert_eq!(check("x-org"), Ok(()));
    assert!(check("x-org-bin").unwrap_err().contains("-bin"));
    // Many servers do not distinguish `_` and `-`.
    for set in ["x-user", "x_user", "X_User"] {
        assert!(check(set).unwrap_err().contains("authorization.sets"), "{set}");
    }
    for own in ["content_type", "transfer_encoding", "x_trellis_user", "grpc_timeout", "x_forwarded_for"] {
        assert!(check(own).unwrap_err().contains("by the gateway itself"), "{own}");
    }
    assert!(check_all(&["x-org", "x_org"]).unwrap_err().contains("x-org and x_org are one name"));
}

/// As a float, a number beyond 64 bits could be that of another caller.
#[tokio::test]
async fn number_in_a_claim_keeps_all_digits() {
    let local = LocalIssuer::new(|_| {}).await;
    let key = Key::new("1");
    local.publish(&[&key]);
    let claims = local.claims().to_string();
    for number in ["123456789012345678901234567890", "-9223372036854775809", "1.50", "7", "true"] {
        let claims = claims.replace("\"org\":7", &format!("\"org\":{number}"));
        let Verdict::Genuine(user) = local.issuer.verify(&key.sign_text(json!({}), &claims)).await else { panic!() };
        assert_eq!(user.limit_key, format!("acme\0claim\0{number}"));
        assert_eq!(user.headers[0].1, number);
    }
}

/// Providers publish several keys with one id while they rotate, and keys and tokens without an id.
#[tokio::test]
async fn keys_of_one_id_or_without_id_are_all_tried() {
    let [first, second, stranger] = ["1"; 3].map(Key::new);
    let nameless = |key: &Key| {
        let mut jwk = key.jwk();
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    let without_id = json!({ "kid": null });
    let cases = [
        ("one id for two keys", vec![first.jwk(), second.jwk()], json!({}), [true, true, false]),
        ("a token without an id", vec![first.jwk(), second.jwk()], without_id.clone(), [true, true, false]),
        ("no ids", vec![nameless(&first), nameless(&second)], without_id.clone(), [true, true, false]),
        // The issuer states which key it is.
        ("an id that no key has", vec![nameless(&first), nameless(&second)], json!({}), [false; 3]),
    ];
    for (what, keys, header, expected) in cases {
        let local = LocalIssuer::new(|_| {}).await;
        local.publish_keys(&keys);
        for (key, expected) in [&first, &second, &stranger].into_iter().zip(expected) {
            let verdict = local.issuer.verify(&key.sign(header.clone(), &local.claims())).await;
            assert_eq!(matches!(verdict, Verdict::Genuine(_)), expected, "{what}");
        }
    }
    // Each costs a verification, so that their number is bounded.
    let local = LocalIssuer::new(|_| {}).await;
    let mut keys = vec![stranger.jwk(); 8];
    keys.push(first.jwk());
    local.publish_keys(&keys);
    let token = first.sign(without_id.clone(), &local.claims());
    assert_eq!(local.issuer.verify(&token).await, Verdict::Invalid);
    // A token without an id may be signed with a new key: the keys are read again.
    local.publish_keys(&[nameless(&first)]);
    sleep(SHORT).await;
    assert!(matches!(local.issuer.verify(&token).await, Verdict::Genuine(_)));
}

/// The provider accepts connections, and sends nothing.
#[tokio::test(start_paused = true)]
async fn wait_for_a_hanging_provider_has_a_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let config = TokenIssuerConfig {
        issuer: address.clone(),
        jwks_uri: format!("{address}/keys"),
        algorithms: vec![IssuerAlgorithm::EdDsa],
        ..TokenIssuerConfig::default()
    };
    let issuer = Arc::new(Issuer::new("acme", &config, Vec::new()));
    let began = Instant::now();
    let error = issuer.read(Duration::ZERO).await.unwrap_err();
    assert_eq!(error, format!("{address}/keys: no response within 5s"));
    // Further calls do not wait: the last read began a moment ago.
    assert_eq!(issuer.verify("a.b.c").await, Verdict::Undecided);
    assert_eq!(began.elapsed().as_secs(), 5);
}
