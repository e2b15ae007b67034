use kit::telemetry;
use tempfile::TempDir;

use super::*;
use crate::keys::Peppers;

fn config(threads: usize, known: usize, unknown: usize) -> Config {
    Config { hashing_threads: threads, hashing_queue: unknown, hashing_queue_known: known, ..Config::default() }
}

/// A hasher without peppers.
fn hasher(threads: usize, known: usize, unknown: usize) -> Hasher {
    let folder = TempDir::new().unwrap();
    Keys::create(folder.path()).unwrap();
    let keys = Keys::open(folder.path()).unwrap();
    Hasher::new(&config(threads, known, unknown), keys, ClockAndRng::system())
}

fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

#[tokio::test]
async fn only_the_right_password_is_verified() {
    let hasher = self::hasher(1, 4, 4);
    let hashed = hasher.hash(password("correct horse"), Queue::Unknown).await.unwrap();
    assert!(hashed.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hashed.0);
    assert!(!hasher.is_outdated(&hashed));
    let verify = async |text, hashed| hasher.verify(password(text), hashed, Queue::Unknown).await.unwrap();
    assert_eq!(verify("correct horse", Some(hashed.clone())).await, Verified::Right);
    assert_eq!(verify("wrong", Some(hashed)).await, Verified::Wrong);
    assert_eq!(verify("wrong", None).await, Verified::Wrong);
    assert_eq!(verify("", Some(PasswordHash(String::new()))).await, Verified::Wrong, "there is no password");
}

#[tokio::test]
async fn password_is_the_same_in_every_normalization_form() {
    let hasher = self::hasher(1, 4, 4);
    let (composed, decomposed) = ("Gr\u{fc}\u{df}e aus K\u{f6}ln", "Gru\u{308}\u{df}e\u{a0}aus Ko\u{308}ln");
    for (one, other) in [(composed, decomposed), (decomposed, composed)] {
        let hashed = hasher.hash(password(one), Queue::Unknown).await.unwrap();
        let verified = hasher.verify(password(other), Some(hashed), Queue::Unknown).await.unwrap();
        assert_eq!(verified, Verified::Right);
    }
    let before = stored::hash(decomposed.as_bytes(), &[7; SALT_BYTES], Argon2Config::default(), None);
    let before = PasswordHash(before);
    let verify = async |text, hashed| hasher.verify(password(text), hashed, Queue::Unknown).await.unwrap();
    assert_eq!(verify(decomposed, Some(before.clone())).await, Verified::RightAsSent);
    assert_eq!(verify(composed, Some(before)).await, Verified::Wrong);
    assert_eq!(verify(decomposed, None).await, Verified::Wrong);
}

/// Waits for a line of the metrics, because other tests of this process hash passwords too.
async fn is_shown(line: &str) {
    let metrics = telemetry::metrics();
    for _ in 0..500 {
        if metrics.render().lines().any(|shown| shown == line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{line} is not in the metrics: {}", metrics.render());
}

#[tokio::test(flavor = "multi_thread")]
async fn password_beyond_the_queue_limit_is_refused() {
    // Install the recorder first: counts without a recorder are lost.
    telemetry::metrics();
    let hasher = Arc::new(self::hasher(1, 1, 1));
    let held = Arc::clone(&hasher.working).acquire_owned().await.unwrap();
    let one =
        |hasher: Arc<Hasher>| tokio::spawn(async move { hasher.hash(password("correct horse"), Queue::Unknown).await });
    let waiting = [one(Arc::clone(&hasher)), one(Arc::clone(&hasher))];
    while hasher.unknown.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let refused = hasher.hash(password("correct horse"), Queue::Unknown).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    is_shown(r#"auth_hashes{state="waiting",queue="unknown"} 2"#).await;
    drop(held);
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    is_shown(r#"auth_hashes{state="waiting",queue="unknown"} 0"#).await;
    is_shown(r#"auth_hashes{state="running",queue="unknown"} 0"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_thread_is_reserved_for_known_networks() {
    let hasher = Arc::new(self::hasher(2, 1, 8));
    // Fills the unknown queue with tasks that do not end.
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let strangers: Vec<_> = (0..10)
        .map(|_| {
            let (hasher, held) = (Arc::clone(&hasher), Arc::clone(&held));
            tokio::spawn(async move { hasher.work(Queue::Unknown, 1, move || held.lock().unwrap().recv()).await })
        })
        .collect();
    while hasher.unknown.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let refused = hasher.hash(password("correct horse"), Queue::Unknown).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    hasher.hash(password("correct horse"), Queue::Known).await.unwrap();
    drop(release);
    for stranger in strangers {
        assert!(stranger.await.unwrap().unwrap().is_err(), "it ends when it is released");
    }
}

#[tokio::test]
async fn hash_of_another_cost_or_pepper_is_outdated() {
    let folder = TempDir::new().unwrap();
    Keys::create(folder.path()).unwrap();
    let at = |argon2, peppers: &Peppers| {
        let keys = Keys::open_with(folder.path(), Some(peppers.clone())).unwrap();
        Hasher::new(&Config { argon2, ..config(1, 4, 4) }, keys, ClockAndRng::system())
    };
    let (now, cost) = (ClockAndRng::system().now(), Argon2Config::default());
    let costlier = Argon2Config { passes: 3, ..cost };
    let without = Peppers::default();
    let mut with = Peppers::default();
    with.rotate([1; 32], now, true).unwrap();
    let mut rotated = with.clone();
    rotated.rotate([2; 32], now, true).unwrap();
    let settings = [(cost, &without), (costlier, &without), (cost, &with), (cost, &rotated)];
    for (made, (argon2, peppers)) in settings.into_iter().enumerate() {
        let hashed = at(argon2, peppers).hash(password("correct horse"), Queue::Known).await.unwrap();
        for (read, (argon2, peppers)) in settings.into_iter().enumerate() {
            let hasher = at(argon2, peppers);
            assert_eq!(hasher.is_outdated(&hashed), made != read, "{made} at {read}: {}", hashed.0);
            let has_pepper = made < 2 || read == 3 || made == read;
            let verified = hasher.verify(password("correct horse"), Some(hashed.clone()), Queue::Known).await;
            match verified {
                Ok(verified) => assert!(has_pepper && verified == Verified::Right, "{made} at {read}: {verified:?}"),
                Err(status) => assert!(!has_pepper && status.code() == tonic::Code::Unavailable, "{made} at {read}"),
            }
        }
    }
}

/// Two hashes that need the memory of two places each run one after another.
#[tokio::test(flavor = "multi_thread")]
async fn larger_hash_takes_several_places() {
    let hasher = Arc::new(self::hasher(3, 4, 4));
    let (release, held) = std::sync::mpsc::channel::<()>();
    let of = Arc::clone(&hasher);
    let running = tokio::spawn(async move { of.work(Queue::Known, 2, move || held.recv()).await });
    while hasher.working.available_permits() > 1 {
        tokio::task::yield_now().await;
    }
    hasher.hash(password("correct horse"), Queue::Known).await.unwrap();
    let of = Arc::clone(&hasher);
    let waiting = tokio::spawn(async move { of.work(Queue::Known, 2, || ()).await });
    while hasher.known.available_permits() > 5 {
        tokio::task::yield_now().await;
    }
    assert!(!waiting.is_finished());
    drop(release);
    assert!(running.await.unwrap().unwrap().is_err(), "it ends when it is released");
    waiting.await.unwrap().unwrap();
}
