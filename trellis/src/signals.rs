//! What the terminal and the kernel ask of the process.

use tokio::signal::unix::{SignalKind, signal};

/// Ends when SIGTERM or Ctrl-C asks to stop. A second Ctrl-C does not wait for anything.
pub(crate) async fn stop_asked() {
    let listen = |kind| signal(kind).expect("handlers for SIGTERM and SIGINT can be installed");
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        interrupt.recv().await;
        // 128 + SIGINT, as shells expect.
        std::process::exit(130);
    });
}
