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
