//! Termination signals.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The handlers of SIGTERM and SIGINT (Ctrl-C). Before they are installed, the signals end the process at once.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Installs the handlers. Signals that arrive from now on are not lost.
    pub(crate) fn install() -> Self {
        let listen = |kind| signal(kind).expect("handlers for SIGTERM and SIGINT can be installed");
        Self { terminate: listen(SignalKind::terminate()), interrupt: listen(SignalKind::interrupt()) }
    }

    /// Completes on the first signal. A second one exits at once.
    pub(crate) async fn requested(mut self) {
        self.next().await;
        tokio::spawn(async move {
            let signal = self.next().await;
            // The shell convention: 128 plus the number of the signal.
            std::process::exit(128 + signal.as_raw_value());
        });
    }

    async fn next(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
        }
    }
}
