//! Deletes released handles whose cooling period is over. They are free before that: each statement looks at the time.

use std::{sync::Arc, time::Duration};

use kit::{ClockAndRng, error::chain, shutdown::Shutdown};

use crate::store::UserStore;

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(600);

/// Sweeps until the process stops. Every replica may.
pub(crate) async fn run(store: Arc<dyn UserStore>, clock_rng: ClockAndRng, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.stopping() => return,
        }
        if let Err(error) = store.forget_released(clock_rng.now()).await {
            tracing::warn!(error = %chain(&error), "a cleanup failed; the next one comes in ten minutes");
        }
    }
}
