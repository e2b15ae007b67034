//! Streams that several processes count together: each says how many it has, again and again, so that what a process
//! held that died is free after [`LEASE`], and a Redis that was emptied knows all again after [`RENEWAL`].

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use deadpool_redis::redis::Value;
use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    super::{
        Away,
        streams::{Hold, Open, StreamAsk, Streams, TooMany},
    },
    link::Link,
    script::{self, Call, Source},
};

/// For how long what a process says counts.
const LEASE: Duration = Duration::from_secs(30);
/// How often it is said again.
const RENEWAL: Duration = Duration::from_secs(10);
/// How many go out together.
const AT_ONCE: usize = 256;

static COUNT: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("streams.lua")));

/// See the module.
pub(super) struct SharedStreams {
    link: Arc<Link>,
    streams: Arc<Streams>,
    /// Tells this process's streams from those of others; made anew at each start.
    me: String,
    share: f64,
}

impl SharedStreams {
    pub(super) fn new(link: Arc<Link>, me: String, share: f64) -> Arc<Self> {
        Arc::new(Self { link, streams: Arc::default(), me, share })
    }

    pub(super) async fn open(&self, ask: &StreamAsk<'_>) -> Result<Hold, TooMany> {
        let name = || script::name(&format!("streams {}", ask.scope), &ask.key).into();
        let (mine, hold) = self.streams.open(ask.key, ask.most, name).ok_or(TooMany::Open)?;
        let name: Arc<str> = script::name(&format!("streams {}", ask.scope), &ask.key).into();
        match (self.link.run(&COUNT, &self.say(&name, mine, ask.most)).await, ask.away) {
            (Ok(Value::Int(1)), _) => Ok(hold),
            (Ok(_), _) => Err(TooMany::Open),
            (Err(_), Away::Refuse) => Err(TooMany::Away),
            (Err(_), Away::Local) if f64::from(mine) <= (f64::from(ask.most) * self.share).max(1.0) => Ok(hold),
            (Err(_), Away::Local) => Err(TooMany::Open),
        }
    }

    fn say(&self, name: &str, count: u32, most: u32) -> Call {
        let lease = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        Call::streams(name.to_owned(), &self.me, [count.into(), most.into(), lease])
    }

    /// Tells what has changed at once, and everything now and then.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut ticks = interval(RENEWAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let told = tokio::select! {
                () = self.streams.changed() => self.streams.untold(),
                _ = ticks.tick() => self.streams.all(),
            };
            self.tell(&told).await;
        }
    }

    async fn tell(&self, told: &[Open]) {
        for some in told.chunks(AT_ONCE) {
            // What is lost here is said again, or ends by itself.
            let calls: Vec<_> = some.iter().map(|open| self.say(&open.name, open.count, 0)).collect();
            join_all(calls.iter().map(|call| self.link.run(&COUNT, call))).await;
        }
    }
}
