//! Auth's secrets: the set of keys that sign access tokens, the key that encrypts refresh tokens, and the peppers of
//! password hashes.
//!
//! Each set is one file, so that each step of a rotation is atomic. A running process checks the files every two seconds
//! and loads a new set without a restart.

mod own;
mod pepper_source;
mod peppers;
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
use pepper_source::PEPPERS;
pub(crate) use peppers::Pepper;
pub use peppers::{Kept, PepperState, PepperStep, Peppers};
pub use set::{KeyRing, KeyState, PUBLISHED_AFTER, PUBLISHED_BEFORE, Step, TooEarly};

/// The set of keys that sign access tokens.
const ACCESS: &str = "access.keys";
/// 32 bytes, in base64.
const REFRESH: &str = "refresh.key";
/// The name of the key that encrypts the secrets of second factors, as the input of its derivation.
const FACTOR_SUBKEY: &[u8] = b"trellis second factors";

/// How often a running process checks the file. File system notifications miss the changed link of a mounted Secret.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The loaded secrets. Clones share them.
#[derive(Clone)]
pub struct Keys(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    /// The versions of the files of both sets at opening.
    opened: [Option<Version>; 2],
    access: RwLock<Access>,
    seal: Seal,
    /// Encrypts the secrets of second factors, with a key that is derived from the one of `seal`.
    factor_seal: Seal,
    peppers: RwLock<Arc<Peppers>>,
    /// Whether the peppers are those of the file. Those of the configuration do not change.
    has_pepper_file: bool,
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

    /// Loads the secrets in `folder`.
    pub fn open(folder: &Path) -> Result<Self, KeysError> {
        Self::open_with(folder, None)
    }

    /// Loads the secrets in `folder`, with the peppers of the configuration instead of those of the file.
    pub fn open_with(folder: &Path, peppers: Option<Peppers>) -> Result<Self, KeysError> {
        let opened = [ACCESS, PEPPERS].map(|file| version(&folder.join(file)));
        let has_pepper_file = peppers.is_none();
        let peppers = peppers.map_or_else(|| Peppers::read(folder), Ok)?;
        let ring = read_ring(folder)?;
        let (seal, factor_seal, pseudonyms) = read_refresh(&folder.join(REFRESH))?;
        let access = RwLock::new(Access { signer: Arc::clone(ring.signing()), ring, changes: None });
        let peppers = RwLock::new(Arc::new(peppers));
        let folder = folder.to_owned();
        let shared = Shared { folder, opened, access, seal, factor_seal, peppers, has_pepper_file, pseudonyms };
        Ok(Self(Arc::new(shared)))
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

    /// The peppers in force.
    pub(crate) fn peppers(&self) -> Arc<Peppers> {
        Arc::clone(&self.0.peppers.read())
    }

    pub(crate) fn seal(&self) -> &Seal {
        &self.0.seal
    }

    pub(crate) fn factor_seal(&self) -> &Seal {
        &self.0.factor_seal
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
            let [mut seen, mut seen_peppers] = self.0.opened;
            self.count();
            loop {
                sleep(CHECK_INTERVAL).await;
                self.promote();
                self.reload_peppers(&mut seen_peppers);
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

    /// Loads a changed file of peppers. `seen` is the version that was read last.
    fn reload_peppers(&self, seen: &mut Option<Version>) {
        let now = version(&self.0.folder.join(PEPPERS));
        // A missing file is being replaced.
        if !self.0.has_pepper_file || now.is_none() || now == *seen {
            return;
        }
        *seen = now;
        match Peppers::read(&self.0.folder) {
            Ok(peppers) => {
                tracing::info!(current = peppers.current().map(Pepper::id), "the peppers were reloaded");
                *self.0.peppers.write() = Arc::new(peppers);
            }
            Err(error) => tracing::error!(%error, "the peppers cannot be reloaded; the old ones stay in use"),
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

/// The lock of a folder, until it is dropped.
struct FolderLock(fs::File);

/// Explicitly: a program that this process starts at the same moment has a copy of the file.
impl Drop for FolderLock {
    fn drop(&mut self) {
        self.0.unlock().ok();
    }
}

/// Locks `folder` against other changes.
fn lock(folder: &Path) -> Result<FolderLock, KeysError> {
    let opened = fs::File::open(folder).map_err(|e| KeysError(format!("{}: {e}", folder.display())))?;
    let taken = |_| KeysError(format!("{}: another process is changing these keys; try again", folder.display()));
    opened.try_lock().map_err(taken)?;
    Ok(FolderLock(opened))
}

/// The key that encrypts tokens, the one that encrypts secrets of second factors, and the one that derives pseudonyms.
fn read_refresh(path: &Path) -> Result<(Seal, Seal, hmac::Key), KeysError> {
    read(path, |text| {
        let key = BASE64.decode(text.trim()).map(Zeroizing::new).map_err(|_| "is not a key file")?;
        let seal = Seal::new(&key).ok_or("does not contain a 32-byte key in base64")?;
        let derive = hmac::Key::new(hmac::HMAC_SHA256, &key);
        // The input differs from that of every pseudonym.
        let subkey = hmac::sign(&derive, FACTOR_SUBKEY);
        let factor_seal = Seal::new(subkey.as_ref()).ok_or("does not contain a 32-byte key in base64")?;
        Ok((seal, factor_seal, derive))
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
#[path = "keys/tests.rs"]
mod tests;
