//! Rotates and replaces the keys of access tokens in a mesh: two replicas of auth, of which one takes each step later
//! than the other.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL},
};
use kit::jwt::AccessKey;
use proto::{auth::v1::RefreshTokenRequest, messaging::v1::ListConversationsRequest};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tonic::Request;

use super::{
    harness::{Mesh, Person, Ports, fresh_database, reason},
    split::{make_keys, prepared},
    web,
};

/// How often verifiers fetch the key set in this test. Auth checks its file every two seconds.
const REFRESH: Duration = Duration::from_millis(500);
/// The timeout on a busy machine.
const NOTICED: Duration = Duration::from_secs(60);

const MANY_CALLS: &str = r#"
[gateway.rate_limits.overrides.many]
methods = ["trellis.messaging.v1.MessagingService/ListConversations"]
limits = [{ requests = 100000, period = "60s" }]
"#;

/// A mesh of processes with two replicas of auth, each with its own folder of secrets.
struct Bench {
    gateway: Mesh,
    auths: [Mesh; 2],
    folders: [PathBuf; 2],
    _others: Vec<Mesh>,
    _keys: TempDir,
}

impl Bench {
    async fn start() -> Self {
        let (keys, database) = (make_keys(), fresh_database().await);
        let folders = [0, 1].map(|replica| keys.path().join(format!("auth-{replica}")));
        for folder in &folders {
            fs::create_dir(folder).unwrap();
            for file in ["access.keys", "refresh.key"] {
                fs::copy(keys.path().join("auth").join(file), folder.join(file)).unwrap();
            }
        }
        let ports = [0, 1].map(|_| Ports::free());
        let auth = format!("http://127.0.0.1:{},http://127.0.0.1:{}", ports[0].auth, ports[1].auth);
        let start = |part: &str, ports: Ports, folder: &Path| {
            let mut process = prepared(part, ports, keys.path(), &database);
            process.set("PEERS__AUTH", &auth);
            process.set("AUTH__KEYS_DIR", folder.to_str().unwrap());
            process.set("IDENTITY__KEYS_REFRESH", &format!("{}ms", REFRESH.as_millis()));
            process.set("GATEWAY__TRUSTED_PROXIES", "127.0.0.1/32");
            let file = process.folder().join("trellis.toml");
            fs::write(&file, MANY_CALLS).unwrap();
            process.set("CONFIG", file.to_str().unwrap());
            process.launch();
            process
        };
        let others = ["users", "messaging"].map(|part| start(part, ports[0], &folders[0]));
        // The second replica uses the first one's users and messaging.
        let second = Ports { users: ports[0].users, messaging: ports[0].messaging, ..ports[1] };
        let auths = [start("auth", ports[0], &folders[0]), start("auth", second, &folders[1])];
        let mut gateway = start("gateway", ports[0], &folders[0]);
        gateway.ready(ports[0].gateway).await;
        Self { gateway, auths, folders, _others: others.into(), _keys: keys }
    }

    /// Takes a step at the first replica, and some time later at the second.
    async fn step(&self) {
        rotate(&self.folders[0]);
        self.distribute().await;
    }

    /// Waits until the first replica has taken its file over, and brings the file to the second.
    async fn distribute(&self) {
        self.has_taken_over(0).await;
        tokio::time::sleep(4 * REFRESH).await;
        bring(&self.folders[0], &self.folders[1]);
        self.has_taken_over(1).await;
        // Every verifier has fetched the key set by then.
        tokio::time::sleep(4 * REFRESH).await;
    }

    /// Waits until the replica publishes the keys of its file.
    async fn has_taken_over(&self, replica: usize) {
        let wanted = states(&self.folders[replica]);
        let started = Instant::now();
        loop {
            let response = web::get(self.auths[replica].ports.admin, "/metrics").await.unwrap();
            let text = String::from_utf8(response.body.to_vec()).unwrap();
            let count = |state: &str| {
                let line = format!("auth_access_keys{{state=\"{state}\"}} ");
                text.lines().find_map(|found| found.strip_prefix(&line)).map(|count| count.parse().unwrap())
            };
            if ["next", "signing", "retiring"].map(|state| count(state).unwrap_or(0)) == wanted {
                return;
            }
            assert!(started.elapsed() < NOTICED, "replica {replica} never has {wanted:?}:\n{text}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn rotate(folder: &Path) {
    change(folder, &["rotate", "--now"]);
}

/// Runs a command of `trellis keys` that changes the set.
fn change(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trellis"));
    let output = command.arg("keys").args(arguments).arg("--dir").arg(folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("next: copy the file to every replica of auth"), "{output:?}");
}

/// Replaces the file atomically, as Kubernetes replaces a Secret.
fn bring(from: &Path, to: &Path) {
    fs::copy(from.join("access.keys"), to.join("unfinished")).unwrap();
    fs::rename(to.join("unfinished"), to.join("access.keys")).unwrap();
}

/// How many keys are next, signing, and retiring.
fn states(folder: &Path) -> [usize; 3] {
    let text = fs::read_to_string(folder.join("access.keys")).unwrap();
    ["next ", "signing ", "retiring "].map(|state| text.lines().filter(|line| line.starts_with(state)).count())
}

/// Tokens with the claims of `token`, one signed by each key in the folder: a thief of the file can sign them.
fn forged(folder: &Path, token: &str) -> Vec<String> {
    let claims = BASE64URL.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims = serde_json::from_slice(&claims).unwrap();
    let text = fs::read_to_string(folder.join("access.keys")).unwrap();
    let keys = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit(' ').next().unwrap());
    keys.map(|key| AccessKey::from_pkcs8(&BASE64.decode(key).unwrap()).unwrap().sign(&claims).unwrap()).collect()
}

/// Adds a key as `next` to a set without one, as an operator who merges two files does.
fn add_next(folder: &Path) {
    let other = make_keys();
    let added = fs::read_to_string(other.path().join("auth/access.keys")).unwrap();
    let added = added.lines().find(|line| line.starts_with("signing ")).unwrap().replacen("signing", "next", 1);
    let text = fs::read_to_string(folder.join("access.keys")).unwrap();
    fs::write(folder.join("unfinished"), format!("{text}{added}\n")).unwrap();
    fs::set_permissions(folder.join("unfinished"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(folder.join("unfinished"), folder.join("access.keys")).unwrap();
}

/// The id of the key that signed a token.
fn kid(token: &str) -> String {
    let header = BASE64URL.decode(token.split('.').next().unwrap()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

/// Calls with every fresh token, and with the previous one.
async fn use_tokens(
    number: usize,
    mut person: Person,
    on: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
) {
    for round in 0_usize.. {
        if !on.load(Ordering::SeqCst) {
            return;
        }
        let refresh_token = person.tokens.refresh_token.clone();
        let mut request = Request::new(RefreshTokenRequest { refresh_token });
        // Refreshes are limited by address.
        let address = format!("10.{number}.{}.{}", round / 250, round % 250 + 1);
        request.metadata_mut().insert("x-forwarded-for", address.parse().unwrap());
        let refreshed = person.auth().refresh_token(request).await;
        let next = match refreshed {
            Ok(response) => person.signed_in_as(response.into_inner().tokens.unwrap()),
            Err(status) => return failures.lock().unwrap().push(format!("RefreshToken: {status:?}")),
        };
        for with in [&person, &next] {
            let request = with.request(ListConversationsRequest::default());
            if let Err(status) = with.messaging().list_conversations(request).await {
                failures.lock().unwrap().push(format!("by {}: {status:?}", kid(&with.tokens.access_token)));
            }
            calls.fetch_add(1, Ordering::SeqCst);
        }
        person = next;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A regression: with one of two replicas rotated, 46 of 105 fresh tokens were refused, and a token of the old key that
/// was used once stayed valid forever.
#[tokio::test(flavor = "multi_thread")]
async fn key_is_rotated_under_load_without_a_rejected_token() {
    let bench = Bench::start().await;
    let (on, calls) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    let failures = Arc::new(Mutex::new(Vec::new()));
    let witness = bench.gateway.sign_up("witness").await;
    let first = kid(&witness.tokens.access_token);
    let send =
        async || witness.messaging().list_conversations(witness.request(ListConversationsRequest::default())).await;
    send().await.unwrap();
    let mut load = JoinSet::new();
    for number in 0..4 {
        let person = bench.gateway.sign_up(&format!("person_{number}")).await;
        load.spawn(use_tokens(number, person, Arc::clone(&on), Arc::clone(&calls), Arc::clone(&failures)));
    }

    bench.step().await;
    assert_eq!(states(&bench.folders[1]), [1, 1, 0]);
    bench.step().await;
    assert_eq!(states(&bench.folders[1]), [0, 1, 1]);
    send().await.expect("a token of the retiring key is valid until it expires");
    let fresh = bench.gateway.sign_up("fresh").await;
    let second = kid(&fresh.tokens.access_token);
    assert_ne!(second, first, "another key signs");
    bench.step().await;
    assert_eq!(states(&bench.folders[1]), [0, 1, 0]);

    on.store(false, Ordering::SeqCst);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    let failures = std::mem::take(&mut *failures.lock().unwrap());
    let calls = calls.load(Ordering::SeqCst);
    assert!(
        failures.is_empty() && calls > 100,
        "{} failures of {calls} calls: {:#?}",
        failures.len(),
        failures.first()
    );

    // The gateway and messaging have both verified this token before.
    let refused = send().await.unwrap_err();
    assert_eq!(reason(&refused), "TOKEN_INVALID", "{refused:?}");
    fresh.messaging().list_conversations(fresh.request(ListConversationsRequest::default())).await.unwrap();
}

/// A regression: the three runs of `rotate --now` that the documentation required left a stolen key trusted if the set
/// had a `next` or a `retiring` key.
#[tokio::test(flavor = "multi_thread")]
async fn replacement_invalidates_the_tokens_of_all_old_keys() {
    let bench = Bench::start().await;
    bench.step().await;
    bench.step().await;
    add_next(&bench.folders[0]);
    bench.distribute().await;
    assert_eq!(states(&bench.folders[1]), [1, 1, 1]);
    let user = bench.gateway.sign_up("user").await;
    let send = async |token: &str| {
        let mut request = Request::new(ListConversationsRequest::default());
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        user.messaging().list_conversations(request).await
    };
    let stolen = forged(&bench.folders[0], &user.tokens.access_token);
    assert_eq!(stolen.len(), 3);
    for token in &stolen {
        send(token).await.expect("a token of each key is valid, whatever the key's state");
    }

    change(&bench.folders[0], &["replace"]);
    bench.distribute().await;
    assert_eq!(states(&bench.folders[1]), [0, 1, 0]);
    for token in stolen.iter().chain([&user.tokens.access_token]) {
        let refused = send(token).await.unwrap_err();
        assert_eq!(reason(&refused), "TOKEN_INVALID", "signed by {}: {refused:?}", kid(token));
    }
    let request = RefreshTokenRequest { refresh_token: user.tokens.refresh_token.clone() };
    let refreshed = user.auth().refresh_token(Request::new(request)).await.unwrap().into_inner().tokens.unwrap();
    send(&refreshed.access_token).await.expect("the session continues with a token of the new key");
}

#[test]
fn early_rotation_step_states_the_remaining_wait() {
    let keys = make_keys();
    let folder = keys.path().join("auth");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trellis"));
        command.args(["keys"]).args(arguments).arg("--dir").arg(&folder).output().unwrap()
    };
    let output = String::from_utf8(run(&["rotate"]).stdout).unwrap();
    assert!(output.contains("is next") && output.contains("again after 10m"), "{output}");
    let early = run(&["rotate"]);
    let error_line = String::from_utf8(early.stderr).unwrap();
    assert!(!early.status.success() && error_line.lines().count() == 1, "{error_line}");
    assert!(error_line.contains("run this again in ") && error_line.contains("--now"), "{error_line}");
    assert_eq!(states(&folder), [1, 1, 0], "nothing has changed");
    let listed = String::from_utf8(run(&["list"]).stdout).unwrap();
    assert!(listed.lines().count() == 2 && listed.contains("signing") && listed.contains("next"), "{listed}");
    let secret = fs::read_to_string(folder.join("access.keys")).unwrap();
    let secret = secret.lines().last().unwrap().rsplit(' ').next().unwrap().to_owned();
    assert!(!listed.contains(&secret), "the list contains no secret");
}
