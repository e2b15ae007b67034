//! The connection to Redis, or none while Redis is not usable.
//!
//! Five failed or late responses in a row close the connection. From then on no call waits for Redis. One task
//! reconnects, each time with a new connection, so that it finds a server replaced behind the same name. A connection
//! is used only after the script ran on it within the budget: a slow, full, loading or read-only server counts as
//! unreachable.

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
    ClockAndRng,
    bus::{
        Server,
        place::{self, Place, Role},
    },
    limiter::{Key, Quota},
};

/// The number of failures in a row that close a connection.
const MAX_FAILURES: u32 = 5;
/// The timeout of connecting, and of the first response.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The interval of probes on a connection, which may be idle.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The first and the longest pause between connection attempts. Jitter shortens each pause, so that gateways that lost
/// Redis together do not reconnect at the same time.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// The connection to Redis.
pub(super) struct Link {
    server: Server,
    budget: Duration,
    connection: RwLock<Option<Connection>>,
    failures: AtomicU32,
    broken: Notify,
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Why Redis did not decide.
#[derive(Debug)]
pub(super) enum Failed {
    /// There is no connection.
    Unavailable,
    /// No response within the budget.
    Late,
    /// Redis returned an error, or the connection broke.
    Broken(String),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unavailable => f.write_str("there is no connection"),
            Self::Late => f.write_str("no response within limiter.budget"),
            Self::Broken(error) => f.write_str(error),
        }
    }
}

impl Link {
    pub(super) fn new(server: Server, budget: Duration) -> Arc<Self> {
        let (connection, failures, broken) = (RwLock::default(), AtomicU32::new(0), Notify::new());
        Arc::new(Self { server, budget, connection, failures, broken })
    }

    /// Whether there is a connection.
    pub(super) fn is_up(&self) -> bool {
        self.connection.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Runs a script within the budget.
    pub(super) async fn run(&self, source: &Source, call: &Call) -> Result<Value, Failed> {
        let connection = self.connection.read().unwrap_or_else(PoisonError::into_inner).clone();
        let connection = connection.ok_or(Failed::Unavailable)?;
        let outcome = match timeout(self.budget, connection.run(source, call)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Failed::Broken(error.to_string())),
            Err(_) => Err(Failed::Late),
        };
        self.record(&outcome);
        outcome
    }

    fn record(&self, outcome: &Result<Value, Failed>) {
        match outcome {
            // The common case writes nothing that other threads read.
            Ok(_) if self.failures.load(Ordering::Relaxed) == 0 => {}
            Ok(_) => self.failures.store(0, Ordering::Relaxed),
            Err(failed) => {
                tracing::debug!(error = %failed, "Redis did not decide");
                if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= MAX_FAILURES {
                    self.give_up(failed);
                }
            }
        }
    }

    fn give_up(&self, failed: &Failed) {
        let had = self.connection.write().unwrap_or_else(PoisonError::into_inner).take();
        if had.is_some() {
            metrics::gauge!("limiter_connected").set(0.0);
            tracing::warn!(error = %failed, "Redis is not usable for rate limits; each process limits on its own until it is");
            self.broken.notify_one();
        }
    }

    /// Keeps a connection open: connects, and reconnects when the connection is given up.
    pub(super) async fn keep(self: Arc<Self>, clock_rng: ClockAndRng) {
        metrics::gauge!("limiter_connected").set(0.0);
        let [first, most] = PAUSES;
        let mut pause = first;
        loop {
            match self.open(&clock_rng).await {
                Ok((connection, place)) => {
                    self.failures.store(0, Ordering::Relaxed);
                    *self.connection.write().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
                    metrics::gauge!("limiter_connected").set(1.0);
                    tracing::info!("limits are shared through Redis");
                    pause = first;
                    self.watch(&clock_rng, connection, place).await;
                }
                Err(failed) => tracing::debug!(error = %failed, "no connection to Redis"),
            }
            sleep(clock_rng.between(pause / 2, pause)).await;
            pause = most.min(pause * 2);
        }
    }

    /// Probes the connection until it is given up. An idle connection fails unnoticed, and a working one may lead to
    /// the wrong node.
    async fn watch(&self, clock_rng: &ClockAndRng, connection: Connection, place: Option<Place>) {
        let probing = async {
            let mut ticks = interval(PROBE_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                self.run(&DECIDE, &probe(clock_rng)).await.ok();
            }
        };
        tokio::select! {
            () = probing => {}
            failed = moved(connection, place) => {
                self.give_up(&failed);
                // `give_up` has sent a notification: it must not close the next connection.
                self.broken.notified().await;
            }
            () = self.broken.notified() => {}
        }
    }

    /// Connects and runs the script twice: the first run loads it, the second must stay within the budget.
    async fn open(&self, clock_rng: &ClockAndRng) -> Result<(Connection, Option<Place>), Failed> {
        let broken = |error: RedisError| Failed::Broken(error.to_string());
        let opening = async {
            let (connection, place) = Connection::open(&self.server).await.map_err(broken)?;
            connection.run(&DECIDE, &probe(clock_rng)).await.map_err(broken)?;
            let started = Instant::now();
            connection.run(&DECIDE, &probe(clock_rng)).await.map_err(broken)?;
            if started.elapsed() <= self.budget { Ok((connection, place)) } else { Err(Failed::Late) }
        };
        timeout(2 * TIMEOUT, opening).await.unwrap_or(Err(Failed::Late))
    }
}

/// Ends when the node is no longer a master, or its name resolves elsewhere. The Cluster client follows its nodes
/// itself.
async fn moved(connection: Connection, place: Option<Place>) -> Failed {
    let (Connection::One(mut connection), Some(mut place)) = (connection, place) else {
        return std::future::pending().await;
    };
    loop {
        sleep(place::CHECK_INTERVAL).await;
        if let Ok(Role::Replica(_)) = place::role(&mut connection).await {
            return Failed::Broken(place::is_replica().to_string());
        }
        if place.has_moved().await {
            return Failed::Broken("the name of Redis now resolves to another address".to_owned());
        }
    }
}

/// A request for a random key, in a random slot of a Cluster.
fn probe(clock_rng: &ClockAndRng) -> Call {
    let key = Key::new(&[&clock_rng.random::<16>()]);
    let scope = format!("probe {}", key.text());
    Call::default().take(script::name(&scope, &key), &Quota::new(1, Duration::from_millis(1), 1), [1, 1, 0])
}

impl Connection {
    async fn open(server: &Server) -> RedisResult<(Self, Option<Place>)> {
        if server.cluster {
            let client = ClusterClient::builder([server.address.clone()])
                .connection_timeout(TIMEOUT)
                .response_timeout(TIMEOUT)
                // A redirect is followed once. After any other failure the local decision is better than waiting.
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

    /// Runs the script by its hash. A Redis that does not know the script gets its text once.
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
