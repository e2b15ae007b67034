use std::os::unix::fs::PermissionsExt as _;

use kit::config::Secret;

use super::*;
use crate::{
    config::Config,
    domain::{AccountId, FactorId},
};

fn refusal(folder: &Path) -> String {
    Keys::open(folder).err().expect("the keys cannot be used").to_string()
}

#[test]
fn keys_are_created_once_and_readable_by_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("keys");
    let together: Vec<_> = (0..8)
        .map(|_| {
            let folder = folder.clone();
            std::thread::spawn(move || {
                Keys::create(&folder).unwrap();
                Keys::open(&folder).unwrap().jwks()
            })
        })
        .collect();
    let mut jwks: Vec<_> = together.into_iter().map(|one| one.join().unwrap()).collect();
    Keys::create(&folder).unwrap();
    jwks.push(Keys::open(&folder).unwrap().jwks());
    assert!(jwks.windows(2).all(|pair| pair[0] == pair[1]), "all load the key that was created first");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "no temporary file is left: {files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600));
}

#[test]
fn error_names_the_unusable_file_and_its_fix_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let missing = refusal(folder);
    assert!(missing.contains("access.keys") && missing.contains("`trellis keys auth --out /"), "{missing}");
    Keys::create(folder).unwrap();
    for (file, bad) in [(REFRESH, "no base64!"), (REFRESH, "c2hvcnQ="), (ACCESS, "signing 0 c2hvcnQ=")] {
        fs::write(folder.join(file), bad).unwrap();
        let text = refusal(folder);
        assert!(text.contains(file) && !text.contains(bad) && !text.contains('\n'), "{text}");
    }
}

fn kid(keys: &Keys) -> String {
    keys.access().signer.jwk().kid.clone()
}

#[test]
fn keys_that_others_may_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    Keys::create(folder.path()).unwrap();
    for file in [ACCESS, REFRESH] {
        let path = folder.path().join(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let text = refusal(folder.path());
        assert!(text.contains(file) && text.contains("chmod 600"), "{text}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
        Keys::open(folder.path()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn key_signs_only_after_it_was_published() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    Keys::create(folder).unwrap();
    let keys = Keys::open(folder).unwrap();
    let (first, publication) = (kid(&keys), Duration::from_secs(30));
    tokio::spawn(keys.clone().follow(publication, Shutdown::new()));
    // Step by step: the next key is published already, and signs as soon as it is promoted.
    let rotate = || Keys::rotate(folder, ClockAndRng::system().now(), true).unwrap().unwrap();
    let Step::Added(second) = rotate() else { panic!("a key is added") };
    sleep(2 * CHECK_INTERVAL).await;
    assert_eq!((kid(&keys), keys.jwks().len()), (first.clone(), 2));
    rotate();
    sleep(2 * CHECK_INTERVAL).await;
    assert_eq!((kid(&keys), keys.jwks().len()), (second.clone(), 2));
    rotate();
    sleep(2 * CHECK_INTERVAL).await;
    assert_eq!((kid(&keys), keys.jwks().len()), (second.clone(), 1));
    // Two steps at once: the new key is published first, while the old one signs.
    rotate();
    rotate();
    sleep(2 * CHECK_INTERVAL).await;
    assert_eq!((kid(&keys), keys.jwks().len()), (second.clone(), 2));
    sleep(publication).await;
    assert_ne!(kid(&keys), second);
    // All steps of a rotation at once: no other key may sign.
    let third = kid(&keys);
    for _ in 0..4 {
        rotate();
    }
    sleep(2 * CHECK_INTERVAL).await;
    assert!(kid(&keys) != third && keys.jwks().len() == 1);
}

#[tokio::test(start_paused = true)]
async fn changed_peppers_are_loaded_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    Keys::create(folder).unwrap();
    let keys = Keys::open(folder).unwrap();
    tokio::spawn(keys.clone().follow(Duration::from_secs(30), Shutdown::new()));
    let current = || keys.peppers().current().map(|pepper| pepper.id().to_owned());
    let rotate = || Peppers::rotate_in(folder, ClockAndRng::system().now(), true).unwrap().unwrap();
    assert_eq!(current(), None);
    let PepperStep::Used(first) = rotate() else { panic!("the pepper is in use") };
    assert_eq!(Peppers::read(folder).unwrap().list().count(), 1);
    sleep(2 * CHECK_INTERVAL).await;
    assert_eq!(current(), Some(first.clone()));
    let PepperStep::Used(second) = rotate() else { panic!("the pepper is in use") };
    sleep(2 * CHECK_INTERVAL).await;
    assert_eq!((current(), keys.peppers().list().count()), (Some(second.clone()), 2));
    // An unreadable file changes nothing.
    fs::write(folder.join(PEPPERS), "no set of peppers").unwrap();
    sleep(2 * CHECK_INTERVAL).await;
    assert_eq!(current(), Some(second));
    let text = refusal(folder);
    assert!(text.contains("peppers.keys") && text.contains("restore the file") && !text.contains('\n'), "{text}");
}

#[test]
fn peppers_of_the_configuration_replace_the_file() {
    let folder = tempfile::tempdir().unwrap();
    Keys::create(folder.path()).unwrap();
    let now = ClockAndRng::system().now();
    let PepperStep::Used(id) = Peppers::rotate_in(folder.path(), now, true).unwrap().unwrap() else { panic!("used") };
    let text = fs::read_to_string(folder.path().join(PEPPERS)).unwrap();
    let command = ["sh", "-c", "cat \"$0\"", folder.path().join(PEPPERS).to_str().unwrap()].map(str::to_owned);
    let none = Config::default();
    let by_text = Config { peppers: Secret::from(text.clone()), ..Config::default() };
    let by_command = Config { peppers_command: command.to_vec(), ..Config::default() };
    assert!(Peppers::configured(&none).unwrap().is_none());
    for config in [&by_text, &by_command] {
        let peppers = Peppers::configured(config).unwrap().unwrap();
        let keys = Keys::open_with(folder.path(), Some(peppers)).unwrap();
        assert_eq!(keys.peppers().current().map(Pepper::id), Some(id.as_str()));
    }
    let failing = |command: &[&str]| {
        let peppers_command = command.iter().map(|one| (*one).to_owned()).collect();
        Peppers::configured(&Config { peppers_command, ..Config::default() }).unwrap_err().to_string()
    };
    for (command, expected) in [
        (&["sh", "-c", "exit 3"][..], "exit status: 3"),
        (&["/no/such/program"], "/no/such/program"),
        (&["echo", "current 0 c2hvcnQ="], "32 bytes"),
        (&["true"], "no pepper"),
    ] {
        let text = failing(command);
        assert!(text.starts_with("auth.peppers_command: ") && text.contains(expected), "{text}");
    }
    let both = Config { peppers: Secret::from(text), ..by_command };
    assert!(Peppers::configured(&both).unwrap_err().to_string().contains("only one"));
}

#[test]
fn secret_of_a_factor_opens_for_its_account_only() {
    let folder = tempfile::tempdir().unwrap();
    Keys::create(folder.path()).unwrap();
    let (keys, clock_rng) = (Keys::open(folder.path()).unwrap(), ClockAndRng::system());
    let [one, two] = [1, 2].map(uuid::Uuid::from_u128);
    let binding = |factor, account| FactorId(factor).binding(AccountId(account));
    let sealed = keys.factor_seal().seal_text("secret", &binding(one, two), &clock_rng);
    assert!(!sealed.windows(6).any(|part| part == b"secret"));
    assert_eq!(keys.factor_seal().open_text(&sealed, &binding(one, two)).as_deref(), Some("secret"));
    assert_eq!(keys.factor_seal().open_text(&sealed, &binding(two, one)), None);
    assert_eq!(keys.seal().open_text(&sealed, &binding(one, two)), None, "it is another key");
    let reopened = Keys::open(folder.path()).unwrap();
    assert!(reopened.factor_seal().open_text(&sealed, &binding(one, two)).is_some());
}

/// Secrets of apps are kept for years: the derived key must stay the same.
#[test]
fn derived_key_has_its_golden_form() {
    let folder = tempfile::tempdir().unwrap();
    Keys::create(folder.path()).unwrap();
    fs::write(folder.path().join(REFRESH), BASE64.encode([7; 32])).unwrap();
    let keys = Keys::open(folder.path()).unwrap();
    let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), b"trellis second factors");
    let sealed = Seal::new(derived.as_ref()).unwrap().seal_text("secret", b"of", &ClockAndRng::system());
    assert_eq!(keys.factor_seal().open_text(&sealed, b"of").as_deref(), Some("secret"));
}
