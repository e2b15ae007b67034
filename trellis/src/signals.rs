//! Termination signals.

use tokio::signal::unix::{SignalKind, signal};

/// Completes on the first SIGTERM or SIGINT (Ctrl-C). A second one exits at once.
pub(crate) async fn stop_requested() {
    let listen = |kind| signal(kind).expect("handlers for SIGTERM and SIGINT can be installed");
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    let mut next = async move || {
        tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        }
    };
    next().await;
    tokio::spawn(async move {
        let signal = next().await;
        // The shell convention: 128 plus the number of the signal.
        std::process::exit(128 + signal.as_raw_value());
    });
}
