//! Auth's secrets: the key that signs access tokens, and the one that seals refresh tokens.

use std::{
    fmt, fs, io,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use kit::{Ambient, jwt::AccessKey, keys::Jwk};
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
        let seal = read(&folder.join(REFRESH), Seal::new)?;
        Ok(Self { access, seal })
    }

    /// The public keys, the one that signs first.
    pub fn jwks(&self) -> Vec<Jwk> {
        vec![self.access.jwk().clone()]
    }
}

/// A file is either whole or not there: it gets its name once it is on disk.
fn write_new(path: &Path, secret: &[u8]) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let unfinished = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    writeln!(file, "{}", BASE64.encode(secret))?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

fn read<T>(path: &Path, parse: impl Fn(&[u8]) -> Option<T>) -> Result<T, KeysError> {
    let bad = |why: &str| KeysError(format!("{}: {why}; make keys with `trellis keys auth`", path.display()));
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|e| bad(&e.to_string()))?;
    let secret = BASE64.decode(text.trim()).map(Zeroizing::new).map_err(|_| bad("is no key file"))?;
    parse(&secret).ok_or_else(|| bad("holds no key of the right kind"))
}
