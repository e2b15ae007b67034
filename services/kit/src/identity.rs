//! Service identity: an Ed25519 key per process, and 60-second tokens that it signs for one callee each.

mod caller;
mod rejected;

use std::{
    collections::HashMap,
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL},
};
pub use caller::{CALLER_ISSUER, CALLER_TYPE, CallerTokens};
use http::HeaderValue;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use parking_lot::Mutex;
use rejected::Refusals;
pub use rejected::Rejected;
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};

use crate::{
    ClockAndRng, Timestamp,
    jwt::{self, CLOCK_SKEW, ServiceClaims, Times, Untimely, Window},
    principal::MeshService,
    secret_file,
    skew::Skews,
    tls::MeshTls,
};

/// The name of the gateway as a service of the mesh.
pub const GATEWAY: &str = "gateway";
/// The header that carries a service token. It is removed from requests of external clients.
pub const SERVICE_TOKEN: &str = "x-trellis-service-token";
/// The header with the address of the client for which a service of the mesh makes the call, as the gateway saw it. Each
/// service passes it on. A call with neither this header nor an access token is the service's own. Trusted only next to a
/// service token.
pub const CLIENT_ADDRESS: &str = "x-trellis-client-address";
/// The header in which the gateway reports that the client's origin is `http`. Trusted only next to a service token.
pub const CLIENT_SCHEME: &str = "x-trellis-client-scheme";

/// The lifetime of a service token.
const LIFETIME: Duration = Duration::from_secs(60);
/// The remaining lifetime that a token needs to be reused.
const REUSE_MARGIN: Duration = Duration::from_secs(20);
/// The callee's clock may differ, and tokens are reused until [`REUSE_MARGIN`] before they expire.
const WINDOW: Window = Window { longest: LIFETIME, grace: CLOCK_SKEW };

/// A private key, as PKCS#8.
pub struct Key {
    pkcs8: Vec<u8>,
    public: Vec<u8>,
}

/// A key file that cannot be used. Displayed as one line on the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(String);

impl Key {
    /// A new key.
    pub fn generate() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("the system gives randomness");
        Self::parse(pkcs8.as_ref().to_vec()).expect("a fresh key is well formed")
    }

    fn parse(pkcs8: Vec<u8>) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).ok()?;
        Some(Self { public: pair.public_key().as_ref().to_vec(), pkcs8 })
    }

    /// Reads a file that [`Key::write`] wrote.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let bad = |why: String| KeyError(format!("{}: {why}", path.display()));
        let text = secret_file::read(path).map_err(|e| bad(e.to_string()))?;
        let pkcs8 = BASE64
            .decode(text.trim())
            .map_err(|_| bad("is not a key file; make one with `trellis keys new`".to_owned()))?;
        Self::parse(pkcs8).ok_or_else(|| bad("is not an Ed25519 key; make one with `trellis keys new`".to_owned()))
    }

    /// Writes the key, readable only by its owner. Fails if the file exists.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{}", BASE64.encode(&self.pkcs8))?;
        file.sync_all()
    }

    /// The public key, in the form of the configuration of other services.
    pub fn public(&self) -> String {
        BASE64.encode(&self.public)
    }
}

/// The identity of a process, and the services that it trusts.
pub struct Identity {
    name: String,
    key: EncodingKey,
    public: Vec<u8>,
    /// The key id for external verifiers.
    key_id: String,
    /// By name, which is also the key id.
    trusted: HashMap<String, (MeshService, DecodingKey)>,
    clock_rng: ClockAndRng,
    /// Callee → the current token, because signing is expensive.
    minted: Mutex<HashMap<String, Minted>>,
    refusals: Refusals,
    skews: Skews,
    /// TLS of connections to peers; `None`: none.
    tls: Option<Arc<MeshTls>>,
}

struct Minted {
    token: HeaderValue,
    issued: Timestamp,
    expires: Timestamp,
}

impl Identity {
    /// The identity `name`, which trusts the services in `trusted` (name → public key in base64).
    pub fn new<'a>(
        name: &str,
        key: &Key,
        trusted: impl IntoIterator<Item = (&'a str, &'a str)>,
        clock_rng: ClockAndRng,
    ) -> Result<Self, KeyError> {
        jwt::install();
        let trusted = trusted
            .into_iter()
            .map(|(name, public)| {
                let bytes = decode_public(name, public)?;
                Ok((name.to_owned(), (MeshService::new(name), DecodingKey::from_ed_der(&bytes))))
            })
            .collect::<Result<_, KeyError>>()?;
        let key_id = caller::thumbprint(&BASE64URL.encode(&key.public));
        let (public, key) = (key.public.clone(), EncodingKey::from_ed_der(&key.pkcs8));
        Ok(Self {
            name: name.to_owned(),
            key,
            public,
            key_id,
            trusted,
            clock_rng,
            minted: Mutex::default(),
            refusals: Refusals::default(),
            skews: Skews::default(),
            tls: None,
        })
    }

    /// Adds TLS between the processes.
    #[must_use]
    pub fn with_tls(self, tls: Arc<MeshTls>) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// TLS between the processes.
    pub fn tls(&self) -> Option<&Arc<MeshTls>> {
        self.tls.as_ref()
    }

    /// The service's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key with which external upstreams verify [`CallerTokens`] (RFC 7517).
    pub fn jwk(&self) -> serde_json::Value {
        caller::jwk(&self.public)
    }

    /// A token for a call to `callee`, as the value of [`SERVICE_TOKEN`].
    pub fn token_for(&self, callee: &str) -> HeaderValue {
        let now = self.clock_rng.now();
        let mut minted = self.minted.lock();
        // After our clock was set back, a cached token would come from the future.
        if let Some(Minted { token, issued, expires }) = minted.get(callee)
            && *issued <= now
            && now + REUSE_MARGIN < *expires
        {
            return token.clone();
        }
        let expires = now + LIFETIME;
        let claims = ServiceClaims {
            sub: self.name.clone(),
            aud: callee.to_owned(),
            iat: now.as_secs(),
            exp: expires.as_secs(),
        };
        let token = jwt::sign(Algorithm::EdDSA, jwt::SERVICE_TYPE, &self.name, &claims, &self.key)
            .expect("the key was parsed when it was read");
        let mut token = HeaderValue::try_from(token).expect("a token is ASCII");
        token.set_sensitive(true);
        minted.insert(callee.to_owned(), Minted { token: token.clone(), issued: now, expires });
        token
    }

    /// Verifies a token for this service. Returns the service that signed it.
    pub fn verify(&self, token: &str) -> Result<MeshService, Rejected> {
        let unknown = |why| {
            self.refusals.refused_unknown(why);
            why
        };
        let name =
            jwt::key_id(token, Algorithm::EdDSA, jwt::SERVICE_TYPE).ok_or_else(|| unknown(Rejected::Malformed))?;
        let (service, key) = self.trusted.get(&name).ok_or_else(|| unknown(Rejected::Signer))?;
        match self.check(token, &name, key) {
            Ok(()) => {
                self.refusals.accepted(&name);
                Ok(service.clone())
            }
            // Any process can write the name: without a valid signature it identifies no peer.
            Err(why @ (Rejected::Signature | Rejected::Malformed)) => Err(unknown(why)),
            Err(why) => {
                self.refusals.refused(&name, why);
                Err(why)
            }
        }
    }

    fn check(&self, token: &str, name: &str, key: &DecodingKey) -> Result<(), Rejected> {
        let verified = jwt::verify::<ServiceClaims>(token, Algorithm::EdDSA, key, &self.name, None);
        let (claims, times) = verified.map_err(|error| Rejected::by(&error))?;
        if claims.sub != name {
            return Err(Rejected::Malformed);
        }
        let now = self.clock_rng.now();
        WINDOW.check(times, now).map_err(|why| match why {
            Untimely::TooLong => Rejected::Malformed,
            Untimely::Early | Untimely::Late => Rejected::Clock { ahead: ahead(times, now.as_secs()) },
        })
    }

    /// The measured clock skews of peers.
    pub fn skews(&self) -> &Skews {
        &self.skews
    }

    /// The clock and the randomness of the process.
    pub fn clock_rng(&self) -> &ClockAndRng {
        &self.clock_rng
    }

    /// The time by our clock.
    pub fn now(&self) -> Timestamp {
        self.clock_rng.now()
    }
}

/// By how many seconds the clock of the token's issuer is ahead of ours, at least. Tokens are reused until
/// [`REUSE_MARGIN`] before they expire, so an older token comes from a clock behind ours.
fn ahead(times: Times, now: i64) -> i64 {
    let margin = i64::try_from(REUSE_MARGIN.as_secs()).unwrap_or(0);
    if times.issued > now { times.issued - now } else { (times.expires - margin - now).min(0) }
}

/// Checks the form of a service's public key.
pub fn check_public(name: &str, public: &str) -> Result<(), KeyError> {
    decode_public(name, public).map(drop)
}

fn decode_public(name: &str, public: &str) -> Result<Vec<u8>, KeyError> {
    let bytes = BASE64.decode(public.trim()).ok().filter(|bytes| bytes.len() == 32);
    bytes.ok_or_else(|| KeyError(format!("the public key of {name} is not an Ed25519 key")))
}

/// Reads `*.pub` of a folder: file name → public key.
pub fn read_trusted(folder: &Path) -> Result<Vec<(String, String)>, KeyError> {
    let bad = |path: &Path, e: io::Error| KeyError(format!("{}: {e}", path.display()));
    let mut keys = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| bad(folder, e))? {
        let path: PathBuf = entry.map_err(|e| bad(folder, e))?.path();
        if path.extension().is_some_and(|e| e == "pub")
            && let Some(name) = path.file_stem().and_then(|s| s.to_str())
        {
            keys.push((name.to_owned(), fs::read_to_string(&path).map_err(|e| bad(&path, e))?));
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{ManualClock, SystemEntropy};

    fn pair() -> (Identity, Identity, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let (auth, users) = pair_on([clock.clone(), clock.clone()]);
        (auth, users, clock)
    }

    /// A pair with a clock each.
    fn pair_on(clocks: [Arc<ManualClock>; 2]) -> (Identity, Identity) {
        let [auth_ambient, users_ambient] =
            clocks.map(|clock| ClockAndRng { clock, entropy: Arc::new(SystemEntropy::default()) });
        let (auth, users) = (Key::generate(), Key::generate());
        let (auth_public, users_public) = (auth.public(), users.public());
        let trusted = [("auth", auth_public.as_str()), ("users", users_public.as_str())];
        let make = |name, key, clock_rng| Identity::new(name, key, trusted, clock_rng).unwrap();
        (make("auth", &auth, auth_ambient), make("users", &users, users_ambient))
    }

    fn token(of: &Identity, callee: &str) -> String {
        of.token_for(callee).to_str().unwrap().to_owned()
    }

    #[test]
    fn token_identifies_its_signer_only_to_its_callee() {
        let (auth, users, _) = pair();
        assert_eq!(users.verify(token(&auth, "users").as_str()), Ok(MeshService::new("auth")));
        assert_eq!(users.verify(token(&auth, "messaging").as_str()), Err(Rejected::Audience));
        assert_eq!(users.verify("no token"), Err(Rejected::Malformed));
    }

    #[test]
    fn token_expires_after_lifetime_and_skew_and_is_renewed() {
        let (auth, users, clock) = pair();
        let first = token(&auth, "users");
        clock.advance(Duration::from_secs(39));
        assert_eq!(token(&auth, "users"), first);
        clock.advance(Duration::from_secs(1));
        assert_ne!(token(&auth, "users"), first);
        clock.advance(Duration::from_secs(79));
        assert!(users.verify(&first).is_ok());
        clock.advance(Duration::from_secs(1));
        assert_eq!(users.verify(&first), Err(Rejected::Clock { ahead: -80 }));
    }

    /// Regression: with clocks 30 s apart no token was valid, and auth lost the client's address.
    #[test]
    fn clocks_may_differ_by_at_most_a_minute() {
        let start = Timestamp::from_micros(1_700_000_000_000_000);
        for (ahead, age, expected) in [
            (30, 0, Ok(MeshService::new("auth"))),
            (-30, 39, Ok(MeshService::new("auth"))),
            (60, 0, Ok(MeshService::new("auth"))),
            (-60, 39, Ok(MeshService::new("auth"))),
            (61, 0, Err(Rejected::Clock { ahead: 61 })),
            (-121, 0, Err(Rejected::Clock { ahead: -81 })),
        ] {
            let (there, here) = (Arc::new(ManualClock::new(start)), Arc::new(ManualClock::new(start)));
            let offset = Duration::from_secs(u64::from(i32::unsigned_abs(ahead)));
            if ahead > 0 {
                there.advance(offset)
            } else {
                here.advance(offset)
            }
            let (auth, users) = pair_on([there.clone(), here.clone()]);
            let token = token(&auth, "users");
            here.advance(Duration::from_secs(age));
            assert_eq!(users.verify(&token), expected, "{ahead} s ahead, {age} s old");
        }
    }

    #[test]
    fn clock_set_back_brings_a_new_token() {
        let (clock, later) = (ManualClock::new(Timestamp::from_micros(0)), Duration::from_secs(3_600));
        clock.advance(later);
        let moving = Arc::new(AdjustableClock { clock, back: std::sync::atomic::AtomicBool::new(false) });
        let clock_rng = ClockAndRng { clock: moving.clone(), entropy: Arc::new(SystemEntropy::default()) };
        let auth = Identity::new("auth", &Key::generate(), [], clock_rng).unwrap();
        let before = token(&auth, "users");
        moving.back.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_ne!(token(&auth, "users"), before, "the old token would be from the future");
    }

    /// A clock that can be set back by half an hour.
    struct AdjustableClock {
        clock: ManualClock,
        back: std::sync::atomic::AtomicBool,
    }

    impl crate::time::Clock for AdjustableClock {
        fn now(&self) -> Timestamp {
            let back = if self.back.load(std::sync::atomic::Ordering::SeqCst) { 1_800 } else { 0 };
            self.clock.now() - Duration::from_secs(back)
        }
    }

    #[test]
    fn untrusted_service_is_rejected() {
        let (_, users, _) = pair();
        let (other, _, _) = pair();
        assert_eq!(users.verify(token(&other, "users").as_str()), Err(Rejected::Signature));
        let unknown = Identity::new("unknown", &Key::generate(), [], ClockAndRng::system()).unwrap();
        assert_eq!(users.verify(token(&unknown, "users").as_str()), Err(Rejected::Signer));
    }
}
