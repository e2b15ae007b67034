//! A circuit breaker for a database. A probe checks once a second, on its own connection, whether the database is
//! usable. While it is not, calls fail at once; after an outage, earlier connections are not reused.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The time between two probes.
const PERIOD: Duration = Duration::from_secs(1);
/// The time between two probes during an outage.
const AWAY_PERIOD: Duration = Duration::from_millis(250);
/// The timeout of one probe, including the connection.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How many probes in a row without a response mean an outage. A single one may be a busy machine.
const PATIENCE: u32 = 3;

/// Connections from before this time are suspect. The process has one for all pools: an unnecessary check costs a pool
/// only a few new connections.
static SUSPECT: Mutex<Option<Instant>> = Mutex::new(None);
/// Notified when it changes.
static SUSPICION: Notify = Notify::const_new();

/// Marks existing connections as suspect: they may lead to a replaced server. Starts all probes at once.
pub(super) fn suspect() {
    *SUSPECT.lock() = Some(Instant::now());
    SUSPICION.notify_waiters();
}

/// Whether a connection of this age is suspect.
pub(super) fn is_suspect(age: Duration) -> bool {
    let since = *SUSPECT.lock();
    since.is_some_and(|since| since.elapsed() <= age)
}

/// Why a database cannot be used.
#[derive(Debug)]
pub(super) enum Problem {
    /// It is read-only: a replica, or a primary that is set to read-only.
    ReadOnly,
    /// There is no server, or it accepts no connections now.
    Unavailable(sqlx::Error),
    /// No response in time.
    Silent,
    /// It refused the probe. Open connections may work.
    Refused(sqlx::Error),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => f.write_str("it is read-only"),
            Self::Unavailable(error) => write!(f, "it is unavailable: {error}"),
            Self::Silent => f.write_str("it does not respond"),
            Self::Refused(error) => write!(f, "it refuses connections: {error}"),
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let is_away = match &error {
            sqlx::Error::Io(_) => true,
            sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with("57P0")),
            _ => false,
        };
        if is_away { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

/// The result of the probes.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Whether the last probe succeeded.
    is_reachable: AtomicBool,
    /// Whether calls fail at once.
    is_open: AtomicBool,
}

impl Outage {
    /// The initial state, for a database that was just used.
    pub(super) fn none() -> Arc<Self> {
        Arc::new(Self { is_reachable: AtomicBool::new(true), is_open: AtomicBool::new(false) })
    }

    /// Whether the last probe succeeded.
    pub(super) fn is_reachable(&self) -> bool {
        self.is_reachable.load(Ordering::Relaxed)
    }

    /// Whether calls must fail at once.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Records the result of a probe; `silent` counts the probes in a row without a response.
    fn record(&self, name: &str, reply: &Result<(), Problem>, silent: u32) {
        let is_away = match reply {
            Ok(()) => false,
            Err(Problem::ReadOnly | Problem::Unavailable(_)) => true,
            Err(Problem::Silent) => silent >= PATIENCE || self.is_open(),
            Err(Problem::Refused(_)) => self.is_open(),
        };
        self.is_reachable.store(reply.is_ok(), Ordering::Relaxed);
        match (self.is_open.swap(is_away, Ordering::Relaxed), reply) {
            (false, Err(problem)) if is_away => {
                tracing::warn!(database = name, %problem, "the database is not usable; calls fail until it is")
            }
            (true, Ok(())) => {
                tracing::info!(database = name, "the database is usable again");
                suspect();
            }
            _ => {}
        }
    }
}

/// Checks whether a database is usable, on its own connection.
pub(super) trait Probe: Send + 'static {
    /// Checks once. The caller drops the future at the timeout; the next call then makes a new connection.
    fn ask(&mut self) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// Runs the probe until no other owner of `outage` exists.
pub(super) fn watch(name: String, outage: &Arc<Outage>, mut probe: impl Probe) {
    let outage = Arc::clone(outage);
    tokio::spawn(async move {
        let mut silent = 0;
        while Arc::strong_count(&outage) > 1 {
            let reply = tokio::time::timeout(TIMEOUT, probe.ask()).await.unwrap_or(Err(Problem::Silent));
            silent = if matches!(reply, Err(Problem::Silent)) { silent + 1 } else { 0 };
            outage.record(&name, &reply, silent);
            let pause = tokio::time::sleep(if outage.is_open() { AWAY_PERIOD } else { PERIOD });
            tokio::select! {
                () = pause => {}
                () = SUSPICION.notified() => {}
            }
        }
    });
}
