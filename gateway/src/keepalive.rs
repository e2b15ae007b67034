//! Whether the other end of an HTTP/2 connection is still there.

use std::{future::pending, time::Duration};

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

/// Asks for a sign of life every so often, and ends when none has come in as long.
pub(crate) async fn lost(pings: Option<PingPong>, interval: Duration) {
    // h2 hands them out once, and there is no other place that takes them.
    let Some(mut pings) = pings else { return pending().await };
    loop {
        sleep(interval).await;
        if !matches!(timeout(interval, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}
