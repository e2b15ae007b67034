//! The bus of several replicas: pub/sub of one Redis.
//!
//! An open connection does not prove that the bus works: each replica sends a canary through Redis every second and
//! listens for it. While the canary does not return, listeners repeatedly receive [`Heard::Missed`], so that delivery
//! continues by polling.
//!
//! An open connection may also lead to the wrong node: see `crate::redis`.
//!
//! A replica cannot detect that *another* replica is disconnected. The signals of that one wait in its outbox until it
//! connects again.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use uuid::Uuid;

use super::{Bus, Heard, Listener, Signal, channels::Channels, link::BusLink, outbox::Outbox, recent::Recent};
use crate::{
    ClockAndRng,
    redis::{Pauses, RedisServer},
};

/// How long the canary may be missing before signals count as lost.
pub(super) const SILENCE: Duration = Duration::from_secs(5);
/// The longest pause between connection attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The bus of several replicas.
pub(super) struct RedisBus {
    shared: Arc<BusState>,
    /// Aborted when the bus is dropped.
    _tasks: JoinSet<()>,
}

/// State shared by the bus, its connection and its tasks.
pub(super) struct BusState {
    pub(super) server: RedisServer,
    /// Identifies this process's own signals.
    pub(super) replica: Uuid,
    pub(super) channels: Channels,
    /// Notified when there may be a new channel.
    pub(super) channel_added: Notify,
    pub(super) outbox: Outbox,
    /// Recently published signals, which a demoted node may have lost.
    pub(super) recent: Recent,
    /// The origin of the canary's value in microseconds: a counter that also measures the round trip.
    pub(super) started: Instant,
    /// When the canary last returned on the current connection.
    canary: watch::Sender<Option<Instant>>,
    /// Why the last connection ended, for the log.
    failure: Mutex<String>,
}

impl RedisBus {
    pub(super) fn start(server: RedisServer, poll_interval: Duration, clock_rng: ClockAndRng) -> Self {
        let shared = Arc::new(BusState {
            server,
            replica: clock_rng.new_id(),
            channels: Channels::default(),
            channel_added: Notify::new(),
            outbox: Outbox::default(),
            recent: Recent::default(),
            started: Instant::now(),
            canary: watch::Sender::new(None),
            failure: Mutex::new("no connection attempt has completed".to_owned()),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(stay_connected(Arc::clone(&shared), clock_rng.clone()));
        tasks.spawn(follow_canary(Arc::clone(&shared), poll_interval, clock_rng));
        Self { shared, _tasks: tasks }
    }
}

impl Bus for RedisBus {
    fn publish(&self, channel: &'static str, signal: Signal) {
        self.shared.channels.send(channel, Heard::Signal(signal));
        self.shared.outbox.add(channel, signal);
    }

    fn listen(&self, channel: &'static str) -> Listener {
        let listener = self.shared.channels.listen(channel);
        self.shared.channel_added.notify_one();
        listener
    }

    fn is_connected(&self) -> bool {
        self.shared.canary.borrow().is_some_and(is_fresh)
    }
}

fn is_fresh(canary: Instant) -> bool {
    canary.elapsed() < SILENCE
}

impl BusState {
    /// Records that the canary returned.
    pub(super) fn canary_returned(&self, sent: i64) {
        let sent = Duration::from_micros(u64::try_from(sent).unwrap_or(0));
        let took = self.started.elapsed().saturating_sub(sent);
        metrics::histogram!("bus_round_trip_seconds").record(took.as_secs_f64());
        self.canary.send_replace(Some(Instant::now()));
    }

    /// When the canary last returned.
    pub(super) fn last_canary(&self) -> Option<Instant> {
        *self.canary.borrow()
    }

    fn disconnected(&self, failure: String) {
        tracing::debug!(error = %failure, "no connection to Redis");
        *self.failure.lock() = failure;
        self.canary.send_replace(None);
    }

    /// Reports a change of the connection state in the log and the metrics.
    fn report(&self, is_connected: bool, poll_interval: Duration) {
        metrics::gauge!("bus_connected").set(if is_connected { 1.0 } else { 0.0 });
        if is_connected {
            tracing::info!("wake-ups travel through Redis");
        } else {
            let error = self.failure.lock().clone();
            let poll_interval_ms = poll_interval.as_millis();
            tracing::warn!(%error, poll_interval_ms, "Redis delivers no wake-ups; replicas poll the database until it does");
        }
    }
}

async fn stay_connected(shared: Arc<BusState>, clock_rng: ClockAndRng) {
    let mut pauses = Pauses::new(LONGEST_PAUSE);
    loop {
        let failure = match BusLink::open(&shared).await {
            Ok(link) => link.run().await,
            Err(error) => error.to_string(),
        };
        if shared.last_canary().is_some() {
            tracing::info!(error = %failure, "the connection to Redis ended; reconnecting");
            pauses.reset();
        }
        shared.disconnected(failure);
        pauses.wait(&clock_rng).await;
    }
}

/// While the canary does not return, published signals may be lost. All listeners then receive [`Heard::Missed`] at
/// each `poll_interval` or somewhat sooner, so that replicas do not all query the database at once.
///
/// This costs one query per stream and interval, whether there is news or not (two, if its hub listens to its two
/// channels separately). 5 000 streams of a replica at 2 s make at least 2 500 small index reads per second. This is
/// meant for a Redis outage, not for regular operation.
async fn follow_canary(shared: Arc<BusState>, poll_interval: Duration, clock_rng: ClockAndRng) {
    let mut canary = shared.canary.subscribe();
    // The first connection takes a moment, which is not worth a log line.
    tokio::time::timeout(poll_interval, canary.wait_for(Option::is_some)).await.ok();
    let mut reported = None;
    loop {
        let returned = *canary.borrow_and_update();
        let fresh = returned.filter(|returned| is_fresh(*returned));
        if reported.replace(fresh.is_some()) != Some(fresh.is_some()) {
            shared.report(fresh.is_some(), poll_interval);
        }
        let Some(returned) = fresh else {
            metrics::counter!("bus_polls_total").increment(1);
            shared.channels.send_missed_to_all();
            let pause = clock_rng.between(poll_interval * 3 / 4, poll_interval);
            tokio::time::timeout(pause, canary.wait_for(|returned| returned.is_some_and(is_fresh))).await.ok();
            continue;
        };
        tokio::select! {
            // The sender belongs to `shared`, so it outlives this wait.
            _ = canary.changed() => {}
            () = sleep_until(returned + SILENCE) => {}
        }
    }
}
