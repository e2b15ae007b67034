//! The connection to Redis, or none while Redis is not usable.
//!
//! Five failed or late responses in a row close the connection. From then on no call waits for Redis. One task
//! reconnects, each time with a new connection, so that it finds a server replaced behind the same name. A connection
//! is used only after the script ran on it within the budget: a slow, full, loading or read-only server counts as
//! unreachable.

use std::{
    sync::{
        Arc,
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
use parking_lot::RwLock;
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::script::{self, DECIDE, LuaScript, ScriptCall};
use crate::{
    ClockAndRng,
    limiter::{BucketKey, Quota},
    redis::{self, CHECK_INTERVAL, Node, Pauses, RedisServer},
};

/// The number of failures in a row that close a connection.
const MAX_FAILURES: u32 = 5;
/// The timeout of connecting, and of the first response.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The interval of probes on a connection, which may be idle.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The longest pause between connection attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The connection to Redis.
pub(super) struct LimiterLink {
    server: RedisServer,
    budget: Duration,
    connection: RwLock<Option<RedisConnection>>,
    failures: AtomicU32,
    broken: Notify,
}

#[derive(Clone)]
enum RedisConnection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// Why Redis did not decide.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// There is no connection.
    #[error("there is no connection")]
    Unavailable,
    /// No response within the budget.
    #[error("no response within limiter.budget")]
    Late,
    /// Redis returned an error, or the connection broke.
    #[error("{0}")]
    Broken(String),
}

impl LimiterLink {
    pub(super) fn new(server: RedisServer, budget: Duration) -> Arc<Self> {
        let (connection, failures, broken) = (RwLock::default(), AtomicU32::new(0), Notify::new());
        Arc::new(Self { server, budget, connection, failures, broken })
    }

    /// Whether there is a connection.
    pub(super) fn is_up(&self) -> bool {
        self.connection.read().is_some()
    }

    /// Runs a script within the budget.
    pub(super) async fn run(&self, source: &LuaScript, call: &ScriptCall) -> Result<Value, Failed> {
        let connection = self.connection.read().clone();
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
        let had = self.connection.write().take();
        if had.is_some() {
            metrics::gauge!("limiter_connected").set(0.0);
            tracing::warn!(error = %failed, "Redis is not usable for rate limits; each process limits on its own until it is");
            self.broken.notify_one();
        }
    }

    /// Keeps a connection open: connects, and reconnects when the connection is given up.
    pub(super) async fn keep(self: Arc<Self>, clock_rng: ClockAndRng) {
        metrics::gauge!("limiter_connected").set(0.0);
        let mut pauses = Pauses::new(LONGEST_PAUSE);
        loop {
            match self.open(&clock_rng).await {
                Ok((connection, node)) => {
                    self.failures.store(0, Ordering::Relaxed);
                    *self.connection.write() = Some(connection.clone());
                    metrics::gauge!("limiter_connected").set(1.0);
                    tracing::info!("limits are shared through Redis");
                    pauses.reset();
                    self.watch(&clock_rng, connection, node).await;
                }
                Err(failed) => tracing::debug!(error = %failed, "no connection to Redis"),
            }
            pauses.wait(&clock_rng).await;
        }
    }

    /// Probes the connection until it is given up. An idle connection fails unnoticed, and a working one may lead to
    /// the wrong node.
    async fn watch(&self, clock_rng: &ClockAndRng, connection: RedisConnection, node: Option<Node>) {
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
            failed = moved(connection, node) => {
                self.give_up(&failed);
                // `give_up` has sent a notification: it must not close the next connection.
                self.broken.notified().await;
            }
            () = self.broken.notified() => {}
        }
    }

    /// Connects and runs the script twice: the first run loads it, the second must stay within the budget.
    async fn open(&self, clock_rng: &ClockAndRng) -> Result<(RedisConnection, Option<Node>), Failed> {
        let broken = |error: RedisError| Failed::Broken(error.to_string());
        let opening = async {
            let (connection, node) = RedisConnection::open(&self.server).await.map_err(broken)?;
            connection.run(&DECIDE, &probe(clock_rng)).await.map_err(broken)?;
            let started = Instant::now();
            connection.run(&DECIDE, &probe(clock_rng)).await.map_err(broken)?;
            if started.elapsed() <= self.budget { Ok((connection, node)) } else { Err(Failed::Late) }
        };
        timeout(2 * TIMEOUT, opening).await.unwrap_or(Err(Failed::Late))
    }
}

/// Ends when the node is no longer a master, or its name resolves elsewhere. The Cluster client follows its nodes
/// itself.
async fn moved(connection: RedisConnection, node: Option<Node>) -> Failed {
    let (RedisConnection::One(mut connection), Some(mut node)) = (connection, node) else {
        return std::future::pending().await;
    };
    loop {
        sleep(CHECK_INTERVAL).await;
        // An error is no proof: the probes decide about a connection that fails.
        if let Ok(Some(reason)) = node.check(&mut connection).await {
            return Failed::Broken(reason);
        }
    }
}

/// A request for a random key, in a random slot of a Cluster.
fn probe(clock_rng: &ClockAndRng) -> ScriptCall {
    let key = BucketKey::new(&[&clock_rng.random::<16>()]);
    let scope = format!("probe {}", key.text());
    ScriptCall::default().take(script::name(&scope, &key), &Quota::new(1, Duration::from_millis(1), 1), [1, 1, 0])
}

impl RedisConnection {
    async fn open(server: &RedisServer) -> RedisResult<(Self, Option<Node>)> {
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
        let (connection, node) = redis::connect(&server.look_up, &server.address, &config).await?;
        Ok((Self::One(connection), Some(node)))
    }

    /// Runs the script by its hash. A Redis that does not know the script gets its text once.
    async fn run(&self, source: &LuaScript, call: &ScriptCall) -> RedisResult<Value> {
        match self.send(source, call, false).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.send(source, call, true).await
            }
            outcome => outcome,
        }
    }

    async fn send(&self, source: &LuaScript, call: &ScriptCall, with_text: bool) -> RedisResult<Value> {
        let command = source.command(call, with_text);
        let value = match self.clone() {
            Self::One(mut connection) => connection.send_packed_command(&command).await,
            Self::Cluster(mut connection) => connection.req_packed_command(&command).await,
        };
        value?.extract_error()
    }
}
