//! The way to Redis, and whether it may be used: a line that works, or none.
//!
//! A line is given up when five answers in a row have failed or come too late; from then on nobody waits for Redis.
//! One task tries to get another: each time by a connection of its own, so that a server that was replaced behind the
//! same name is found, and a line counts only when the script itself ran on it within the budget: a server that is
//! slow, full, loading or read-only is as good as none.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use deadpool_redis::redis::{
    AsyncConnectionConfig, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::script::{self, Call, DECIDE, Source};
use crate::{
    Ambient,
    bus::{
        Server,
        place::{self, Place, Role},
    },
    limiter::{Key, Quota},
};

/// How many failures in a row end a line.
const PATIENCE: u32 = 5;
/// How long Redis may take to be reached, and to answer the first time.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Between two looks at a line that nobody may be using.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts to get a line: at first, and at most. Each is shortened by chance, so that gateways that lost
/// their Redis together do not come back together.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// See the module.
pub(super) struct Link {
    server: Server,
    budget: Duration,
    line: RwLock<Option<Line>>,
    failures: AtomicU32,
    broken: Notify,
}

#[derive(Clone)]
enum Line {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Redis did not decide.
#[derive(Debug)]
pub(super) enum Failed {
    /// There is no line.
    Away,
    /// Not within the budget.
    Late,
    /// It said so, or the connection broke.
    Broken(String),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away => f.write_str("there is no connection"),
            Self::Late => f.write_str("no answer within limiter.budget"),
            Self::Broken(error) => f.write_str(error),
        }
    }
}

impl Link {
    pub(super) fn new(server: Server, budget: Duration) -> Arc<Self> {
        let (line, failures, broken) = (RwLock::default(), AtomicU32::new(0), Notify::new());
        Arc::new(Self { server, budget, line, failures, broken })
    }

    /// Whether there is a line.
    pub(super) fn is_up(&self) -> bool {
        self.line.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Runs a script within the budget.
    pub(super) async fn run(&self, source: &Source, call: &Call) -> Result<Value, Failed> {
        let line = self.line.read().unwrap_or_else(PoisonError::into_inner).clone();
        let line = line.ok_or(Failed::Away)?;
        let outcome = match timeout(self.budget, line.run(source, call)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failed::Broken(error.to_string())),
            Err(_) => Err(Failed::Late),
        };
        self.take_note(&outcome);
        outcome
    }

    fn take_note(&self, outcome: &Result<Value, Failed>) {
        match outcome {
            // The common case writes nothing that other threads read.
            Ok(_) if self.failures.load(Ordering::Relaxed) == 0 => {}
            Ok(_) => self.failures.store(0, Ordering::Relaxed),
            Err(failed) => {
                tracing::debug!(error = %failed, "Redis did not decide");
                if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= PATIENCE {
                    self.give_up(failed);
                }
            }
        }
    }

    fn give_up(&self, failed: &Failed) {
        let had = self.line.write().unwrap_or_else(PoisonError::into_inner).take();
        if had.is_some() {
            metrics::gauge!("limiter_connected").set(0.0);
            tracing::warn!(error = %failed, "Redis does not decide: limits are kept by each process on its own");
            self.broken.notify_one();
        }
    }

    /// Gets a line, and another when that one is given up, for ever.
    pub(super) async fn keep(self: Arc<Self>, ambient: Ambient) {
        metrics::gauge!("limiter_connected").set(0.0);
        let [first, most] = PAUSES;
        let mut pause = first;
        loop {
            match self.open(&ambient).await {
                Ok((line, place)) => {
                    self.failures.store(0, Ordering::Relaxed);
                    *self.line.write().unwrap_or_else(PoisonError::into_inner) = Some(line.clone());
                    metrics::gauge!("limiter_connected").set(1.0);
                    tracing::info!("limits are shared through Redis");
                    pause = first;
                    self.watch(&ambient, line, place).await;
                }
                Err(failed) => tracing::debug!(error = %failed, "no line to Redis"),
            }
            sleep(ambient.between(pause / 2, pause)).await;
            pause = most.min(pause * 2);
        }
    }

    /// Ends when the line was given up. Looks after it meanwhile: a line that nobody uses fails unseen, and one that
    /// works may lead to the wrong node.
    async fn watch(&self, ambient: &Ambient, line: Line, place: Option<Place>) {
        let looking = async {
            let mut ticks = interval(LOOK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                self.run(&DECIDE, &probe(ambient)).await.ok();
            }
        };
        tokio::select! {
            () = looking => {}
            failed = misled(line, place) => {
                self.give_up(&failed);
                // Whoever gave it up has said so once: that is not to end the next line.
                self.broken.notified().await;
            }
            () = self.broken.notified() => {}
        }
    }

    /// Connects, and tries the script: once so that Redis knows it, once more within the budget.
    async fn open(&self, ambient: &Ambient) -> Result<(Line, Option<Place>), Failed> {
        let broken = |error: RedisError| Failed::Broken(error.to_string());
        let opening = async {
            let (line, place) = Line::open(&self.server).await.map_err(broken)?;
            line.run(&DECIDE, &probe(ambient)).await.map_err(broken)?;
            let asked = Instant::now();
            line.run(&DECIDE, &probe(ambient)).await.map_err(broken)?;
            if asked.elapsed() <= self.budget { Ok((line, place)) } else { Err(Failed::Late) }
        };
        timeout(2 * TIMEOUT, opening).await.unwrap_or(Err(Failed::Late))
    }
}

/// Ends when the line's node is a master no more, or its name leads elsewhere. A Cluster's client follows its nodes itself.
async fn misled(line: Line, place: Option<Place>) -> Failed {
    let (Line::One(mut connection), Some(mut place)) = (line, place) else { return std::future::pending().await };
    loop {
        sleep(place::LOOK).await;
        if let Ok(Role::Replica(_)) = place::role(&mut connection).await {
            return Failed::Broken(place::is_replica().to_string());
        }
        if place.has_moved().await {
            return Failed::Broken("the name of Redis leads to another address now".to_owned());
        }
    }
}

/// A decision about nobody, in a slot of a Cluster that chance picks.
fn probe(ambient: &Ambient) -> Call {
    let key = Key::new(&[&ambient.random::<16>()]);
    let scope = format!("probe {}", key.text());
    Call::default().take(script::name(&scope, &key), &Quota::new(1, Duration::from_millis(1), 1), [1, 1, 0])
}

impl Line {
    async fn open(server: &Server) -> RedisResult<(Self, Option<Place>)> {
        if server.cluster {
            let client = ClusterClient::builder([server.address.clone()])
                .connection_timeout(TIMEOUT)
                .response_timeout(TIMEOUT)
                // A redirect is followed once; whatever else fails is better decided here and now.
                .retries(1)
                .min_retry_wait(1)
                .max_retry_wait(2)
                .build()?;
            return client.get_async_connection().await.map(|connection| (Self::Cluster(connection), None));
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(TIMEOUT)).set_response_timeout(Some(TIMEOUT));
        let (connection, place) = place::connect(&server.look_up, &server.address, &config).await?;
        Ok((Self::One(connection), Some(place)))
    }

    /// By hash; a Redis that was restarted or is new to a Cluster needs the text once.
    async fn run(&self, source: &Source, call: &Call) -> RedisResult<Value> {
        match self.send(source, call, false).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.send(source, call, true).await
            }
            outcome => outcome,
        }
    }

    async fn send(&self, source: &Source, call: &Call, with_text: bool) -> RedisResult<Value> {
        let command = source.command(call, with_text);
        let value = match self.clone() {
            Self::One(mut connection) => connection.send_packed_command(&command).await,
            Self::Cluster(mut connection) => connection.req_packed_command(&command).await,
        };
        value?.extract_error()
    }
}
