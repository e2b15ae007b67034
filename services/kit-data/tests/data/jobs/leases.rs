//! Claims, leases, and the end of a process.

use std::sync::atomic::AtomicU32;

use kit_data::jobs::State;
use tokio::{runtime::Runtime, sync::Semaphore};

use super::*;
use crate::{databases::Database, locks::Holder};

on_both!(
    job_of_a_killed_process_runs_again_after_its_lease,
    job_of_a_killed_process_can_be_taken_back,
    taken_back_job_ignores_the_earlier_attempt,
    job_that_kills_its_process_dies,
    shutdown_waits_for_running_jobs_and_then_releases_them,
    continued_job_runs_again_at_once,
);

/// The default lease, in seconds.
const LEASE: i64 = 30;

/// A handler that reports, and then waits for a permit.
fn waiting(
    to: &mpsc::UnboundedSender<String>,
    permits: &Arc<Semaphore>,
) -> impl Fn(Letter, Attempt) -> Handled + Send + Sync + 'static {
    let (to, permits) = (to.clone(), Arc::clone(permits));
    move |letter, _| {
        let (to, permits) = (to.clone(), Arc::clone(&permits));
        Box::pin(async move {
            to.send(letter.to).ok();
            permits.acquire().await.unwrap().forget();
            Ok(Outcome::Done)
        })
    }
}

/// Starts a process in a runtime of its own; dropping that ends the process at once.
pub(super) async fn elsewhere(location: &Location, clock: &TestClock, config: JobsConfig) -> (Runtime, Arc<Semaphore>) {
    let (runtime, permits) = (Runtime::new().unwrap(), Arc::new(Semaphore::new(0)));
    let (location, clock, held) = (location.clone(), clock.clone(), Arc::clone(&permits));
    let (reports, mut reported) = mpsc::unbounded_channel();
    runtime.spawn(async move {
        let process = Process::start(&location, &clock).await;
        process.worker(config).on(waiting(&reports, &held)).run(Shutdown::new()).await;
    });
    next(&mut reported).await;
    (runtime, permits)
}

async fn job_of_a_killed_process_runs_again_after_its_lease(location: &Location) {
    let clock = TestClock::new();
    let process = Process::start(location, &clock).await;
    process.enqueue(&letter("ada")).await;
    let (first, _) = elsewhere(location, &clock, quick()).await;
    first.shutdown_background();
    let (reports, mut reported) = mpsc::unbounded_channel();
    let running = run(process.worker(quick()).on(reporting(&reports)));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(process.list().await[0].state, State::Running, "the lease is in force");
    clock.turn(LEASE);
    assert_eq!(next(&mut reported).await, "ada");
    process.until_empty().await;
    running.stop(LIMIT).await;
}

async fn job_of_a_killed_process_can_be_taken_back(location: &Location) {
    let clock = TestClock::new();
    let process = Process::start(location, &clock).await;
    process.enqueue(&letter("ada")).await;
    let (killed, _) = elsewhere(location, &clock, quick()).await;
    killed.shutdown_background();
    let (id, mut operator) = (process.list().await[0].id, process.operator().await);
    assert!(!operator.retry(id, clock.now()).await.unwrap(), "the lease is in force");
    let found = operator.find(id).await.unwrap().unwrap();
    assert_eq!((found.state, found.due_time), (State::Running, clock.now() + Duration::from_secs(30)));
    assert!(operator.take_back(id, clock.now()).await.unwrap());
    let (reports, mut reported) = mpsc::unbounded_channel();
    let running = run(process.worker(quick()).on(reporting(&reports)));
    assert_eq!(next(&mut reported).await, "ada");
    process.until_empty().await;
    assert_eq!(operator.find(id).await.unwrap(), None);
    assert!(!operator.take_back(id, clock.now()).await.unwrap(), "there is no such job");
    running.stop(LIMIT).await;
}

/// The process of the earlier attempt has not ended. It has one place, so that its next claim shows that the earlier attempt
/// has ended and stored its result.
async fn taken_back_job_ignores_the_earlier_attempt(location: &Location) {
    let one_place = JobsConfig { concurrency: 1, ..quick() };
    let clock = TestClock::new();
    let process = Process::start(location, &clock).await;
    process.enqueue(&letter("ada")).await;
    let (other, held) = elsewhere(location, &clock, one_place.clone()).await;
    let (id, mut operator) = (process.list().await[0].id, process.operator().await);

    // The attempt ends while the job waits.
    assert!(operator.take_back(id, clock.now()).await.unwrap());
    held.add_permits(1);
    process.until("the next claim", |jobs| jobs.iter().any(|job| job.id == id && job.state == State::Running)).await;

    // The attempt ends while another process runs the job.
    assert!(operator.take_back(id, clock.now()).await.unwrap());
    let (permits, (reports, mut reported)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let running = run(process.worker(one_place).on(waiting(&reports, &permits)));
    assert_eq!(next(&mut reported).await, "ada");
    process.enqueue(&letter("bob")).await;
    held.add_permits(1);
    let claimed = |jobs: &[Listed]| jobs.iter().any(|job| job.id != id && job.state == State::Running);
    let jobs = process.until("a claim of the free process", claimed).await;
    let job = jobs.iter().find(|job| job.id == id).expect("the job is not deleted");
    assert_eq!((job.state, job.attempts), (State::Running, 1), "the second claim is in force");

    for attempts in [held, permits] {
        attempts.add_permits(1);
    }
    process.until_empty().await;
    running.stop(LIMIT).await;
    other.shutdown_background();
}

async fn job_that_kills_its_process_dies(location: &Location) {
    let clock = TestClock::new();
    let process = Process::start(location, &clock).await;
    process.enqueue(&letter("bomb")).await;
    let config = JobsConfig { lost_leases: 2, ..quick() };
    for _ in 0..2 {
        let (killed, _) = elsewhere(location, &clock, config.clone()).await;
        killed.shutdown_background();
        clock.turn(LEASE);
    }
    let (reports, mut reported) = mpsc::unbounded_channel();
    let running = run(process.worker(config).on(reporting(&reports)));
    let dead = process.until("a dead letter", |jobs| jobs[0].state == State::Dead).await;
    assert_eq!(dead[0].failure, "the process ended, or lost the database, during 2 attempts in a row");
    assert!(reported.try_recv().is_err(), "it is not run again");
    running.stop(LIMIT).await;
}

async fn shutdown_waits_for_running_jobs_and_then_releases_them(location: &Location) {
    let process = Process::start(location, &TestClock::new()).await;
    let (permits, (reports, mut reported)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    let running = run(process.worker(quick()).on(waiting(&reports, &permits)));
    process.enqueue(&letter("done")).await;
    next(&mut reported).await;
    let stopping = tokio::spawn(running.stop(LIMIT));
    tokio::time::sleep(Duration::from_millis(100)).await;
    process.enqueue(&letter("cut")).await;
    permits.add_permits(1);
    stopping.await.unwrap();
    let left = process.list().await;
    assert_eq!((left.len(), left[0].attempts), (1, 0), "a stopping worker claims nothing");

    let running = run(process.worker(quick()).on(waiting(&reports, &permits)));
    next(&mut reported).await;
    running.stop(Duration::ZERO).await;
    let released = process.list().await;
    assert_eq!((released[0].state, released[0].attempts), (State::Waiting, 0), "the cut attempt does not count");
    assert_eq!(released[0].due_time, process.clock.now(), "another process may start it at once");
}

async fn continued_job_runs_again_at_once(location: &Location) {
    let process = Process::start(location, &TestClock::new()).await;
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let handler = move |_: Letter, attempt: Attempt| {
        assert_eq!(attempt.number, 1, "attempts count from the last success");
        let is_last = counted.fetch_add(1, Ordering::SeqCst) == 4;
        std::future::ready(Ok(if is_last { Outcome::Done } else { Outcome::Continue }))
    };
    let config = JobsConfig { poll_interval: Span(Duration::from_secs(3_600)), ..quick() };
    let running = run(process.worker(config).on(handler));
    process.enqueue(&letter("ada")).await;
    process.until_empty().await;
    assert_eq!(runs.load(Ordering::SeqCst), 5);
    running.stop(LIMIT).await;
}

/// The handler takes more than two leases.
#[tokio::test(flavor = "multi_thread")]
async fn lease_of_a_running_job_is_renewed() {
    let database = Database::postgres().await;
    let config = JobsConfig { lease: Span(Duration::from_secs(6)), ..quick() };
    let system = |process: &Process| Worker::new(process.queue.clone(), config.clone(), ClockAndRng::system());
    let clock = TestClock::new();
    let (one, two) =
        (Process::start(&database.location, &clock).await, Process::start(&database.location, &clock).await);
    let runs = Arc::new(AtomicU32::new(0));
    let handler = |runs: &Arc<AtomicU32>| {
        let runs = Arc::clone(runs);
        move |_: Letter, _| {
            runs.fetch_add(1, Ordering::SeqCst);
            Box::pin(async {
                tokio::time::sleep(Duration::from_secs(13)).await;
                Ok(Outcome::Done)
            }) as Handled
        }
    };
    let workers = [run(system(&one).on(handler(&runs))), run(system(&two).on(handler(&runs)))];
    one.enqueue(&letter("slow")).await;
    one.until("a claim", |jobs| jobs.iter().all(|job| job.state == State::Running)).await;
    one.until_empty().await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    for worker in workers {
        worker.stop(LIMIT).await;
    }
    drop((one, two));
    database.remove().await;
}

/// Reports when it is dropped.
struct Guard(mpsc::UnboundedSender<&'static str>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.send("stopped").ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempt_without_its_lease_is_stopped_and_changes_nothing() {
    let database = Database::postgres().await;
    let clock = TestClock::new();
    let (one, two) =
        (Process::start(&database.location, &clock).await, Process::start(&database.location, &clock).await);
    let (reports, mut reported) = mpsc::unbounded_channel();
    let hanging = move |_: Letter, _| {
        let guard = Guard(reports.clone());
        Box::pin(async move {
            guard.0.send("started").ok();
            std::future::pending().await
        }) as Handled
    };
    // It polls once an hour only, so that it does not find its own job.
    let span = |seconds| Span(Duration::from_secs(seconds));
    let rarely = JobsConfig { poll_interval: span(3_600), lease: span(4), ..quick() };
    let first = run(one.worker(rarely).on(hanging));
    one.enqueue(&letter("ada")).await;
    assert_eq!(next(&mut reported).await, "started");
    let (permits, (others, mut other)) = (Arc::new(Semaphore::new(0)), mpsc::unbounded_channel());
    // Its own claim outlasts the steps of the clock.
    let lasting = JobsConfig { lease: span(3_600), ..quick() };
    let second = run(two.worker(lasting).on(waiting(&others, &permits)));
    // The first process renews its claim until the second one has claimed the job between two renewals.
    let claimed = async {
        while tokio::time::timeout(Duration::from_millis(50), other.recv()).await.is_err() {
            clock.turn(10);
        }
    };
    tokio::time::timeout(LIMIT, claimed).await.expect("the second process claims the job");
    assert_eq!(next(&mut reported).await, "stopped");
    let [job] = &one.list().await[..] else { panic!("one job") };
    assert_eq!((job.state, job.attempts), (State::Running, 2), "the second claim is in force");
    permits.add_permits(1);
    one.until_empty().await;
    first.stop(Duration::ZERO).await;
    second.stop(LIMIT).await;
    drop((one, two));
    database.remove().await;
}

/// The first attempt succeeds after its lease, and before it notices the loss.
#[tokio::test(flavor = "multi_thread")]
async fn late_success_does_not_end_the_attempt_of_another_process() {
    let database = Database::postgres().await;
    let clock = TestClock::new();
    let (one, two) =
        (Process::start(&database.location, &clock).await, Process::start(&database.location, &clock).await);
    let (reports, mut reported) = mpsc::unbounded_channel();
    let permits = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
    let rarely = JobsConfig { poll_interval: Span(Duration::from_secs(3_600)), ..quick() };
    let first = run(one.worker(rarely).on(waiting(&reports, &permits[0])));
    one.enqueue(&letter("ada")).await;
    next(&mut reported).await;
    clock.turn(LEASE);
    let second = run(two.worker(quick()).on(waiting(&reports, &permits[1])));
    next(&mut reported).await;
    permits[0].add_permits(1);
    first.stop(LIMIT).await;
    let [job] = &one.list().await[..] else { panic!("the job is not deleted") };
    assert_eq!((job.state, job.attempts), (State::Running, 2));
    permits[1].add_permits(1);
    one.until_empty().await;
    second.stop(LIMIT).await;
    drop((one, two));
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_claim_disjoint_jobs() {
    let database = Database::postgres().await;
    let clock = TestClock::new();
    let (one, two) =
        (Process::start(&database.location, &clock).await, Process::start(&database.location, &clock).await);
    for n in 0..100 {
        one.enqueue(&letter(&n.to_string())).await;
    }
    let (reports, mut reported) = mpsc::unbounded_channel();
    let workers = [run(one.worker(quick()).on(reporting(&reports))), run(two.worker(quick()).on(reporting(&reports)))];
    one.until_empty().await;
    let mut seen = Vec::new();
    while let Ok(to) = reported.try_recv() {
        seen.push(to.parse::<u32>().unwrap());
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..100), "each job runs once");
    for worker in workers {
        worker.stop(LIMIT).await;
    }
    drop((one, two));
    database.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn locked_job_is_skipped_until_it_is_free() {
    let database = Database::postgres().await;
    let process = Process::start(&database.location, &TestClock::new()).await;
    process.enqueue(&letter("locked")).await;
    let locked = process.list().await[0].id;
    for to in ["ada", "bob"] {
        process.enqueue(&letter(to)).await;
    }
    let mut holder = Holder::begin(&database.location, "letters").await;
    holder.run("SELECT job_id FROM jobs WHERE job_id = $1 FOR UPDATE", &[locked]).await;
    let (reports, mut reported) = mpsc::unbounded_channel();
    let running = run(process.worker(quick()).on(reporting(&reports)));
    let mut seen = [next(&mut reported).await, next(&mut reported).await];
    seen.sort_unstable();
    assert_eq!(seen, ["ada", "bob"]);
    holder.waiters(0).await;
    holder.release().await;
    assert_eq!(next(&mut reported).await, "locked");
    process.until_empty().await;
    running.stop(LIMIT).await;
    drop(process);
    database.remove().await;
}
