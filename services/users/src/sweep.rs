//! Deletes released handles whose cooling period is over. They are free before that: each statement looks at the time.

use std::{sync::Arc, time::Duration};

use kit::{Ambient, error::chain, shutdown::Shutdown};

use crate::store::UserStore;

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(600);

/// Sweeps until the process stops. Every replica may.
pub(crate) async fn run(store: Arc<dyn UserStore>, ambient: Ambient, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.stopping() => return,
        }
        if let Err(error) = store.forget_released(ambient.now()).await {
            tracing::warn!(error = %chain(&error), "a sweep failed; the next one comes in ten minutes");
        }
    }
}
