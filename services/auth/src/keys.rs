//! Auth's secrets: the key that signs access tokens, and the one that seals refresh tokens.

use std::{
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kit::{Ambient, jwt::AccessKey, keys::Jwk};
use ring::hmac;
use zeroize::Zeroizing;

use crate::domain::Seal;

/// PKCS#8 of an ES256 key, in base64.
const ACCESS: &str = "access.key";
/// 32 bytes, in base64.
const REFRESH: &str = "refresh.key";

/// The secrets, in use.
pub struct Keys {
    pub(crate) access: AccessKey,
    pub(crate) seal: Seal,
    /// Made from the key that seals: what it is used for begins with other words than anything sealed.
    pseudonyms: hmac::Key,
}

/// Keys that cannot be used, for one line on the terminal.
#[derive(Debug)]
pub struct KeysError(String);

impl fmt::Display for KeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for KeysError {}

impl Keys {
    /// Makes what is missing in `folder`, readable by its owner only. What is there stays.
    pub fn create(folder: &Path) -> Result<(), KeysError> {
        let bad = |e: io::Error| KeysError(format!("{} cannot be written: {e}", folder.display()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(bad)?;
        write_new(&folder.join(ACCESS), &AccessKey::generate()).map_err(bad)?;
        write_new(&folder.join(REFRESH), &Ambient::system().random::<32>()).map_err(bad)
    }

    /// Reads them.
    pub fn open(folder: &Path) -> Result<Self, KeysError> {
        let access = read(&folder.join(ACCESS), AccessKey::from_pkcs8)?;
        let with_pseudonyms = |key: &[u8]| Some((Seal::new(key)?, hmac::Key::new(hmac::HMAC_SHA256, key)));
        let (seal, pseudonyms) = read(&folder.join(REFRESH), with_pseudonyms)?;
        Ok(Self { access, seal, pseudonyms })
    }

    /// The same for the same text, for who has these secrets; to others it tells nothing of it.
    pub(crate) fn pseudonym(&self, text: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.pseudonyms);
        context.update(b"trellis pseudonym ");
        context.update(text.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        bytes
    }

    /// The public keys, the one that signs first.
    pub fn jwks(&self) -> Vec<Jwk> {
        vec![self.access.jwk().clone()]
    }
}

/// A file is either whole or not there: it gets its name once it is on disk. By a link, which never takes the
/// place of what another process made meanwhile.
fn write_new(path: &Path, secret: &[u8]) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let unfinished = path.with_extension(format!("{}.new", Ambient::system().new_id().simple()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{}", BASE64.encode(secret))?;
    file.sync_all()?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(unfinished)?;
    linked.or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })
}

fn read<T>(path: &Path, parse: impl Fn(&[u8]) -> Option<T>) -> Result<T, KeysError> {
    let bad = |why: &str| KeysError(format!("{}: {why}; make keys with `trellis keys auth`", path.display()));
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|e| bad(&e.to_string()))?;
    let secret = BASE64.decode(text.trim()).map(Zeroizing::new).map_err(|_| bad("is no key file"))?;
    parse(&secret).ok_or_else(|| bad("holds no key of the right kind"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn refusal(folder: &Path) -> String {
        Keys::open(folder).err().expect("the keys cannot be used").to_string()
    }

    #[test]
    fn keys_are_made_once_and_for_their_owner_only() {
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
        assert!(jwks.windows(2).all(|pair| pair[0] == pair[1]), "all see the key that was first");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 2, "nothing unfinished is left: {files:?}");
        assert!(files.iter().all(|file| mode(file) == 0o600));
    }

    #[test]
    fn an_unusable_file_is_named_with_its_fix_on_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let missing = refusal(folder);
        assert!(missing.contains("access.key") && missing.contains("trellis keys auth"), "{missing}");
        Keys::create(folder).unwrap();
        for (file, bad) in [(REFRESH, "no base64!"), (REFRESH, "c2hvcnQ="), (ACCESS, "c2hvcnQ=")] {
            fs::write(folder.join(file), bad).unwrap();
            let text = refusal(folder);
            assert!(text.contains(file) && !text.contains(bad) && !text.contains('\n'), "{text}");
        }
    }
}
