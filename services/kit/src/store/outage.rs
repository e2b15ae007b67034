//! Whether a database can be used: a probe on a connection of its own asks once a second. While it cannot, calls are
//! refused at once; when it can again, connections from before are not used any more.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// Between two questions.
const PERIOD: Duration = Duration::from_secs(1);
/// Between two questions while the database cannot be used.
const AWAY_PERIOD: Duration = Duration::from_millis(250);
/// How long one question may take, connecting included.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How many questions in a row without a reply mean "away". One alone may be a busy machine.
const PATIENCE: u32 = 3;

/// Since when connections are suspect. One for the process: that its pools look again where only one of them has to costs
/// each a few new connections.
static SUSPECT: Mutex<Option<Instant>> = Mutex::new(None);
/// Told when that changes.
static SUSPICION: Notify = Notify::const_new();

/// Says that connections made before now may lead to a server that was replaced. Probes look at once.
pub(super) fn suspect() {
    *SUSPECT.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    SUSPICION.notify_waiters();
}

/// Whether a connection of this age is suspect.
pub(super) fn is_suspect(age: Duration) -> bool {
    let since = *SUSPECT.lock().unwrap_or_else(PoisonError::into_inner);
    since.is_some_and(|since| since.elapsed() <= age)
}

/// Why a database cannot be used.
#[derive(Debug)]
pub(super) enum Problem {
    /// It takes no changes: a replica, or a primary that was told so.
    ReadOnly,
    /// There is no server, or it says that it takes no calls.
    Unavailable(sqlx::Error),
    /// No reply in time.
    Silent,
    /// The probe was refused. Connections that are open may work.
    Refused(sqlx::Error),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadOnly => f.write_str("it is read-only"),
            Self::Unavailable(error) => write!(f, "it is away: {error}"),
            Self::Silent => f.write_str("it does not reply"),
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

/// What the probe has found.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// The last question had a good reply.
    answers: AtomicBool,
    /// Calls are refused at once.
    is_open: AtomicBool,
}

impl Outage {
    /// A database that was just used.
    pub(super) fn none() -> Arc<Self> {
        Arc::new(Self { answers: AtomicBool::new(true), is_open: AtomicBool::new(false) })
    }

    /// Whether the last question had a good reply.
    pub(super) fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Whether calls are to be refused.
    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Takes note of a reply; `silent` counts those that did not come, in a row.
    fn record(&self, name: &str, reply: &Result<(), Problem>, silent: u32) {
        let is_away = match reply {
            Ok(()) => false,
            Err(Problem::ReadOnly | Problem::Unavailable(_)) => true,
            Err(Problem::Silent) => silent >= PATIENCE || self.is_open(),
            Err(Problem::Refused(_)) => self.is_open(),
        };
        self.answers.store(reply.is_ok(), Ordering::Relaxed);
        match (self.is_open.swap(is_away, Ordering::Relaxed), reply) {
            (false, Err(problem)) if is_away => {
                tracing::warn!(database = name, %problem, "the database cannot be used")
            }
            (true, Ok(())) => {
                tracing::info!(database = name, "the database can be used again");
                suspect();
            }
            _ => {}
        }
    }
}

/// Asks a database whether it can be used, on a connection of its own.
pub(super) trait Probe: Send + 'static {
    /// Asks once. Dropped when it takes too long: the next call starts on a new connection.
    fn ask(&mut self) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// Asks until nothing else holds `outage`.
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
