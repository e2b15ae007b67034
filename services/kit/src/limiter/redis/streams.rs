//! Streams that several processes count together. Each process sends a changed number until Redis acknowledges it. It
//! repeats all numbers, so that the streams of a dead process become free after [`LEASE`], and a cleared Redis is
//! complete again after [`RENEWAL`].

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use deadpool_redis::redis::Value;
use futures_util::future::join_all;
use tokio::{
    sync::Mutex,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    super::{
        BucketKey, FailureMode,
        streams::{Hold, OpenStreams, StreamAsk, Streams, TooMany},
    },
    link::{Failed, LimiterLink},
    script::{self, LuaScript, ScriptCall},
};

/// How long the number of a process is valid.
const LEASE: Duration = Duration::from_secs(30);
/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(10);
/// The pause before changes that Redis has not acknowledged are sent again.
const RETRY: Duration = Duration::from_secs(1);
/// The same for a process that stops.
const CLOSE_RETRY: Duration = Duration::from_millis(50);
/// How long a process that stops may wait for Redis while there is a connection.
const CLOSE: Duration = Duration::from_secs(2);
/// The maximum number of commands sent together.
const AT_ONCE: usize = 256;

static COUNT: LazyLock<LuaScript> = LazyLock::new(|| LuaScript::new(include_str!("streams.lua")));

/// Runs scripts in Redis.
pub(super) trait RunScript: Send + Sync {
    /// Whether there is a connection.
    fn is_up(&self) -> bool;

    /// Runs a script within the budget.
    fn run(&self, script: &LuaScript, call: &ScriptCall) -> impl Future<Output = Result<Value, Failed>> + Send;
}

impl RunScript for LimiterLink {
    fn is_up(&self) -> bool {
        Self::is_up(self)
    }

    async fn run(&self, script: &LuaScript, call: &ScriptCall) -> Result<Value, Failed> {
        Self::run(self, script, call).await
    }
}

/// Counts open streams through Redis.
pub(super) struct SharedStreams<L = LimiterLink> {
    link: Arc<L>,
    streams: Arc<Streams>,
    /// Held from reading numbers until Redis has responded, so that an older number never replaces a newer one.
    sending: Mutex<()>,
    /// Identifies this process; new at each start.
    me: String,
    share: f64,
}

impl<L: RunScript> SharedStreams<L> {
    pub(super) fn new(link: Arc<L>, me: String, share: f64) -> Arc<Self> {
        Arc::new(Self { link, streams: Arc::default(), sending: Mutex::default(), me, share })
    }

    pub(super) async fn open(&self, ask: &StreamAsk<'_>) -> Result<Hold, TooMany> {
        let name = || script::name(&format!("streams {}", ask.scope), &ask.key).into();
        let (mine, hold) = self.streams.open(ask.key, ask.most, name).ok_or(TooMany::Open)?;
        let name: Arc<str> = script::name(&format!("streams {}", ask.scope), &ask.key).into();
        match (self.link.run(&COUNT, &self.record(&name, mine, ask.most)).await, ask.failure_mode) {
            (Ok(Value::Int(1)), _) => {
                self.streams.resend_if_changed(ask.key, mine);
                Ok(hold)
            }
            (Ok(_), _) => Err(TooMany::Open),
            (Err(_), FailureMode::Refuse) => Err(TooMany::Unavailable),
            (Err(_), FailureMode::Local) if f64::from(mine) <= (f64::from(ask.most) * self.share).max(1.0) => Ok(hold),
            (Err(_), FailureMode::Local) => Err(TooMany::Open),
        }
    }

    fn record(&self, name: &str, count: u32, most: u32) -> ScriptCall {
        let lease = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        ScriptCall::streams(name.to_owned(), &self.me, [count.into(), most.into(), lease])
    }

    /// Sends changes at once, and all numbers at each renewal.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut ticks = interval(RENEWAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.streams.changed() => {}
                () = sleep(RETRY), if self.streams.has_unsent() => {}
                _ = ticks.tick() => self.send(Streams::all).await,
            }
            self.send(Streams::unsent).await;
        }
    }

    /// Closes all streams, and waits for Redis to store that, but at most [`CLOSE`], and only while there is a connection.
    pub(super) async fn close(&self) {
        self.streams.close_all();
        let sending = async {
            while self.streams.has_unsent() && self.link.is_up() {
                self.send(Streams::unsent).await;
                if self.streams.has_unsent() {
                    sleep(CLOSE_RETRY).await;
                }
            }
        };
        // The loss of the connection is logged when it happens.
        if timeout(CLOSE, sending).await.is_err() {
            tracing::warn!("Redis has not stored that this process has no streams; they count until their lease ends");
        }
    }

    /// Sends the numbers that `read` returns, after the numbers that are being sent.
    async fn send(&self, read: impl FnOnce(&Streams) -> Vec<(BucketKey, OpenStreams)> + Send) {
        let _sending = self.sending.lock().await;
        // Without a connection nothing can be acknowledged, and there may be many changes.
        if self.link.is_up() {
            self.send_all(&read(&self.streams)).await;
        }
    }

    async fn send_all(&self, numbers: &[(BucketKey, OpenStreams)]) {
        for some in numbers.chunks(AT_ONCE) {
            let sending = some.iter().map(async |(key, open)| {
                let record = self.record(&open.name, open.count, 0);
                // Without an acknowledgement it is sent again.
                if self.link.run(&COUNT, &record).await.is_ok() {
                    self.streams.acknowledge(*key, open.count);
                }
            });
            join_all(sending).await;
        }
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
