//! The hash chain: sealing by several processes, tampering, and pruning.

use std::time::Duration;

use kit_data::{
    audit::{Broken, Head, VerifyError},
    store::Location,
};

use super::{Process, letter};
use crate::{
    databases::{Database, on_both},
    locks::Holder,
};

on_both!(
    records_of_a_killed_process_are_sealed_by_the_next,
    two_processes_extend_one_chain,
    changed_removed_and_inserted_records_are_found,
    anchor_finds_removed_and_replaced_records,
    pruned_chain_is_valid_and_states_its_beginning,
    prunings_of_clocks_that_differ_are_valid,
);

/// A process with `count` sealed records.
async fn sealed(location: &Location, count: usize) -> (Process, Head) {
    let process = Process::start(location).await;
    for number in 1..=count {
        process.record(letter(number)).await;
    }
    let head = process.sealer.seal().await.unwrap();
    (process, head)
}

async fn broken(process: &Process, anchor: Option<&Head>) -> Broken {
    match process.verify(anchor).await {
        Err(VerifyError::Broken(broken)) => broken,
        other => panic!("{other:?}"),
    }
}

async fn records_of_a_killed_process_are_sealed_by_the_next(location: &Location) {
    let killed = Process::start(location).await;
    killed.record(letter(1)).await;
    drop(killed);
    let process = Process::start(location).await;
    assert_eq!(process.verify(None).await.unwrap().records, 0);
    process.sealer.seal().await.unwrap();
    let verified = process.verify(None).await.unwrap();
    assert_eq!((verified.records, verified.head.seq), (1, 1));
}

async fn two_processes_extend_one_chain(location: &Location) {
    let (one, other) = (Process::start(location).await, Process::start(location).await);
    for round in 0..2 {
        for number in 0..150 {
            let process = if number % 2 == 0 { &one } else { &other };
            process.record(letter(150 * round + number)).await;
        }
        tokio::try_join!(one.sealer.seal(), other.sealer.seal(), one.sealer.seal()).unwrap();
    }
    let verified = one.verify(None).await.unwrap();
    assert_eq!((verified.records, verified.head.seq), (300, 300));
}

/// Both seals wait for the row. The second one must see what the first one has sealed.
#[tokio::test(flavor = "multi_thread")]
async fn seal_that_waits_continues_behind_the_other() {
    let database = Database::postgres().await;
    let (one, head) = sealed(&database.location, 1).await;
    let other = Process::start(&database.location).await;
    one.record(letter(2)).await;
    let mut holder = Holder::begin(&database.location, "letters").await;
    holder.run("UPDATE audit_head SET seq = seq", &[]).await;
    let seals = [one.sealer.clone(), other.sealer.clone()]
        .map(|sealer| tokio::spawn(async move { sealer.seal().await.unwrap() }));
    holder.waiters(2).await;
    holder.release().await;
    for seal in seals {
        assert_eq!(seal.await.unwrap().seq, head.seq + 1);
    }
    assert_eq!(one.verify(Some(&head)).await.unwrap().records, 2);
    database.remove().await;
}

async fn changed_removed_and_inserted_records_are_found(location: &Location) {
    let (process, _) = sealed(location, 5).await;
    let move_up = "UPDATE audit_events SET seq = seq + 100 WHERE seq >= 3; \
                   UPDATE audit_events SET seq = seq - 99 WHERE seq > 100";
    let move_back = "UPDATE audit_events SET seq = seq + 100 WHERE seq > 3; \
                     UPDATE audit_events SET seq = seq - 101 WHERE seq > 100";
    for (tamper, undo, seq) in [
        (
            "UPDATE audit_events SET target = 'x' WHERE seq = 3",
            "UPDATE audit_events SET target = 'letters/3' WHERE seq = 3",
            3,
        ),
        (
            "UPDATE audit_events SET person_id = event_id WHERE seq = 2",
            "UPDATE audit_events SET person_id = NULL WHERE seq = 2",
            2,
        ),
        ("UPDATE audit_events SET seq = NULL WHERE seq = 4", "UPDATE audit_events SET seq = 4 WHERE seq IS NULL", 4),
        ("UPDATE audit_head SET seq = 4", "UPDATE audit_head SET seq = 5", 5),
        ("UPDATE audit_head SET seq = 6", "UPDATE audit_head SET seq = 5", 6),
        (move_up, move_back, 3),
    ] {
        process.tamper(tamper).await;
        assert_eq!(broken(&process, None).await.seq, seq, "{tamper}");
        process.tamper(undo).await;
        assert_eq!(process.verify(None).await.unwrap().records, 5, "{undo}");
    }
    process.tamper("DELETE FROM audit_events WHERE seq = 3").await;
    assert_eq!(broken(&process, None).await, Broken { seq: 3, why: "it was removed" });
}

async fn anchor_finds_removed_and_replaced_records(location: &Location) {
    let (process, early) = sealed(location, 3).await;
    process.record(letter(4)).await;
    let late = process.sealer.seal().await.unwrap();
    for anchor in [&early, &late] {
        process.verify(Some(anchor)).await.unwrap();
    }
    let other = Head { seq: early.seq, hash: vec![7; 32] };
    assert_eq!(broken(&process, Some(&other)).await.seq, 3, "the chain was replaced as a whole");
    // The last record is removed, and the end of the chain is moved back.
    process.tamper("DELETE FROM audit_events WHERE seq = 4").await;
    process.tamper("UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit_events WHERE seq = 3)").await;
    process.verify(None).await.expect("it looks valid from inside");
    assert_eq!(broken(&process, Some(&late)).await.seq, 4);
}

async fn pruned_chain_is_valid_and_states_its_beginning(location: &Location) {
    let (process, old) = sealed(location, 3).await;
    let later = process.list("").await[2].facts.time + Duration::from_micros(1);
    process.record(letter(4)).await;
    let kept = process.sealer.seal().await.unwrap();
    process.clock.advance(Duration::from_secs(400 * 86_400));
    assert_eq!(process.sealer.prune(later).await.unwrap(), 3);
    for sealed in 0..2 {
        let verified = process.verify(Some(&kept)).await.unwrap();
        assert_eq!((verified.records, verified.base.clone()), (1 + sealed, old.clone()));
        assert!(process.verify(Some(&Head { seq: 1, hash: vec![0; 32] })).await.unwrap().is_anchor_pruned);
        process.sealer.seal().await.unwrap();
    }
    assert_eq!(process.sealer.prune(later).await.unwrap(), 0);
    // Removing records from the start is no pruning, whatever the row of the ends states.
    process.tamper("DELETE FROM audit_events WHERE seq <= 4").await;
    let moved = "UPDATE audit_head SET base_seq = 4, base_hash = (SELECT hash FROM audit_events WHERE seq = 5)";
    process.tamper(moved).await;
    assert_eq!(broken(&process, None).await.seq, 4);
}

/// The clock of one process is ahead of that of the other one, which prunes later.
async fn prunings_of_clocks_that_differ_are_valid(location: &Location) {
    let (ahead, _) = sealed(location, 3).await;
    let late = Process::start(location).await;
    ahead.clock.advance(Duration::from_secs(3_600));
    let records = ahead.list("").await;
    let after = |number: usize| records[number - 1].facts.time + Duration::from_micros(1);
    assert_eq!(ahead.sealer.prune(after(1)).await.unwrap(), 1);
    assert_eq!(late.sealer.prune(after(2)).await.unwrap(), 1);
    let verified = ahead.verify(None).await.unwrap();
    assert_eq!((verified.records, verified.base.seq), (1, 2));
}

/// Another process holds the end of the chain.
#[tokio::test(flavor = "multi_thread")]
async fn seal_without_new_records_locks_nothing() {
    let database = Database::postgres().await;
    let (process, head) = sealed(&database.location, 1).await;
    let mut holder = Holder::begin(&database.location, "letters").await;
    holder.run("UPDATE audit_head SET seq = seq", &[]).await;
    assert_eq!(process.sealer.seal().await.unwrap(), head);
    holder.release().await;
    database.remove().await;
}
