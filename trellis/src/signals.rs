//! What the terminal and the kernel ask of the process.

use tokio::signal::unix::{SignalKind, signal};

/// Ends when SIGTERM or Ctrl-C asks to stop. A second one, of either kind, waits for nothing.
pub(crate) async fn stop_asked() {
    let listen = |kind| signal(kind).expect("handlers for SIGTERM and SIGINT can be installed");
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate()), listen(SignalKind::interrupt()));
    let mut asked = async move || {
        tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        }
    };
    asked().await;
    tokio::spawn(async move {
        let signal = asked().await;
        // 128 and the signal's number, as shells expect.
        std::process::exit(128 + signal.as_raw_value());
    });
}
