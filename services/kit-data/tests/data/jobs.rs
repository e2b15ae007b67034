//! Durable jobs, on both databases. Each worker has its own pools, as in a process of its own.

mod clocks;
mod dead;
mod leases;
mod places;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use kit::{
    ClockAndRng, Timestamp,
    config::Span,
    shutdown::{self, Shutdown},
    time::{Clock, SystemEntropy},
};
use kit_data::{
    jobs::{Attempt, Failure, Filter, Job, JobsConfig, Listed, NewJob, Operator, Outcome, Queue, Worker},
    store::{Location, Pool, postgres, sqlite},
};
use serde::{Deserialize, Serialize};
use sqlx::{Postgres, Sqlite};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::databases::{on_both, patient};

on_both!(rolled_back_transaction_enqueues_nothing, commit_wakes_the_worker, later_job_waits_until_it_is_due);

/// The limit of each wait: far more than it takes.
const LIMIT: Duration = Duration::from_secs(60);

/// A job of the tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Letter {
    to: String,
}

impl Job for Letter {
    const KIND: &'static str = "letter.send";
}

fn letter(to: &str) -> Letter {
    Letter { to: to.to_owned() }
}

/// A clock that tests set in both directions.
#[derive(Clone)]
struct TestClock(Arc<AtomicI64>);

impl TestClock {
    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_700_000_000_000_000)))
    }

    fn turn(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

enum Pools {
    Postgres(Pool<Postgres>),
    Sqlite(sqlite::Pools),
}

/// A process of a service: its pools, queue and clock.
struct Process {
    pools: Pools,
    queue: Queue,
    clock: TestClock,
    location: Location,
}

impl Process {
    async fn start(location: &Location, clock: &TestClock) -> Self {
        let settings = patient(8);
        let pools = match location {
            Location::Postgres(url) => {
                let migrator = sqlx::migrate!("tests/data/migrations/postgres");
                Pools::Postgres(postgres::open(url, "letters", &settings, &migrator).await.unwrap())
            }
            Location::Sqlite(path) => {
                let migrator = sqlx::migrate!("tests/data/migrations/sqlite");
                Pools::Sqlite(sqlite::open(path, &settings, &migrator).await.unwrap())
            }
        };
        let queue = match &pools {
            Pools::Postgres(pool) => Queue::new("letters", pool.clone(), pool.clone()),
            Pools::Sqlite(pools) => Queue::new("letters", pools.read.clone(), pools.write.clone()),
        };
        Self { pools, queue, clock: clock.clone(), location: location.clone() }
    }

    fn clock_rng(&self) -> ClockAndRng {
        ClockAndRng { clock: Arc::new(self.clock.clone()), entropy: Arc::new(SystemEntropy::default()) }
    }

    /// Enqueues a job that is due in `seconds`, and commits or rolls back.
    async fn transact<J: Job>(&self, job: &J, seconds: u64, commit: bool) {
        let clock_rng = self.clock_rng();
        let now = clock_rng.now();
        let new = NewJob { due: now + Duration::from_secs(seconds), ..NewJob::now(clock_rng.new_id(), job, now) };
        match &self.pools {
            Pools::Postgres(pool) => {
                let mut tx = pool.begin().await.unwrap();
                self.queue.enqueue(&mut tx, new).await.unwrap();
                let ended = if commit { tx.commit().await } else { tx.rollback().await };
                ended.unwrap();
            }
            Pools::Sqlite(pools) => {
                let mut tx = pools.write.begin().await.unwrap();
                self.queue.enqueue(&mut tx, new).await.unwrap();
                let ended = if commit { tx.commit().await } else { tx.rollback().await };
                ended.unwrap();
            }
        }
    }

    async fn enqueue<J: Job>(&self, job: &J) {
        self.transact(job, 0, true).await;
    }

    fn worker(&self, config: JobsConfig) -> Worker {
        Worker::new(self.queue.clone(), config, self.clock_rng())
    }

    async fn operator(&self) -> Operator {
        Operator::connect(&self.location, "letters").await.unwrap()
    }

    /// All jobs in the table.
    async fn list(&self) -> Vec<Listed> {
        self.operator().await.list(&Filter { limit: 1_000, ..Filter::default() }).await.unwrap()
    }

    /// Waits until the jobs in the table are as wanted.
    async fn until(&self, what: &str, is_it: impl Fn(&[Listed]) -> bool) -> Vec<Listed> {
        let waiting = async {
            loop {
                let jobs = self.list().await;
                if is_it(&jobs) {
                    return jobs;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("timed out: {what}"))
    }

    async fn until_empty(&self) {
        self.until("no job", <[Listed]>::is_empty).await;
    }
}

/// Polls often.
fn quick() -> JobsConfig {
    JobsConfig { poll_interval: Span(Duration::from_millis(20)), ..JobsConfig::default() }
}

/// A running worker.
struct Running {
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

fn run(worker: Worker) -> Running {
    let shutdown = Shutdown::new();
    Running { task: tokio::spawn(worker.run(shutdown.clone())), shutdown }
}

impl Running {
    /// Stops the worker; `grace` is the time that its jobs have.
    async fn stop(self, grace: Duration) {
        let config = shutdown::ShutdownConfig { grace: Span(grace), ..shutdown::ShutdownConfig::default() };
        let Self { shutdown, task } = self;
        let down = tokio::spawn(async move { shutdown.run(&config).await });
        tokio::time::timeout(LIMIT, task).await.expect("the worker ends").unwrap();
        down.abort();
    }
}

/// A handler that reports each letter, and succeeds.
fn reporting(to: &mpsc::UnboundedSender<String>) -> impl Fn(Letter, Attempt) -> Handled + Send + Sync + 'static {
    let to = to.clone();
    move |letter, _| {
        to.send(letter.to).ok();
        Box::pin(std::future::ready(Ok(Outcome::Done)))
    }
}

type Handled = std::pin::Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send>>;

async fn next<T>(from: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(LIMIT, from.recv()).await.expect("a report").unwrap()
}

async fn rolled_back_transaction_enqueues_nothing(location: &Location) {
    let process = Process::start(location, &TestClock::new()).await;
    process.transact(&letter("ada"), 0, false).await;
    assert_eq!(process.list().await, []);
    process.enqueue(&letter("bob")).await;
    let [job] = &process.list().await[..] else { panic!("one job") };
    assert_eq!((job.kind.as_str(), job.version, job.payload.as_str()), ("letter.send", 1, r#"{"to":"bob"}"#));
}

/// The worker polls once an hour only.
async fn commit_wakes_the_worker(location: &Location) {
    let process = Process::start(location, &TestClock::new()).await;
    let (reports, mut reported) = mpsc::unbounded_channel();
    let config = JobsConfig { poll_interval: Span(Duration::from_secs(3_600)), ..quick() };
    let running = run(process.worker(config).on(reporting(&reports)));
    for to in ["ada", "bob", "eve"] {
        process.enqueue(&letter(to)).await;
        assert_eq!(next(&mut reported).await, to);
        process.until_empty().await;
    }
    running.stop(LIMIT).await;
}

async fn later_job_waits_until_it_is_due(location: &Location) {
    let process = Process::start(location, &TestClock::new()).await;
    let (reports, mut reported) = mpsc::unbounded_channel();
    let running = run(process.worker(quick()).on(reporting(&reports)));
    process.transact(&letter("later"), 60, true).await;
    process.enqueue(&letter("now")).await;
    assert_eq!(next(&mut reported).await, "now");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(process.list().await.len(), 1, "it waits");
    process.clock.turn(60);
    assert_eq!(next(&mut reported).await, "later");
    running.stop(LIMIT).await;
}
