//! The listeners of this process.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::{Heard, Listener};

/// The number of signals that a listener may lag behind before it receives [`Heard::Missed`].
const BACKLOG: usize = 4_096;

/// The channels that have or had listeners.
#[derive(Default)]
pub(super) struct Channels(Mutex<HashMap<&'static str, broadcast::Sender<Heard>>>);

impl Channels {
    pub(super) fn listen(&self, channel: &'static str) -> Listener {
        let mut senders = self.0.lock();
        Listener(senders.entry(channel).or_insert_with(|| broadcast::Sender::new(BACKLOG)).subscribe())
    }

    /// Sends to the listeners of `channel`.
    pub(super) fn send(&self, channel: &str, event: Heard) {
        if let Some(sender) = self.0.lock().get(channel) {
            // An error means that no listener is left.
            sender.send(event).ok();
        }
    }

    /// Sends [`Heard::Missed`] to all listeners.
    pub(super) fn send_missed_to_all(&self) {
        for sender in self.0.lock().values() {
            sender.send(Heard::Missed).ok();
        }
    }

    /// The names of the channels.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.0.lock().keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{super::Signal, *};

    #[tokio::test]
    async fn slow_listener_receives_missed() {
        let channels = Channels::default();
        let mut listener = channels.listen("c");
        let signal = |reached| Heard::Signal(Signal { subject: Uuid::nil(), reached });
        for reached in 0..=i64::try_from(BACKLOG).unwrap() {
            channels.send("c", signal(reached));
        }
        assert_eq!(listener.next().await, Heard::Missed);
        assert_eq!(listener.next().await, signal(1));
    }
}
