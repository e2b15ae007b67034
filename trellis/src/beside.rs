//! The store of auth, beside running processes or while none runs: for commands of the operator.

use std::sync::Arc;

use auth::AuthStore;
use kit_data::store::{OlderSchema, Settings};

use crate::{config::Config, services::Service, stores};

/// Connections of a command.
const CONNECTIONS: u32 = 2;

/// Opens auth's database for a command that reads it. A schema of an older version is refused, and stays as it is.
pub(crate) async fn auth(config: &Config) -> Result<Arc<dyn AuthStore>, String> {
    open(config, OlderSchema::Refuse).await
}

/// Opens auth's database for a command that changes it. It is migrated as a start of this version would.
pub(crate) async fn migrated_auth(config: &Config) -> Result<Arc<dyn AuthStore>, String> {
    open(config, OlderSchema::Migrate).await
}

async fn open(config: &Config, older_schema: OlderSchema) -> Result<Arc<dyn AuthStore>, String> {
    let location = stores::existing(config, Service::Auth)?;
    let audit_keys = stores::audit_keys(config)?;
    let (pool_size, database) = (CONNECTIONS, config.database.clone());
    let settings = Settings { pool_size, database, audit_keys, older_schema, ..Settings::default() };
    auth::store::open(&location, settings).await.map_err(|error| error.to_string())
}
