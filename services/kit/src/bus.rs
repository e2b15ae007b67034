//! Wake-ups between the parts of the mesh. The bus carries hints, never data: whoever hears one looks into
//! the database, and whoever misses one is told so.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::broadcast;
use uuid::Uuid;

/// "`subject` has reached `reached`."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// What moved.
    pub subject: Uuid,
    /// How far it got.
    pub reached: i64,
}

/// What a listener hears.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A signal.
    Signal(Signal),
    /// Signals may have been lost since the last one: look at everything.
    Missed,
    /// The bus has ended.
    Closed,
}

/// Carries signals from who publishes to all who listen.
pub trait Bus: Send + Sync {
    /// Tells all listeners of `channel`. Never waits, never fails: a lost signal costs time, not data.
    fn publish(&self, channel: &'static str, signal: Signal);

    /// Listens to `channel` from now on.
    fn listen(&self, channel: &'static str) -> Listener;
}

/// One listener's end.
pub struct Listener(broadcast::Receiver<Signal>);

impl Listener {
    /// The next thing heard.
    pub async fn next(&mut self) -> Heard {
        match self.0.recv().await {
            Ok(signal) => Heard::Signal(signal),
            Err(broadcast::error::RecvError::Lagged(_)) => Heard::Missed,
            Err(broadcast::error::RecvError::Closed) => Heard::Closed,
        }
    }
}

/// How many signals a listener may be behind before it hears [`Heard::Missed`].
const BACKLOG: usize = 4_096;

/// A bus inside one process.
#[derive(Default)]
pub struct Local {
    channels: Mutex<HashMap<&'static str, broadcast::Sender<Signal>>>,
}

impl Local {
    fn channel(&self, name: &'static str) -> broadcast::Sender<Signal> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.entry(name).or_insert_with(|| broadcast::Sender::new(BACKLOG)).clone()
    }
}

impl Bus for Local {
    fn publish(&self, channel: &'static str, signal: Signal) {
        // An Err says that nobody listens now, which is fine.
        self.channel(channel).send(signal).ok();
    }

    fn listen(&self, channel: &'static str) -> Listener {
        Listener(self.channel(channel).subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_too_slow_hears_that_it_missed_something() {
        let bus = Local::default();
        let mut listener = bus.listen("c");
        for reached in 0..=i64::try_from(BACKLOG).unwrap() {
            bus.publish("c", Signal { subject: Uuid::nil(), reached });
        }
        assert_eq!(listener.next().await, Heard::Missed);
        assert_eq!(listener.next().await, Heard::Signal(Signal { subject: Uuid::nil(), reached: 1 }));
    }
}
