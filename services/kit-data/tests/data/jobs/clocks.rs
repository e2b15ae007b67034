//! Recurring jobs, and steps of the clock.

use std::sync::atomic::AtomicU32;

use kit_data::jobs::State;
use tokio::sync::Semaphore;

use super::{leases::elsewhere, *};

on_both!(
    recurring_job_runs_once_per_interval,
    shorter_interval_takes_effect_at_once,
    clock_that_is_set_back_stops_no_job,
    clock_that_jumps_ahead_runs_no_job_twice,
);

const MINUTE: Duration = Duration::from_secs(60);

/// A recurring handler that reports, and fails each second time.
fn ticking(
    to: &mpsc::UnboundedSender<u32>,
    runs: &Arc<AtomicU32>,
) -> impl Fn(Attempt) -> Handled + Send + Sync + 'static {
    let (to, runs) = (to.clone(), Arc::clone(runs));
    move |_| {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        to.send(run).ok();
        let failed = || Err(Failure::permanent("each second run fails"));
        Box::pin(std::future::ready(if run % 2 == 1 { failed() } else { Ok(Outcome::Done) }))
    }
}

async fn recurring_job_runs_once_per_interval(location: &Location) {
    let clock = TestClock::new();
    let process = Process::start(location, &clock).await;
    let ((reports, mut reported), runs) = (mpsc::unbounded_channel(), Arc::new(AtomicU32::new(0)));
    // Two workers share the row.
    let worker = || run(process.worker(quick()).every("letters.collect", MINUTE, ticking(&reports, &runs)));
    let workers = [worker(), worker()];
    process.until("one row", |jobs| jobs.len() == 1 && jobs[0].is_recurring).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(reported.try_recv().is_err(), "the first run is after the first interval");
    for run in 0..4 {
        clock.turn(60);
        assert_eq!(next(&mut reported).await, run);
        process.until("the next run waits", |jobs| jobs[0].state == State::Waiting).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(reported.try_recv().is_err(), "one run per interval");
    }
    let [job] = &process.list().await[..] else { panic!("one row") };
    assert_eq!((job.state, job.failure.as_str()), (State::Waiting, "each second run fails"), "it never dies");
    for worker in workers {
        worker.stop(LIMIT).await;
    }
}

async fn shorter_interval_takes_effect_at_once(location: &Location) {
    let process = Process::start(location, &TestClock::new()).await;
    let ((reports, _reported), runs) = (mpsc::unbounded_channel(), Arc::new(AtomicU32::new(0)));
    let start = |interval| run(process.worker(quick()).every("letters.collect", interval, ticking(&reports, &runs)));
    for interval in [24 * 60 * MINUTE, MINUTE] {
        let (running, due) = (start(interval), process.clock.now() + interval);
        process.until("the interval", |jobs| jobs.len() == 1 && jobs[0].due_time == due).await;
        running.stop(LIMIT).await;
    }
    let running = start(60 * MINUTE);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let due = process.list().await[0].due_time;
    assert_eq!(due, process.clock.now() + MINUTE, "a longer interval waits for the next run");
    running.stop(LIMIT).await;
}

/// A worker whose clock is an hour earlier runs the jobs that wait by the later clock, even those of a killed process.
async fn clock_that_is_set_back_stops_no_job(location: &Location) {
    let clock = TestClock::new();
    let process = Process::start(location, &clock).await;
    process.enqueue(&letter("ada")).await;
    let (killed, _) = elsewhere(location, &clock, quick()).await;
    killed.shutdown_background();
    process.transact(&letter("bob"), 5, true).await;
    clock.turn(-3_600);
    let (reports, mut reported) = mpsc::unbounded_channel();
    let running = run(process.worker(quick()).on(reporting(&reports)));
    assert_eq!(next(&mut reported).await, "bob");
    // A process may still run the other job: it is due a lease later.
    clock.turn(3_600);
    assert_eq!(next(&mut reported).await, "ada");
    process.enqueue(&letter("eve")).await;
    assert_eq!(next(&mut reported).await, "eve");
    process.until_empty().await;
    running.stop(LIMIT).await;
}

/// The clock jumps beyond the lease of a running job: its own worker does not start it a second time.
async fn clock_that_jumps_ahead_runs_no_job_twice(location: &Location) {
    let clock = TestClock::new();
    let process = Process::start(location, &clock).await;
    let (permits, runs) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU32::new(0)));
    let handler = {
        let (permits, runs) = (Arc::clone(&permits), Arc::clone(&runs));
        move |_: Letter, _| {
            runs.fetch_add(1, Ordering::SeqCst);
            let permits = Arc::clone(&permits);
            Box::pin(async move {
                permits.acquire().await.unwrap().forget();
                Ok(Outcome::Done)
            }) as Handled
        }
    };
    let running = run(process.worker(quick()).on(handler));
    process.enqueue(&letter("ada")).await;
    process.until("a claim", |jobs| jobs[0].state == State::Running).await;
    clock.turn(3_600);
    process.until("a second claim", |jobs| jobs[0].attempts == 2).await;
    permits.add_permits(10);
    process.until_empty().await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    running.stop(LIMIT).await;
}
