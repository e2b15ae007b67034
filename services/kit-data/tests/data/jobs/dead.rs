//! Failures, retries, and dead letters.

use std::sync::atomic::{AtomicBool, AtomicU32};

use kit_data::jobs::{State, Unreadable};

use super::*;

on_both!(
    poisoned_job_dies_and_blocks_no_other,
    operator_retries_and_deletes_dead_letters,
    unreadable_job_dies_at_once,
    newer_version_is_left_to_newer_processes,
    earlier_version_is_converted,
);

/// Backs off for a few milliseconds of the system's clock.
fn impatient(attempts: u32) -> JobsConfig {
    let least = Span(Duration::from_millis(10));
    JobsConfig { attempts, backoff: least, most_backoff: least, ..quick() }
}

/// A handler that panics for "panic", fails for "poison", and reports the others.
fn picky(to: &mpsc::UnboundedSender<String>) -> impl Fn(Letter, Attempt) -> Handled + Send + Sync + 'static {
    let to = to.clone();
    move |letter, _| {
        let to = to.clone();
        Box::pin(async move {
            match &*letter.to {
                "panic" => panic!("the test's own panic"),
                "poison" => Err(Failure::transient("no such street")),
                _ => {
                    to.send(letter.to).ok();
                    Ok(Outcome::Done)
                }
            }
        })
    }
}

async fn poisoned_job_dies_and_blocks_no_other(location: &Location) {
    kit::telemetry::metrics();
    let clock = TestClock::new();
    let process = Process::start(location, &clock).await;
    let (reports, mut reported) = mpsc::unbounded_channel();
    // One place: a blocking job would block all.
    let config = JobsConfig { concurrency: 1, ..impatient(3) };
    let running = run(process.worker(config).on(picky(&reports)));
    for to in ["poison", "panic", "ada", "bob"] {
        process.enqueue(&letter(to)).await;
    }
    let mut seen = [next(&mut reported).await, next(&mut reported).await];
    seen.sort_unstable();
    assert_eq!(seen, ["ada", "bob"]);
    let dead = process
        .until("two dead letters", |jobs| {
            clock.turn(1);
            jobs.len() == 2 && jobs.iter().all(|job| job.state == State::Dead)
        })
        .await;
    assert_eq!(dead.iter().map(|job| job.attempts).collect::<Vec<_>>(), [3, 3]);
    let mut failures: Vec<_> = dead.iter().map(|job| &*job.failure).collect();
    failures.sort_unstable();
    assert_eq!(failures, ["no such street", "the handler panicked"]);
    let metrics = kit::telemetry::metrics().render();
    assert!(metrics.contains(r#"jobs_failures_total{queue="letters",kind="letter.send"}"#), "{metrics}");
    assert!(metrics.contains(r#"jobs{queue="letters",kind="letter.send",state="dead"}"#), "{metrics}");
    running.stop(LIMIT).await;
}

async fn operator_retries_and_deletes_dead_letters(location: &Location) {
    let process = Process::start(location, &TestClock::new()).await;
    let (is_open, attempts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let handler = {
        let (is_open, attempts) = (Arc::clone(&is_open), Arc::clone(&attempts));
        move |_: Letter, _| {
            attempts.fetch_add(1, Ordering::SeqCst);
            let closed = || Failure::permanent("the office is closed");
            std::future::ready(if is_open.load(Ordering::SeqCst) { Ok(Outcome::Done) } else { Err(closed()) })
        }
    };
    let running = run(process.worker(quick()).on(handler));
    for to in ["ada", "bob"] {
        process.enqueue(&letter(to)).await;
    }
    let is_dead = |jobs: &[Listed]| jobs.len() == 2 && jobs.iter().all(|job| job.state == State::Dead);
    let dead = process.until("two dead letters", is_dead).await;
    assert_eq!(attempts.load(Ordering::SeqCst), 2, "one attempt each");
    let mut operator = process.operator().await;
    let filter = |state, kind: &str| Filter { state: Some(state), kind: Some(kind.to_owned()), limit: 1 };
    assert_eq!(operator.list(&filter(State::Dead, "letter.send")).await.unwrap(), dead[..1]);
    assert_eq!(operator.list(&filter(State::Waiting, "letter.send")).await.unwrap(), []);
    assert_eq!(operator.list(&filter(State::Dead, "other")).await.unwrap(), []);

    assert!(operator.delete(dead[0].id, process.clock.now()).await.unwrap());
    assert!(!operator.delete(dead[0].id, process.clock.now()).await.unwrap(), "it has gone");
    is_open.store(true, Ordering::SeqCst);
    assert!(operator.retry(dead[1].id, process.clock.now()).await.unwrap());
    process.until_empty().await;
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
    running.stop(LIMIT).await;
}

/// A later version of a letter.
#[derive(Debug, Serialize, Deserialize)]
struct Parcel {
    to: String,
    grams: u32,
}

impl Job for Parcel {
    const KIND: &'static str = "letter.send";
    const VERSION: i32 = 2;

    fn read(version: i32, payload: &str) -> Result<Self, Unreadable> {
        let unreadable = |error: serde_json::Error| Unreadable(error.to_string());
        match version {
            1 => {
                let Letter { to } = Letter::read(version, payload)?;
                Ok(Self { to, grams: 20 })
            }
            _ => serde_json::from_str(payload).map_err(unreadable),
        }
    }
}

async fn unreadable_job_dies_at_once(location: &Location) {
    /// Has the kind of a letter, and other fields.
    #[derive(Serialize, Deserialize)]
    struct Wrong(u8);
    impl Job for Wrong {
        const KIND: &'static str = Letter::KIND;
    }
    let process = Process::start(location, &TestClock::new()).await;
    let (reports, _reported) = mpsc::unbounded_channel();
    let running = run(process.worker(quick()).on(reporting(&reports)));
    process.enqueue(&Wrong(7)).await;
    let [job] = &process.until("a dead letter", |jobs| jobs.iter().any(|job| job.state == State::Dead)).await[..]
    else {
        panic!("one job")
    };
    assert!(job.attempts == 1 && job.failure.starts_with("the stored job cannot be read: "), "{job:?}");
    running.stop(LIMIT).await;
}

async fn newer_version_is_left_to_newer_processes(location: &Location) {
    let process = Process::start(location, &TestClock::new()).await;
    process.enqueue(&Parcel { to: "ada".to_owned(), grams: 500 }).await;
    let (reports, mut reported) = mpsc::unbounded_channel();
    let older = run(process.worker(quick()).on(reporting(&reports)));
    process.enqueue(&letter("bob")).await;
    assert_eq!(next(&mut reported).await, "bob");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let [left] = &process.list().await[..] else { panic!("one job") };
    assert_eq!((left.version, left.attempts, left.state), (2, 0, State::Waiting));
    older.stop(LIMIT).await;
    assert_eq!(delivered(&process).await, ("ada".to_owned(), 500));
}

async fn earlier_version_is_converted(location: &Location) {
    let process = Process::start(location, &TestClock::new()).await;
    process.enqueue(&letter("ada")).await;
    assert_eq!(delivered(&process).await, ("ada".to_owned(), 20));
}

/// The parcel that a worker of the newer release receives.
async fn delivered(process: &Process) -> (String, u32) {
    let (reports, mut reported) = mpsc::unbounded_channel();
    let handler = move |parcel: Parcel, _| {
        reports.send((parcel.to, parcel.grams)).ok();
        std::future::ready(Ok(Outcome::Done))
    };
    let running = run(process.worker(quick()).on(handler));
    let parcel = next(&mut reported).await;
    process.until_empty().await;
    running.stop(LIMIT).await;
    parcel
}
