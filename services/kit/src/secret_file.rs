//! Files that contain secrets. A file that other users may read is refused, and a file is written completely or not at
//! all.
//!
//! The owner and the group may read a secret, and only the owner may write it: `trellis keys` writes mode 0600, and
//! Kubernetes mounts with `fsGroup` as 0440.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::ClockAndRng;

/// Forbidden permission bits: any for other users, write for the group.
const FORBIDDEN: u32 = 0o027;

/// A secret that cannot be read. Displayed as one line on the terminal.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Others may read or change the file.
    #[error(
        "other users may read or change this secret (mode {mode:04o}): run `chmod 600` on it, \
         or mount it with mode 0400 or 0440"
    )]
    Exposed {
        /// Its permission bits.
        mode: u32,
    },
}

/// Reads a secret text.
pub fn read(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    let mut file = fs::File::open(path)?;
    refuse_exposed(&file.metadata()?)?;
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Checks the permissions of a secret that another library reads.
pub fn check(path: &Path) -> Result<(), SecretFileError> {
    refuse_exposed(&fs::metadata(path)?)
}

fn refuse_exposed(metadata: &fs::Metadata) -> Result<(), SecretFileError> {
    let mode = metadata.permissions().mode() & 0o777;
    if mode & FORBIDDEN == 0 { Ok(()) } else { Err(SecretFileError::Exposed { mode }) }
}

/// Writes a secret that does not exist yet, readable only by its owner. An existing file is kept, including one that
/// another process creates meanwhile. The file is complete or absent: it gets its name when its content is on disk.
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let unfinished = write_beside(path, text)?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(unfinished)?;
    linked.or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) })
}

/// Replaces a secret. Readers see either the old content or the new content.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    fs::rename(write_beside(path, text)?, path)?;
    // Syncing the folder makes the rename durable.
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

/// Why the folder `path` could not be created. The system's error states only that something exists.
pub fn folder_error(path: &Path, error: io::Error) -> io::Error {
    if path.exists() && !path.is_dir() {
        return io::Error::new(io::ErrorKind::NotADirectory, "it is a file, not a folder");
    }
    error
}

fn write_beside(path: &Path, text: &str) -> io::Result<PathBuf> {
    let unfinished = path.with_extension(format!("{}.new", ClockAndRng::system().new_id().simple()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(unfinished)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_readable_by_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_new(&path, "x").unwrap();
        for (mode, is_kept) in [
            (0o600, true),
            (0o400, true),
            (0o440, true),
            (0o640, true),
            (0o644, false),
            (0o604, false),
            (0o660, false),
            (0o601, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read(&path).is_ok(), is_kept, "{mode:o}");
            assert_eq!(check(&path).is_ok(), is_kept, "{mode:o}");
        }
        let refusal = check(&path).unwrap_err().to_string();
        assert!(refusal.contains("0601") && refusal.contains("chmod 600"), "{refusal}");
    }

    #[test]
    fn replaced_secret_is_private_and_leaves_no_other_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_new(&path, "first").unwrap();
        write_new(&path, "second").unwrap();
        assert_eq!(read(&path).unwrap().as_str(), "first");
        replace(&path, "third").unwrap();
        assert_eq!(read(&path).unwrap().as_str(), "third");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
