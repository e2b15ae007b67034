//! Migrations at the opening of a store.

use sqlx::migrate::{Migrate, MigrateError, Migrator};

use super::{Unopened, newest};
use kit::error::chain;

/// sqlx's table of applied migrations.
const TABLE: &str = "_sqlx_migrations";

/// What the migrations of a store did when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// How many were applied.
    pub applied: usize,
    /// The version of the schema.
    pub version: i64,
}

/// Applies the migrations that `connection` lacks.
pub(super) async fn run<C>(migrator: &Migrator, connection: &mut C) -> Result<Migrated, MigrateError>
where
    C: Migrate + Send,
{
    connection.ensure_migrations_table(TABLE).await?;
    let known = connection.list_applied_migrations(TABLE).await?;
    // `run` would take the connection by a trait that the compiler cannot follow into a task.
    migrator.run_direct(None, connection, false).await?;
    let is_known = |version| known.iter().any(|known| known.version == version);
    let applied = migrator.iter().filter(|migration| !is_known(migration.version)).count();
    Ok(Migrated { applied, version: newest(migrator) })
}

/// Refuses a schema that is not that of `migrator`. Changes nothing.
pub(super) async fn check<C>(migrator: &Migrator, connection: &mut C, place: &str) -> Result<Migrated, Unopened>
where
    C: Migrate + Send,
{
    let known = connection.list_applied_migrations(TABLE).await.map_err(|error| {
        Unopened(format!("{place} has no schema that can be read; a first start creates it: {}", chain(&error)))
    })?;
    let has = |version| known.iter().any(|known| known.version == version);
    let version = newest(migrator);
    if let Some(newer) = known.iter().map(|known| known.version).find(|known| *known > version) {
        return Err(refused(place, "", &MigrateError::VersionTooNew(newer, version)));
    }
    match migrator.iter().find(|migration| !has(migration.version)) {
        None => Ok(Migrated { applied: 0, version }),
        Some(lacking) => Err(Unopened(format!(
            "{place} is older than this program: it lacks migration {}; use the version of trellis that runs on it, or \
             start this version first, which applies the migration",
            lacking.version
        ))),
    }
}

/// The message for a failed migration. `place` names the database without secrets; `and_else` is appended to the advice
/// for a changed migration.
pub(super) fn refused(place: &str, and_else: &str, error: &MigrateError) -> Unopened {
    Unopened(match error {
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
            format!("{place} is newer than this program: it has migration {version}; start a newer version of trellis")
        }
        MigrateError::VersionMismatch(version) => format!(
            "{place}: migration {version} differs from the one that ran on this database; \
             start the version of trellis that created it{and_else}"
        ),
        other => format!("{place} cannot be brought up to date: {}", chain(other)),
    })
}
