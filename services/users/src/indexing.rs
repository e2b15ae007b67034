//! Keeps the search terms complete: for profiles from before the search existed, and for changes by processes of an
//! older release without the search. It may stop at any time and continues from there.

use std::{sync::Arc, time::Duration};

use kit::{error::chain, shutdown::Shutdown};

use crate::UserStore;

/// The most profiles of one transaction.
const BATCH: u32 = 100;
/// The time between two checks if no profile is left to index.
const INTERVAL: Duration = Duration::from_secs(60);

pub(crate) async fn run(store: Arc<dyn UserStore>, shutdown: Shutdown) {
    while !shutdown.is_stopping() {
        match store.index_stale(BATCH).await {
            Ok(found) if found > 0 => {
                tracing::info!(profiles = found, "wrote search terms of profiles whose terms were missing or outdated");
                continue;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(error = %chain(&error), "search terms cannot be written; indexing retries in one minute")
            }
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.stopping() => return,
        }
    }
}
