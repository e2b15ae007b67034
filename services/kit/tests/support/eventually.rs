//! Waits for a condition, with a bound. Included by test binaries.

use std::time::Duration;

use tokio::time::timeout;

/// The timeout for things that normally take milliseconds.
pub(crate) const MOMENT: Duration = Duration::from_secs(10);

/// Polls `ask` until it returns true.
pub(crate) async fn eventually(what: &str, ask: impl AsyncFn() -> bool) {
    let asking = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(MOMENT, asking).await.unwrap_or_else(|_| panic!("never: {what}"));
}
