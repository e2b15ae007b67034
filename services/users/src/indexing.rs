//! Keeps the search terms complete: for profiles that are older than the search, and for changes by processes that do not
//! know it (an older release beside this one). It may stop anywhere and goes on from there.

use std::{sync::Arc, time::Duration};

use kit::{error::chain, shutdown::Shutdown};

use crate::UserStore;

/// Profiles of one transaction.
const BATCH: u32 = 100;
/// Between two looks, when there was nothing more to do.
const INTERVAL: Duration = Duration::from_secs(60);

pub(crate) async fn run(store: Arc<dyn UserStore>, shutdown: Shutdown) {
    while !shutdown.is_stopping() {
        match store.index_stale(BATCH).await {
            Ok(found) if found > 0 => {
                tracing::info!(profiles = found, "search terms were written for profiles without current ones");
                continue;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(error = %chain(&error), "search terms cannot be written; the next attempt is soon")
            }
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.stopping() => return,
        }
    }
}
