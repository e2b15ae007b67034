use super::*;
use crate::{
    bus::{Local, Signal},
    jwt::{AUDIENCE, AccessKey, ISSUER},
};

struct Fixed(Vec<Jwk>);

#[async_trait]
impl KeySource for Fixed {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Ok(self.0.clone())
    }
}

fn token(key: &AccessKey, ambient: &Ambient, session: Uuid) -> String {
    let now = ambient.now().as_secs();
    let claims = AccessClaims {
        iss: ISSUER.to_owned(),
        aud: AUDIENCE.to_owned(),
        sub: ambient.new_id(),
        sid: session,
        iat: now,
        exp: now + 60,
        jti: ambient.new_id(),
        roles: Vec::new(),
        scope: String::new(),
    };
    key.sign(&claims).unwrap()
}

#[tokio::test]
async fn a_signal_ends_the_tokens_of_its_session_known_or_not() {
    let (ambient, key) = (Ambient::system(), AccessKey::from_pkcs8(&AccessKey::generate()).unwrap());
    let keys = Arc::new(KeySet::new(Fixed(vec![key.jwk().clone()]), ambient.clone()));
    let (bus, shutdown) = (Local::default(), Shutdown::new());
    tokio::spawn(keys.follow(&bus, shutdown));
    let (ended, other) = (ambient.new_id(), ambient.new_id());
    let [known, unknown] = [0, 1].map(|_| token(&key, &ambient, ended));
    let goes_on = token(&key, &ambient, other);
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

/// A key, and a list of ended sessions that is read page by page.
#[derive(Clone)]
struct Listed(Arc<Script>);

struct Script {
    key: Jwk,
    pages: Mutex<Vec<Result<EndedSessions, Unavailable>>>,
    asked: Mutex<Vec<EndedPage>>,
}

#[async_trait]
impl KeySource for Listed {
    async fn fetch(&self) -> Result<Vec<Jwk>, Unavailable> {
        Ok(vec![self.0.key.clone()])
    }

    async fn list_ended(&self, page: &EndedPage) -> Result<EndedSessions, Unavailable> {
        self.0.asked.lock().unwrap().push(page.clone());
        let mut pages = self.0.pages.lock().unwrap();
        if pages.is_empty() { Ok(EndedSessions::default()) } else { pages.remove(0) }
    }
}

fn listed(key: &AccessKey, pages: Vec<Result<EndedSessions, Unavailable>>) -> Listed {
    Listed(Arc::new(Script { key: key.jwk().clone(), pages: Mutex::new(pages), asked: Mutex::default() }))
}

fn page(session: Uuid, next_token: &str, seconds: i64) -> Result<EndedSessions, Unavailable> {
    let list_time = Some(Timestamp::from_micros(seconds * 1_000_000));
    Ok(EndedSessions { sessions: vec![session], next_token: next_token.to_owned(), list_time })
}

#[tokio::test]
async fn a_process_is_ready_when_it_knows_the_ended_sessions() {
    let [first, second] = [1, 2].map(Uuid::from_u128);
    let away = Err(Unavailable("auth is away".to_owned()));
    let (key, ambient) = (AccessKey::from_pkcs8(&AccessKey::generate()).unwrap(), Ambient::system());
    let source = listed(&key, vec![page(first, "2", 10), away, page(second, "", 20)]);
    let keys = KeySet::new(source.clone(), ambient.clone());
    let token = token(&key, &ambient, first);
    assert_eq!(keys.verify(&token).await, Verdict::Undecided, "the second page is missing");
    assert!(!keys.ready().await);
    assert!(keys.is_revoked(first) && !keys.is_revoked(second));
    while !keys.ready().await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(keys.is_revoked(second));
    assert_eq!(keys.verify(&token).await, Verdict::Revoked);
    assert!(keys.ready().await, "once is enough");
    let tokens: Vec<_> = source.0.asked.lock().unwrap().iter().map(|page| page.token.clone()).collect();
    assert_eq!(tokens, ["", "2", "2"], "a read goes on where it stopped");
}

#[tokio::test]
async fn lost_signals_are_made_up_for_by_the_list() {
    let ended = Uuid::from_u128(7);
    let key = AccessKey::from_pkcs8(&AccessKey::generate()).unwrap();
    let source =
        listed(&key, vec![page(Uuid::from_u128(1), "2", 10), page(Uuid::from_u128(2), "", 20), page(ended, "", 30)]);
    let keys = Arc::new(KeySet::new(source.clone(), Ambient::system()));
    let bus = Local::default();
    tokio::spawn(keys.follow(&bus, Shutdown::new()));
    keys.revoked(Uuid::from_u128(2)).await;
    assert!(!keys.is_revoked(ended));
    keys.ended.outdate();
    keys.revoked(ended).await;
    let since = source.0.asked.lock().unwrap()[2].since;
    assert_eq!(since, Some(Timestamp::from_micros(10_000_000)), "from where the list before began");
}
