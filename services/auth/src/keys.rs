//! Auth's secrets: the set of keys that sign access tokens, and the key that encrypts refresh tokens.
//!
//! The set is one file, so that each step of a rotation is atomic. A running process checks the file every two seconds
//! and loads a new set without a restart.

mod own;
mod set;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as BASE64URL},
};
use kit::{
    ClockAndRng, Timestamp,
    jwk::Jwk,
    jwt::{AccessClaims, AccessKey},
    secret_file,
    shutdown::Shutdown,
};
use parking_lot::{RwLock, RwLockReadGuard};
use ring::hmac;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::domain::Seal;
pub use own::OwnKeys;
pub use set::{KeyRing, KeyState, PUBLISHED_AFTER, PUBLISHED_BEFORE, Step, TooEarly};

/// The set of keys that sign access tokens.
const ACCESS: &str = "access.keys";
/// 32 bytes, in base64.
const REFRESH: &str = "refresh.key";

/// How often a running process checks the file. File system notifications miss the changed link of a mounted Secret.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The loaded secrets. Clones share them.
#[derive(Clone)]
pub struct Keys(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    /// The version of the file at opening.
    opened: Option<Version>,
    access: RwLock<Access>,
    seal: Seal,
    /// Derives pseudonyms. Its key is the one of `seal`; the algorithm and a prefix of the input separate the two uses.
    pseudonyms: hmac::Key,
}

/// The set, and the key that signs now.
struct Access {
    ring: KeyRing,
    signer: Arc<AccessKey>,
    /// When the set's signing key takes over, if `signer` is another one.
    changes: Option<Instant>,
}

/// Why keys cannot be used; one line for the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeysError(String);

impl Keys {
    /// Creates the missing key files in `folder`, readable by their owner only. Existing files stay.
    pub fn create(folder: &Path) -> Result<(), KeysError> {
        let (clock_rng, bad) = (ClockAndRng::system(), |e| unwritable(folder, &e));
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        created.map_err(|e| bad(secret_file::folder_error(folder, e)))?;
        secret_file::write_new(&folder.join(ACCESS), &KeyRing::generate(clock_rng.now()).to_text()).map_err(bad)?;
        let refresh = Zeroizing::new(BASE64.encode(clock_rng.random::<32>()) + "\n");
        secret_file::write_new(&folder.join(REFRESH), &refresh).map_err(bad)
    }

    /// Whether `folder` has a set of keys.
    pub fn exist(folder: &Path) -> bool {
        // If that cannot be determined, opening it reports why.
        folder.join(ACCESS).try_exists().unwrap_or(true)
    }

    /// Loads the keys in `folder`.
    pub fn open(folder: &Path) -> Result<Self, KeysError> {
        let opened = version(&folder.join(ACCESS));
        let ring = read_ring(folder)?;
        let (seal, pseudonyms) = read_refresh(&folder.join(REFRESH))?;
        let access = RwLock::new(Access { signer: Arc::clone(ring.signing()), ring, changes: None });
        Ok(Self(Arc::new(Shared { folder: folder.to_owned(), opened, access, seal, pseudonyms })))
    }

    /// Takes the next step of a rotation in `folder`, under a lock: of two concurrent rotations, one is refused.
    pub fn rotate(folder: &Path, now: Timestamp, is_forced: bool) -> Result<Result<Step, TooEarly>, KeysError> {
        let _lock = lock(folder)?;
        let mut ring = read_ring(folder)?;
        let step = ring.rotate(now, is_forced);
        if step.is_ok() {
            write_ring(folder, &ring)?;
        }
        Ok(step)
    }

    /// Replaces all keys of access tokens in `folder` by a new one that signs, under the same lock. Returns the ids of
    /// the removed keys.
    pub fn replace(folder: &Path, now: Timestamp) -> Result<Vec<String>, KeysError> {
        let _lock = lock(folder)?;
        let mut ring = read_ring(folder)?;
        let removed = ring.replace(now);
        write_ring(folder, &ring)?;
        Ok(removed)
    }

    /// Reads the set of keys in `folder` for display.
    pub fn read(folder: &Path) -> Result<KeyRing, KeysError> {
        read_ring(folder)
    }

    /// Signs an access token.
    pub(crate) fn sign(&self, claims: &AccessClaims) -> Result<String, impl std::error::Error + use<>> {
        let signer = Arc::clone(&self.access().signer);
        signer.sign(claims)
    }

    pub(crate) fn seal(&self) -> &Seal {
        &self.0.seal
    }

    /// The key that opens the mailbox. Only a reader of these secrets, or of the process's terminal, knows it.
    pub fn mailbox_key(&self) -> String {
        BASE64URL.encode(self.pseudonym("mailbox key"))
    }

    /// Whether `key` opens the mailbox. Compares keyed hashes, so that the time reveals nothing of the key.
    pub(crate) fn opens_mailbox(&self, key: &str) -> bool {
        self.pseudonym(key) == self.pseudonym(&self.mailbox_key())
    }

    /// A keyed hash of `text`: equal for equal texts, and of no use without these secrets.
    pub(crate) fn pseudonym(&self, text: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0.pseudonyms);
        context.update(b"trellis pseudonym ");
        context.update(text.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
    }

    /// The public keys, the one that signs first.
    pub fn jwks(&self) -> Vec<Jwk> {
        self.access().ring.jwks()
    }

    /// Loads changes of the file until the process ends. A key that was not published before signs only after
    /// `publication`, in which every verifier fetches the set, provided that the previous key may sign meanwhile.
    pub(crate) async fn follow(self, publication: Duration, shutdown: Shutdown) {
        let following = async {
            let path = self.0.folder.join(ACCESS);
            let mut seen = self.0.opened;
            self.count();
            loop {
                sleep(CHECK_INTERVAL).await;
                self.promote();
                let now = version(&path);
                // A missing file is being replaced.
                if now.is_none() || now == seen {
                    continue;
                }
                seen = now;
                match read_ring(&self.0.folder) {
                    Ok(ring) => self.take_over(ring, publication),
                    Err(error) => {
                        tracing::error!(%error, "the access token keys cannot be reloaded; the old ones stay in use")
                    }
                }
            }
        };
        tokio::select! {
            () = following => {}
            () = shutdown.cut() => {}
        }
    }

    fn take_over(&self, ring: KeyRing, publication: Duration) {
        let mut access = self.0.access.write();
        let wanted = Arc::clone(ring.signing());
        let is_known = access.ring.find(&wanted.jwk().kid).is_some() && access.changes.is_none();
        let may_go_on = ring.find(&access.signer.jwk().kid).is_some();
        if is_known || !may_go_on {
            (access.signer, access.changes) = (wanted, None);
        } else {
            access.changes = Some(Instant::now() + publication);
        }
        access.ring = ring;
        let signing = access.signer.jwk().kid.clone();
        drop(access);
        self.count();
        tracing::info!(signing, "the access token keys were reloaded");
    }

    /// Switches to the set's signing key after it was published for long enough.
    fn promote(&self) {
        if self.access().changes.is_none_or(|at| Instant::now() < at) {
            return;
        }
        let mut access = self.0.access.write();
        (access.signer, access.changes) = (Arc::clone(access.ring.signing()), None);
        tracing::info!(signing = access.signer.jwk().kid, "a new key signs access tokens");
    }

    fn count(&self) {
        let access = self.access();
        for state in [KeyState::Next, KeyState::Signing, KeyState::Retiring] {
            let count = u32::try_from(access.ring.count(state)).unwrap_or(u32::MAX);
            metrics::gauge!("auth_access_keys", "state" => state.name()).set(count);
        }
    }

    fn access(&self) -> RwLockReadGuard<'_, Access> {
        self.0.access.read()
    }
}

/// Identifies a version of a file: modification time, length, and inode.
type Version = (SystemTime, u64, u64);

fn version(path: &Path) -> Option<Version> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

fn unwritable(folder: &Path, error: &io::Error) -> KeysError {
    KeysError(format!("{} cannot be written: {error}", folder.display()))
}

fn read_ring(folder: &Path) -> Result<KeyRing, KeysError> {
    let path = folder.join(ACCESS);
    read(&path, KeyRing::parse)
}

fn write_ring(folder: &Path, ring: &KeyRing) -> Result<(), KeysError> {
    secret_file::replace(&folder.join(ACCESS), &ring.to_text()).map_err(|e| unwritable(folder, &e))
}

/// Locks `folder` against other changes, until the returned file is dropped.
fn lock(folder: &Path) -> Result<fs::File, KeysError> {
    let opened = fs::File::open(folder).map_err(|e| KeysError(format!("{}: {e}", folder.display())))?;
    let taken = |_| KeysError(format!("{}: another process is changing these keys; try again", folder.display()));
    opened.try_lock().map_err(taken)?;
    Ok(opened)
}

fn read_refresh(path: &Path) -> Result<(Seal, hmac::Key), KeysError> {
    read(path, |text| {
        let key = BASE64.decode(text.trim()).map(Zeroizing::new).map_err(|_| "is not a key file")?;
        let seal = Seal::new(&key).ok_or("does not contain a 32-byte key in base64")?;
        Ok((seal, hmac::Key::new(hmac::HMAC_SHA256, &key)))
    })
}

fn read<T>(path: &Path, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, KeysError> {
    let folder = path.parent().unwrap_or(Path::new("DIR")).display();
    let bad = |why: &str| {
        KeysError(format!("{}: {why}; create keys with `trellis keys auth --out {folder}`", path.display()))
    };
    let exposed = |e: secret_file::SecretFileError| match e {
        secret_file::SecretFileError::Exposed { .. } => KeysError(format!("{}: {e}", path.display())),
        secret_file::SecretFileError::Io(_) => bad(&e.to_string()),
    };
    parse(&secret_file::read(path).map_err(exposed)?).map_err(|why| bad(&why))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

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
}
