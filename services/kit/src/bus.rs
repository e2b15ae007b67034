//! Wake-ups between the parts of the mesh. The bus carries hints, never data: whoever hears one looks into
//! the database, and whoever misses one is told so.
//!
//! One process needs no more than [`Local`]. Replicas share a Redis ([`open`]); each hears its own signals at
//! once all the same, without a round trip.

mod channels;
mod config;
mod link;
mod outbox;
pub(crate) mod place;
mod recent;
mod redis;
mod wire;

use std::sync::Arc;

use tokio::sync::broadcast;
use uuid::Uuid;

use crate::Ambient;
use channels::Channels;
pub use config::Config;
pub(crate) use config::Server;
pub use place::LookUp;

/// "`subject` has reached `reached`."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// What moved.
    pub subject: Uuid,
    /// How far it got.
    pub reached: i64,
}

/// What a listener hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

    /// Whether signals of other processes come through now. While they do not, listeners hear
    /// [`Heard::Missed`] again and again.
    fn is_connected(&self) -> bool;
}

/// One listener's end.
pub struct Listener(broadcast::Receiver<Heard>);

impl Listener {
    /// The next thing heard.
    pub async fn next(&mut self) -> Heard {
        match self.0.recv().await {
            Ok(heard) => heard,
            Err(broadcast::error::RecvError::Lagged(_)) => Heard::Missed,
            Err(broadcast::error::RecvError::Closed) => Heard::Closed,
        }
    }
}

/// The bus that `config` asks for. A Redis need not be there yet. To be called inside the runtime.
pub fn open(config: &Config, ambient: &Ambient) -> Result<Arc<dyn Bus>, String> {
    open_by(place::system(), config, ambient)
}

/// The same, by another resolver than the system's.
pub fn open_by(look_up: LookUp, config: &Config, ambient: &Ambient) -> Result<Arc<dyn Bus>, String> {
    let server = config.server()?.map(|server| Server { look_up, ..server });
    Ok(match server {
        Some(server) => Arc::new(redis::Redis::start(server, config.poll_interval.0, ambient.clone())),
        None => Arc::new(Local::default()),
    })
}

/// A bus inside one process.
#[derive(Default)]
pub struct Local(Channels);

impl Bus for Local {
    fn publish(&self, channel: &'static str, signal: Signal) {
        self.0.tell(channel, Heard::Signal(signal));
    }

    fn listen(&self, channel: &'static str) -> Listener {
        self.0.listen(channel)
    }

    fn is_connected(&self) -> bool {
        true
    }
}
