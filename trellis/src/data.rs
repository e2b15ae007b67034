//! The data folder: embedded databases and generated keys, accessible to the owner only.

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use kit::secret_file::folder_error;

/// An open data folder. Each part of it that this process uses is locked until the process ends.
pub(crate) struct Folder {
    path: PathBuf,
    locks: Vec<File>,
}

impl Folder {
    /// Opens the folder, and creates it if it is missing.
    pub(crate) fn open(path: PathBuf) -> Result<Self, String> {
        let bad = |e: std::io::Error| format!("the data folder {} cannot be used: {e}", path.display());
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        created.map_err(|e| bad(folder_error(&path, e)))?;
        // An existing folder may be readable by other users.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(bad)?;
        Ok(Self { path, locks: Vec::new() })
    }

    /// The path of the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the part `name` for this process. Two processes on one SQLite file would each assume to be the only one.
    pub(crate) fn lock(&mut self, name: &str) -> Result<(), String> {
        let path = self.path.join(format!("{name}.lock"));
        let bad = |e: std::io::Error| format!("{} cannot be written: {e}", path.display());
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(bad)?;
        match file.try_lock() {
            Ok(()) => {
                self.locks.push(file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => {
                let place = self.path.display();
                Err(format!("the data folder {place} is in use by another trellis; stop it or set data_dir"))
            }
            Err(TryLockError::Error(error)) => Err(bad(error)),
        }
    }
}
