//! What time leaves behind, taken away once a minute: sign-ups that nobody finished, sealed successors past the
//! grace, sessions that ended.

use std::{sync::Arc, time::Duration};

use kit::{Ambient, error::chain, shutdown::Shutdown, store::Error};

use crate::{domain::Lifetimes, store::AuthStore};

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(60);
/// How long a sign-up may take to be resumed.
const PENDING: Duration = Duration::from_secs(3_600);
/// How long an ended session is kept, for whoever looks into what happened.
const ENDED: Duration = Duration::from_secs(24 * 3_600);
/// How long a used token is remembered: presenting it ends its session. Later it is unknown, and merely refused.
const USED: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Sign-ups in one round.
const BATCH: u32 = 500;

/// Sweeps until the process stops. Every replica may: each statement says itself what is due.
pub(crate) async fn run(store: Arc<dyn AuthStore>, ambient: Ambient, lifetimes: Lifetimes, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.stopping() => return,
        }
        if let Err(error) = round(&*store, &ambient, lifetimes).await {
            tracing::warn!(error = %chain(&error), "a sweep failed; the next one comes in a minute");
        }
    }
}

/// One round.
pub(crate) async fn round(store: &dyn AuthStore, ambient: &Ambient, lifetimes: Lifetimes) -> Result<(), Error> {
    let now = ambient.now();
    store.erase_sealed(now - lifetimes.grace).await?;
    for account in store.list_pending(now - PENDING, BATCH).await? {
        store.abandon(account, now - PENDING, now, ambient.new_id()).await?;
    }
    store.prune(now - ENDED, now - USED).await?;
    Ok(())
}
