//! Checks whether PostgreSQL accepts changes.

use sqlx::{ConnectOptions as _, PgConnection, Row as _, postgres::PgConnectOptions};

use crate::store::outage::{Probe, Problem};

/// A probe on its own connection, because an exhausted pool does not mean that the server has failed.
pub(super) struct PostgresProbe {
    options: PgConnectOptions,
    /// Taken during a probe, so that a cancelled probe closes it.
    connection: Option<PgConnection>,
}

impl PostgresProbe {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options, connection: None }
    }
}

impl Probe for PostgresProbe {
    async fn ask(&mut self) -> Result<(), Problem> {
        // The old connection may have ended with a server that has restarted.
        if let Some(mut connection) = self.connection.take()
            && takes_changes(&mut connection).await.is_ok_and(|takes| takes)
        {
            self.connection = Some(connection);
            return Ok(());
        }
        let mut connection = self.options.connect().await?;
        if !takes_changes(&mut connection).await? {
            return Err(Problem::ReadOnly);
        }
        self.connection = Some(connection);
        Ok(())
    }
}

async fn takes_changes(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let row = sqlx::query("SELECT current_setting('transaction_read_only')").fetch_one(connection).await?;
    let read_only: String = row.try_get(0)?;
    Ok(read_only == "off")
}
