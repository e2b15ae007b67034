//! The listeners of this process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::broadcast;

use super::{Heard, Listener};

/// How many signals a listener may be behind before it hears [`Heard::Missed`].
const BACKLOG: usize = 4_096;

/// The channels that somebody listens to, or did.
#[derive(Default)]
pub(super) struct Channels(Mutex<HashMap<&'static str, broadcast::Sender<Heard>>>);

impl Channels {
    pub(super) fn listen(&self, channel: &'static str) -> Listener {
        let mut senders = self.lock();
        Listener(senders.entry(channel).or_insert_with(|| broadcast::Sender::new(BACKLOG)).subscribe())
    }

    /// Tells who listens to `channel`.
    pub(super) fn tell(&self, channel: &str, heard: Heard) {
        if let Some(sender) = self.lock().get(channel) {
            // An Err says that nobody listens any longer, which is fine.
            sender.send(heard).ok();
        }
    }

    /// Tells everybody to look at everything.
    pub(super) fn tell_all_missed(&self) {
        for sender in self.lock().values() {
            sender.send(Heard::Missed).ok();
        }
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, broadcast::Sender<Heard>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{super::Signal, *};

    #[tokio::test]
    async fn who_is_too_slow_hears_that_it_missed_something() {
        let channels = Channels::default();
        let mut listener = channels.listen("c");
        let signal = |reached| Heard::Signal(Signal { subject: Uuid::nil(), reached });
        for reached in 0..=i64::try_from(BACKLOG).unwrap() {
            channels.tell("c", signal(reached));
        }
        assert_eq!(listener.next().await, Heard::Missed);
        assert_eq!(listener.next().await, signal(1));
    }
}
