//! The bounds of concurrency, and the cost of a claim.

use std::sync::atomic::AtomicUsize;

use kit_data::jobs::Database;
use tokio::sync::Semaphore;

use super::*;
use crate::plan::plan;

on_both!(a_kind_leaves_places_for_others, due_jobs_are_read_by_an_index);

/// A job of another kind.
#[derive(Serialize, Deserialize)]
struct Receipt;

impl Job for Receipt {
    const KIND: &'static str = "receipt.print";
}

async fn a_kind_leaves_places_for_others(location: &Location) {
    let process = Process::start(location, &TestClock::new()).await;
    for n in 0..20 {
        process.enqueue(&letter(&n.to_string())).await;
    }
    let (running_now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let permits = Arc::new(Semaphore::new(0));
    let handler = {
        let (running_now, most, permits) = (Arc::clone(&running_now), Arc::clone(&most), Arc::clone(&permits));
        move |_: Letter, _| {
            let (running_now, most, permits) = (Arc::clone(&running_now), Arc::clone(&most), Arc::clone(&permits));
            Box::pin(async move {
                most.fetch_max(running_now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                permits.acquire().await.unwrap().forget();
                running_now.fetch_sub(1, Ordering::SeqCst);
                Ok(Outcome::Done)
            }) as Handled
        }
    };
    let (reports, mut reported) = mpsc::unbounded_channel();
    let print = move |_: Receipt, _| {
        reports.send(()).ok();
        std::future::ready(Ok(Outcome::Done))
    };
    let config = JobsConfig { concurrency: 5, concurrency_per_kind: 3, ..quick() };
    let running = run(process.worker(config).on(handler).on(print));
    let full = async {
        while running_now.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, full).await.expect("three letters run");
    process.enqueue(&Receipt).await;
    next(&mut reported).await;
    permits.add_permits(20);
    process.until_empty().await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    running.stop(LIMIT).await;
}

async fn due_jobs_are_read_by_an_index(location: &Location) {
    let process = Process::start(location, &TestClock::new()).await;
    let columns = "INSERT INTO jobs (job_id, kind, version, payload, create_time, update_time, due_time) SELECT";
    let postgres = format!(
        "{columns} gen_random_uuid(), 'kind' || (n % 4), 1, '', now(), now(), now() + n * interval '1 second' \
         FROM generate_series(1, 20000) AS n; ANALYZE"
    );
    let sqlite = format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) \
         {columns} randomblob(16), 'kind' || (n % 4), 1, '', 0, 0, n FROM n; ANALYZE"
    );
    let claim = match location {
        Location::Postgres(_) => <Postgres as Database>::claim_statement(2),
        Location::Sqlite(_) => <Sqlite as Database>::claim_statement(2),
    };
    let plan = plan(location, "letters", &postgres, &sqlite, &claim).await;
    assert_eq!(plan.matches("jobs_due").count(), 2, "one range for each kind: {plan}");
    assert!(!plan.contains("Seq Scan") && !plan.contains("SCAN jobs"), "{plan}");
    drop(process);
}
