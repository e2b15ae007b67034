use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::{
    bus::{LocalBus, Signal},
    jwt::{AUDIENCE, AccessKey, CLOCK_SKEW, ISSUER},
};

struct Fixed(Vec<Jwk>);

#[async_trait]
impl KeySource for Fixed {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Ok(self.0.clone())
    }
}

/// An auth whose keys the test changes. Without keys it is unavailable.
#[derive(Clone, Default)]
struct Changing {
    jwks: Arc<Mutex<Vec<Jwk>>>,
    fetched: Arc<AtomicUsize>,
}

impl Changing {
    fn publish(&self, keys: &[&AccessKey]) {
        *self.jwks.lock() = keys.iter().map(|key| key.jwk().clone()).collect();
    }
}

#[async_trait]
impl KeySource for Changing {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        self.fetched.fetch_add(1, Ordering::SeqCst);
        let jwks = self.jwks.lock().clone();
        if jwks.is_empty() { Err(Unavailable("auth is unavailable".to_owned())) } else { Ok(jwks) }
    }
}

fn new_key() -> AccessKey {
    AccessKey::from_pkcs8(&AccessKey::generate()).unwrap()
}

fn token(key: &AccessKey, clock_rng: &ClockAndRng, session: Uuid) -> String {
    key.sign(&claims(clock_rng, session)).unwrap()
}

fn claims(clock_rng: &ClockAndRng, session: Uuid) -> AccessClaims {
    let now = clock_rng.now().as_secs();
    AccessClaims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: clock_rng.new_id(),
        principal: PrincipalClaims::User { sid: session, auth_time: now, amr: vec!["pwd".to_owned()] },
        iat: now,
        exp: now + 60,
        jti: clock_rng.new_id(),
        roles: Vec::new(),
        scope: String::new(),
    }
}

#[test]
fn bearer_scheme_has_no_case() {
    for (header, token) in [
        ("Bearer x.y.z", Some("x.y.z")),
        ("bearer x.y.z", Some("x.y.z")),
        ("BEARER  x.y.z", Some("x.y.z")),
        ("Basic x.y.z", None),
        ("basic x.y.z", None),
        ("Bearerx.y.z", None),
        ("x.y.z", None),
    ] {
        assert_eq!(bearer(&HeaderValue::from_static(header)), token, "{header}");
    }
}

#[tokio::test]
async fn signal_revokes_cached_and_new_tokens_of_its_session() {
    let (clock_rng, key) = (ClockAndRng::system(), AccessKey::from_pkcs8(&AccessKey::generate()).unwrap());
    let keys = Arc::new(KeySet::new(Fixed(vec![key.jwk().clone()]), clock_rng.clone()));
    let (bus, shutdown) = (LocalBus::default(), Shutdown::new());
    tokio::spawn(keys.follow(&bus, shutdown));
    let (ended, other) = (clock_rng.new_id(), clock_rng.new_id());
    let [known, unknown] = [0, 1].map(|_| token(&key, &clock_rng, ended));
    let goes_on = token(&key, &clock_rng, other);
    assert!(matches!(keys.verify(&known).await, Verdict::Genuine(_)));
    assert!(matches!(keys.recall(&known), Some(Verdict::Genuine(_))));

    bus.publish(REVOKED, Signal { subject: ended, reached: 0 });
    keys.revoked(ended).await;
    assert_eq!(keys.recall(&known), Some(Verdict::Revoked));
    assert_eq!(keys.verify(&known).await, Verdict::Revoked);
    assert_eq!(keys.verify(&unknown).await, Verdict::Revoked);
    assert!(matches!(keys.verify(&goes_on).await, Verdict::Genuine(_)));
    assert!(keys.is_revoked(ended) && !keys.is_revoked(other));
}

/// Regression: a cached token was valid after the removal of its key.
#[tokio::test(start_paused = true)]
async fn cached_verdict_ends_with_its_key() {
    let (clock_rng, source) = (ClockAndRng::system(), Changing::default());
    let [old, new] = [new_key(), new_key()];
    source.publish(&[&old, &new]);
    let keys = Arc::new(KeySet::new(source.clone(), clock_rng.clone()).refreshed_each(Duration::from_secs(10)));
    tokio::spawn(Arc::clone(&keys).keep_fresh(Shutdown::new()));
    let [by_old, by_new] = [&old, &new].map(|key| token(key, &clock_rng, clock_rng.new_id()));
    for token in [&by_old, &by_new] {
        assert!(matches!(keys.verify(token).await, Verdict::Genuine(_)));
    }
    source.publish(&[&new]);
    sleep(Duration::from_secs(11)).await;
    assert_eq!(keys.recall(&by_old), None);
    assert_eq!(keys.verify(&by_old).await, Verdict::Invalid);
    assert!(matches!(keys.recall(&by_new), Some(Verdict::Genuine(_))), "tokens of other keys keep their verdicts");
    // A removed key is a new key when it is published again.
    source.publish(&[&new, &old]);
    sleep(Duration::from_secs(11)).await;
    assert_eq!(keys.recall(&by_old), None);
    assert!(matches!(keys.verify(&by_old).await, Verdict::Genuine(_)));
}

#[tokio::test(start_paused = true)]
async fn unknown_key_is_fetched_at_most_once_a_second() {
    let (clock_rng, source) = (ClockAndRng::system(), Changing::default());
    let [known, unknown] = [new_key(), new_key()];
    source.publish(&[&known]);
    let keys = KeySet::new(source.clone(), clock_rng.clone());
    let tokens: Vec<_> = (0..100).map(|_| token(&unknown, &clock_rng, clock_rng.new_id())).collect();
    for token in &tokens {
        assert_eq!(keys.verify(token).await, Verdict::Invalid);
    }
    assert_eq!(source.fetched.load(Ordering::SeqCst), 1);
    source.publish(&[&known, &unknown]);
    sleep(FETCH_PAUSE).await;
    for token in &tokens {
        assert!(matches!(keys.verify(token).await, Verdict::Genuine(_)));
    }
    assert_eq!(source.fetched.load(Ordering::SeqCst), 2);
    // While auth is unavailable, the process cannot know whether auth has published another key.
    source.publish(&[]);
    sleep(FETCH_PAUSE).await;
    assert_eq!(keys.verify(&token(&new_key(), &clock_rng, clock_rng.new_id())).await, Verdict::Undecided);
    assert!(matches!(keys.verify(&tokens[0]).await, Verdict::Genuine(_)), "the last set remains in use");
}

#[tokio::test]
async fn token_with_impossible_times_is_refused() {
    let (clock_rng, key) = (ClockAndRng::system(), new_key());
    let keys = KeySet::new(Fixed(vec![key.jwk().clone()]), clock_rng.clone());
    let skew = i64::try_from(CLOCK_SKEW.as_secs()).unwrap();
    let longest = i64::try_from(LONGEST_ACCESS.as_secs()).unwrap();
    type Change = fn(&mut AccessClaims, i64, i64);
    let changes: [(&str, Change, bool); 5] = [
        ("as it is", |_, _, _| {}, true),
        ("for an hour", |claims, longest, _| claims.exp = claims.iat + longest, true),
        ("for longer", |claims, longest, _| claims.exp = claims.iat + longest + 1, false),
        ("by a clock that is a little ahead", |claims, _, skew| claims.iat += skew - 5, true),
        (
            "from the future",
            |claims, _, skew| (claims.iat, claims.exp) = (claims.iat + skew + 5, claims.exp + skew),
            false,
        ),
    ];
    for (what, change, is_good) in changes {
        let mut claims = claims(&clock_rng, clock_rng.new_id());
        change(&mut claims, longest, skew);
        let verdict = keys.verify(&key.sign(&claims).unwrap()).await;
        assert_eq!(matches!(verdict, Verdict::Genuine(_)), is_good, "{what}: {verdict:?}");
        assert!(is_good || verdict == Verdict::Invalid, "{what}: {verdict:?}");
    }
}

/// `nbf` counts, and tokens with critical extensions are refused.
#[tokio::test]
async fn nbf_counts_and_crit_is_refused() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
    };
    let (clock_rng, pkcs8) = (ClockAndRng::system(), AccessKey::generate());
    let key = AccessKey::from_pkcs8(&pkcs8).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &SystemRandom::new()).unwrap();
    let keys = KeySet::new(Fixed(vec![key.jwk().clone()]), clock_rng.clone());
    let now = clock_rng.now().as_secs();
    let none = serde_json::Value::Null;
    for (header, value, nbf, is_good) in [
        ("typ", serde_json::json!("at+jwt"), none.clone(), true),
        ("typ", serde_json::json!("at+jwt"), now.into(), true),
        ("typ", serde_json::json!("at+jwt"), (now + 90).into(), false),
        ("typ", serde_json::json!("at+jwt"), "soon".into(), false),
        ("crit", serde_json::json!(["b64"]), none.clone(), false),
        ("crit", serde_json::json!([]), none.clone(), false),
        ("crit", serde_json::json!("b64"), none.clone(), false),
    ] {
        let mut head = serde_json::json!({ "alg": "ES256", "typ": "at+jwt", "kid": key.jwk().kid });
        head[header] = value.clone();
        let mut body = serde_json::to_value(claims(&clock_rng, clock_rng.new_id())).unwrap();
        if !nbf.is_null() {
            body["nbf"] = nbf.clone();
        }
        let signed = format!("{}.{}", BASE64URL.encode(head.to_string()), BASE64URL.encode(body.to_string()));
        let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        let verdict = keys.verify(&format!("{signed}.{}", BASE64URL.encode(signature))).await;
        assert_eq!(matches!(verdict, Verdict::Genuine(_)), is_good, "{header} {value} {nbf}: {verdict:?}");
    }
}

/// A source with a key and a scripted list of ended sessions.
#[derive(Clone)]
struct Listed(Arc<Script>);

struct Script {
    key: Jwk,
    pages: Mutex<Vec<Result<EndedSessions, Unavailable>>>,
    requested: Mutex<Vec<EndedPage>>,
}

#[async_trait]
impl KeySource for Listed {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Ok(vec![self.0.key.clone()])
    }

    async fn list_ended(&self, page: &EndedPage) -> Result<EndedSessions, Unavailable> {
        self.0.requested.lock().push(page.clone());
        let mut pages = self.0.pages.lock();
        if pages.is_empty() { Ok(EndedSessions::default()) } else { pages.remove(0) }
    }
}

fn listed(key: &AccessKey, pages: Vec<Result<EndedSessions, Unavailable>>) -> Listed {
    Listed(Arc::new(Script { key: key.jwk().clone(), pages: Mutex::new(pages), requested: Mutex::default() }))
}

fn page(session: Uuid, next_token: &str, seconds: i64) -> Result<EndedSessions, Unavailable> {
    let list_time = Some(Timestamp::from_micros(seconds * 1_000_000));
    Ok(EndedSessions { sessions: vec![session], next_token: next_token.to_owned(), list_time })
}

#[tokio::test]
async fn process_is_ready_after_it_has_read_the_ended_sessions() {
    let [first, second] = [1, 2].map(Uuid::from_u128);
    let away = Err(Unavailable("auth is unavailable".to_owned()));
    let (key, clock_rng) = (AccessKey::from_pkcs8(&AccessKey::generate()).unwrap(), ClockAndRng::system());
    let source = listed(&key, vec![page(first, "2", 10), away, page(second, "", 20)]);
    let keys = KeySet::new(source.clone(), clock_rng.clone());
    let token = token(&key, &clock_rng, first);
    assert_eq!(keys.verify(&token).await, Verdict::Undecided, "the second page is missing");
    assert!(!keys.ready().await);
    assert!(keys.is_revoked(first) && !keys.is_revoked(second));
    while !keys.ready().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(keys.is_revoked(second));
    assert_eq!(keys.verify(&token).await, Verdict::Revoked);
    assert!(keys.ready().await, "one complete read is enough");
    let tokens: Vec<_> = source.0.requested.lock().iter().map(|page| page.token.clone()).collect();
    assert_eq!(tokens, ["", "2", "2"], "a read continues where the last one stopped");
}

#[tokio::test]
async fn list_of_ended_sessions_makes_up_for_lost_signals() {
    let ended = Uuid::from_u128(7);
    let key = AccessKey::from_pkcs8(&AccessKey::generate()).unwrap();
    let source =
        listed(&key, vec![page(Uuid::from_u128(1), "2", 10), page(Uuid::from_u128(2), "", 20), page(ended, "", 30)]);
    let keys = Arc::new(KeySet::new(source.clone(), ClockAndRng::system()));
    let bus = LocalBus::default();
    tokio::spawn(keys.follow(&bus, Shutdown::new()));
    keys.revoked(Uuid::from_u128(2)).await;
    assert!(!keys.is_revoked(ended));
    keys.ended.outdate();
    keys.revoked(ended).await;
    let since = source.0.requested.lock()[2].since;
    assert_eq!(since, Some(Timestamp::from_micros(10_000_000)), "after the time of the previous list");
}
