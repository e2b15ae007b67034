//! Detects that the peer of an HTTP/2 connection is gone.

use std::{future::pending, time::Duration};

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

/// Sends a PING at every interval, and ends when no reply arrives within one interval.
pub(crate) async fn lost(pings: Option<PingPong>, interval: Duration) {
    // h2 returns the handle once, and only this function takes it.
    let Some(mut pings) = pings else { return pending().await };
    loop {
        sleep(interval).await;
        if !matches!(timeout(interval, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}
