//! The bus of several replicas: pub/sub of one Redis.
//!
//! Whether it works is not guessed from the connection: each replica sends a canary through Redis every second
//! and listens for it. While it does not come back, listeners are told to look at everything, again and again,
//! so that delivery goes on by polling.
//!
//! Nor does an open connection say that it still leads to the right node: `place` has that.
//!
//! What this cannot tell is that *another* replica is cut off while this one is not. What that one publishes
//! waits in its outbox until it is linked again.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use uuid::Uuid;

use super::{
    Bus, Heard, Listener, Signal, channels::Channels, config::Server, link::Link, outbox::Outbox, recent::Recent,
};
use crate::Ambient;

/// How long the canary may be away before signals count as lost.
pub(super) const SILENCE: Duration = Duration::from_secs(5);
/// Between two attempts to link: at first, and at most. Each is shortened by chance, so that replicas that lost
/// their Redis together do not come back together.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(4)];

/// See the module.
pub(super) struct Redis {
    shared: Arc<Shared>,
    /// Ended with the bus.
    _tasks: JoinSet<()>,
}

/// What the bus, its link and its tasks share.
pub(super) struct Shared {
    pub(super) server: Server,
    /// Tells this process's own signals from those of others.
    pub(super) replica: Uuid,
    pub(super) channels: Channels,
    /// Notified when there may be a new channel.
    pub(super) listened: Notify,
    pub(super) outbox: Outbox,
    /// What was published of late, perhaps to a node that nobody else listens to any more.
    pub(super) recent: Recent,
    /// The canary carries the microseconds since then: a counter that also tells the round trip.
    pub(super) started: Instant,
    /// When the canary came back last, on the link that is open now.
    canary: watch::Sender<Option<Instant>>,
    /// Why the last link ended, for the log.
    failure: Mutex<String>,
}

impl Redis {
    pub(super) fn start(server: Server, poll_interval: Duration, ambient: Ambient) -> Self {
        let shared = Arc::new(Shared {
            server,
            replica: ambient.new_id(),
            channels: Channels::default(),
            listened: Notify::new(),
            outbox: Outbox::default(),
            recent: Recent::default(),
            started: Instant::now(),
            canary: watch::Sender::new(None),
            failure: Mutex::new("no answer yet".to_owned()),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(stay_linked(Arc::clone(&shared), ambient.clone()));
        tasks.spawn(follow_canary(Arc::clone(&shared), poll_interval, ambient));
        Self { shared, _tasks: tasks }
    }
}

impl Bus for Redis {
    fn publish(&self, channel: &'static str, signal: Signal) {
        self.shared.channels.tell(channel, Heard::Signal(signal));
        self.shared.outbox.add(channel, signal);
    }

    fn listen(&self, channel: &'static str) -> Listener {
        let listener = self.shared.channels.listen(channel);
        self.shared.listened.notify_one();
        listener
    }

    fn is_connected(&self) -> bool {
        self.shared.canary.borrow().is_some_and(is_fresh)
    }
}

fn is_fresh(canary: Instant) -> bool {
    canary.elapsed() < SILENCE
}

impl Shared {
    /// The canary came back.
    pub(super) fn canary_came(&self, sent: i64) {
        let sent = Duration::from_micros(u64::try_from(sent).unwrap_or(0));
        let took = self.started.elapsed().saturating_sub(sent);
        metrics::histogram!("bus_round_trip_seconds").record(took.as_secs_f64());
        self.canary.send_replace(Some(Instant::now()));
    }

    /// When the canary came back last.
    pub(super) fn last_canary(&self) -> Option<Instant> {
        *self.canary.borrow()
    }

    fn unlinked(&self, failure: String) {
        tracing::debug!(error = %failure, "no link to Redis");
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        self.canary.send_replace(None);
    }

    /// Says a change of state where people look, once.
    fn tell(&self, is_connected: bool, poll_interval: Duration) {
        metrics::gauge!("bus_connected").set(if is_connected { 1.0 } else { 0.0 });
        if is_connected {
            tracing::info!("wake-ups travel through Redis");
        } else {
            let error = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let poll_interval_ms = poll_interval.as_millis();
            tracing::warn!(%error, poll_interval_ms, "Redis brings no wake-ups: delivery goes on by polling");
        }
    }
}

async fn stay_linked(shared: Arc<Shared>, ambient: Ambient) {
    let [first, most] = PAUSES;
    let mut pause = first;
    loop {
        let failure = match Link::open(&shared).await {
            Ok(link) => link.run().await,
            Err(error) => error.to_string(),
        };
        if shared.last_canary().is_some() {
            tracing::info!(error = %failure, "the link to Redis ended; connecting again");
            pause = first;
        }
        shared.unlinked(failure);
        sleep(ambient.between(pause / 2, pause)).await;
        pause = most.min(pause * 2);
    }
}

/// While the canary does not come back, whatever was published may be lost: all listeners are told to look at
/// everything, each `poll_interval` or somewhat sooner, so that replicas do not all ask the database at once.
///
/// The price is a query a stream and interval, whether something has moved or not (two, where its hub hears its two
/// channels apart): 5 000 streams of a replica at 2 s are 2 500 small index reads a second or more. That is for the
/// time without Redis, not a way to run.
async fn follow_canary(shared: Arc<Shared>, poll_interval: Duration, ambient: Ambient) {
    let mut canary = shared.canary.subscribe();
    // The first link takes a moment; that alone is nothing to tell.
    tokio::time::timeout(poll_interval, canary.wait_for(Option::is_some)).await.ok();
    let mut told = None;
    loop {
        let came = *canary.borrow_and_update();
        let fresh = came.filter(|came| is_fresh(*came));
        if told.replace(fresh.is_some()) != Some(fresh.is_some()) {
            shared.tell(fresh.is_some(), poll_interval);
        }
        let Some(came) = fresh else {
            metrics::counter!("bus_polls_total").increment(1);
            shared.channels.tell_all_missed();
            let pause = ambient.between(poll_interval * 3 / 4, poll_interval);
            tokio::time::timeout(pause, canary.wait_for(|came| came.is_some_and(is_fresh))).await.ok();
            continue;
        };
        tokio::select! {
            // The sender is our own: it is never gone while we wait.
            _ = canary.changed() => {}
            () = sleep_until(came + SILENCE) => {}
        }
    }
}
