//! The databases of this process.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use kit::{config::Secret, keyring::Keyring};
use kit_data::store::{Location, Migrated, Settings, Unopened};

use crate::{config::Config, data::Folder, part::Part, services::Service};

/// The locations of the databases, and the data folder once a store or a key needs it.
pub(crate) struct Stores<'a> {
    /// The configuration.
    pub(crate) config: &'a Config,
    folder: Option<Folder>,
    /// What the migrations of the last opened store did.
    migrated: Arc<OnceLock<Migrated>>,
}

impl<'a> Stores<'a> {
    /// Opens nothing yet.
    pub(crate) fn new(config: &'a Config) -> Self {
        Self { config, folder: None, migrated: Arc::default() }
    }

    /// The data folder, if it is in use.
    pub(crate) fn folder(&self) -> Option<&Folder> {
        self.folder.as_ref()
    }

    /// Opens the store of a service with `open`.
    pub(crate) async fn open<S>(
        &mut self,
        service: Service,
        open: impl AsyncFnOnce(&Location, Settings) -> Result<S, Unopened>,
    ) -> Result<S, String> {
        let location = self.location(service)?;
        let pool_size = service.section(self.config).pool_size;
        let audit_keys = audit_keys(self.config)?;
        let settings =
            Settings { pool_size, database: self.config.database.clone(), audit_keys, ..Settings::default() };
        self.migrated = Arc::clone(&settings.migrated);
        open(&location, settings).await.map_err(|error| error.to_string())
    }

    /// The database of a service, for messages to the operator.
    pub(crate) fn place(&self, service: Service) -> String {
        let name = service.name();
        match &self.folder {
            Some(folder) if self.url(service).expose().is_empty() => {
                format!("the SQLite file {}", folder.path().join(format!("{name}.db")).display())
            }
            _ => format!("the PostgreSQL database of {name}.database_url"),
        }
    }

    fn url(&self, service: Service) -> &'a Secret {
        service.section(self.config).database_url
    }

    /// Auth's secrets: from the configured folder, else from the data folder, where missing ones are created.
    pub(crate) fn auth_keys(&mut self) -> Result<auth::Keys, String> {
        let configured = &self.config.auth.keys_dir;
        let peppers = auth::keys::Peppers::configured(&self.config.auth).map_err(|e| e.to_string())?;
        if !configured.is_empty() {
            let opened = auth::Keys::open_with(&PathBuf::from(configured), peppers);
            return opened.map_err(|e| format!("auth.keys_dir: {e}"));
        }
        let folder = self.open_folder()?.path().join("keys");
        auth::Keys::create(&folder).map_err(|e| e.to_string())?;
        auth::Keys::open_with(&folder, peppers).map_err(|e| e.to_string())
    }

    /// What the migrations of the last opened store did.
    pub(crate) fn migrated(&self) -> Option<Migrated> {
        self.migrated.get().copied()
    }

    /// Warns about data that other replicas of `part` do not see. For a part that runs alone.
    pub(crate) fn warn_of_local_data(&self, part: Part) {
        let (Part::Service(service), Some(folder)) = (part, &self.folder) else { return };
        let (name, folder) = (service.name(), folder.path().display());
        if self.url(service).expose().is_empty() {
            tracing::warn!(
                "{name} stores its data in {folder}; a second replica will not see it; set {name}.database_url for \
                 several replicas"
            );
        }
        if service == Service::Auth && self.config.auth.keys_dir.is_empty() {
            tracing::warn!(
                "auth stores its keys in {folder}/keys; a second replica will not have them; set auth.keys_dir for several \
                 replicas"
            );
        }
    }

    /// The location of a service's data. Locks a SQLite file for this process.
    fn location(&mut self, service: Service) -> Result<Location, String> {
        let url = self.url(service);
        if !url.expose().is_empty() {
            return Ok(Location::Postgres(url.clone()));
        }
        let folder = self.open_folder()?;
        folder.lock(service.name())?;
        Ok(Location::Sqlite(folder.path().join(format!("{}.db", service.name()))))
    }

    fn open_folder(&mut self) -> Result<&mut Folder, String> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => Folder::open(self.config.data_dir()?)?,
        };
        Ok(self.folder.insert(folder))
    }
}

/// The keys that encrypt the keys of persons in the audit logs; none without a file.
pub(crate) fn audit_keys(config: &Config) -> Result<Keyring, String> {
    match config.audit.key_file.as_str() {
        "" => Ok(Keyring::default()),
        file => Keyring::read(Path::new(file)).map_err(|error| format!("configuration: audit.key_file: {error}")),
    }
}

/// The database of a service, for a command that works beside its processes: it takes no lock of the data folder, and
/// migrates nothing.
pub(crate) fn existing(config: &Config, service: Service) -> Result<Location, String> {
    let (name, url) = (service.name(), service.section(config).database_url);
    if !url.expose().is_empty() {
        return Ok(Location::Postgres(url.clone()));
    }
    let file = config.data_dir()?.join(format!("{name}.db"));
    if !file.exists() {
        return Err(format!(
            "{} does not exist: name the folder with the data with --set data_dir=DIR, or the database with \
             {name}.database_url; a first start of trellis creates it",
            file.display()
        ));
    }
    Ok(Location::Sqlite(file))
}
