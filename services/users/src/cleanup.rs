//! Deletes released handles whose cooling period is over. Correctness does not depend on it: each statement checks the
//! time itself.

use std::{sync::Arc, time::Duration};

use kit::{ClockAndRng, error::chain, shutdown::Shutdown};

use crate::store::UserStore;

/// The time between two rounds.
const PERIOD: Duration = Duration::from_secs(600);

/// Runs until the process stops. Several replicas may run it at once.
pub(crate) async fn run(store: Arc<dyn UserStore>, clock_rng: ClockAndRng, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.stopping() => return,
        }
        if let Err(error) = store.forget_released(clock_rng.now()).await {
            tracing::warn!(error = %chain(&error), "the cleanup failed; it runs again in ten minutes");
        }
    }
}
