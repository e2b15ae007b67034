//! Wake-ups between processes of the mesh. The bus carries hints, never data: a listener that receives a signal reads
//! the database, and a listener that may have missed one is notified of that.
//!
//! A single process needs only [`LocalBus`]. Replicas share a Redis ([`open`]). Each replica still receives its own
//! signals at once, without a round trip.

mod channels;
mod link;
mod outbox;
mod recent;
mod redis;
mod wire;

use std::sync::Arc;

use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    ClockAndRng,
    dns::{self, LookUp},
    redis::{RedisConfig, RedisServer},
};
use channels::Channels;

/// A wake-up: `subject` has reached `reached`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// The subject that changed.
    pub subject: Uuid,
    /// The position that it reached.
    pub reached: i64,
}

/// An event of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A signal.
    Signal(Signal),
    /// Signals may have been lost since the last event: check all subjects.
    Missed,
    /// The bus has ended.
    Closed,
}

/// Carries signals from publishers to all listeners.
pub trait Bus: Send + Sync {
    /// Sends a signal to all listeners of `channel`. Never waits and never fails: a lost signal costs time, not data.
    fn publish(&self, channel: &'static str, signal: Signal);

    /// Listens to `channel` from now on.
    fn listen(&self, channel: &'static str) -> Listener;

    /// Whether signals of other processes currently arrive. While they do not, listeners repeatedly receive
    /// [`Heard::Missed`].
    fn is_connected(&self) -> bool;
}

/// The receiving end of a channel.
pub struct Listener(broadcast::Receiver<Heard>);

impl Listener {
    /// The next event.
    pub async fn next(&mut self) -> Heard {
        match self.0.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => Heard::Missed,
            Err(broadcast::error::RecvError::Closed) => Heard::Closed,
        }
    }
}

/// Opens the configured bus. Redis may still be unreachable. Must be called within a runtime.
pub fn open(config: &RedisConfig, clock_rng: &ClockAndRng) -> Result<Arc<dyn Bus>, String> {
    open_by(dns::system(), config, clock_rng)
}

/// Like `open`, with another resolver than the system's.
pub fn open_by(look_up: LookUp, config: &RedisConfig, clock_rng: &ClockAndRng) -> Result<Arc<dyn Bus>, String> {
    let server = config.server()?.map(|server| RedisServer { look_up, ..server });
    Ok(match server {
        Some(server) => Arc::new(redis::RedisBus::start(server, config.poll_interval.0, clock_rng.clone())),
        None => Arc::new(LocalBus::default()),
    })
}

/// A bus within one process.
#[derive(Default)]
pub struct LocalBus(Channels);

impl Bus for LocalBus {
    fn publish(&self, channel: &'static str, signal: Signal) {
        self.0.send(channel, Heard::Signal(signal));
    }

    fn listen(&self, channel: &'static str) -> Listener {
        self.0.listen(channel)
    }

    fn is_connected(&self) -> bool {
        true
    }
}
