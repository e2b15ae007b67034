//! Waits for a condition, not for a time.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// How long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `holds` returns true. `what` is the condition, for the message of a failure.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            sleep(INTERVAL).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}
