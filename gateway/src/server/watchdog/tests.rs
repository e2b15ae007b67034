use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Waker},
    time::Duration,
};

use super::{calls::SEND_BUFFER_BYTES, *};

const TIMEOUTS: Timeouts =
    Timeouts { idle: Duration::from_secs(8), stalled: Duration::from_secs(4), head: Duration::from_secs(4) };

fn watchdog() -> Arc<Watchdog> {
    Watchdog::new(&Stalls::new(1 << 30), true)
}

async fn ends(watchdog: &Arc<Watchdog>, within: u64) -> Option<CloseReason> {
    tokio::time::timeout(Duration::from_secs(within), watchdog.run(TIMEOUTS, || false)).await.ok()
}

fn end_turn(watchdog: &Arc<Watchdog>) {
    watchdog.end_turn(&mut Context::from_waker(Waker::noop()));
}

fn is_evicted(call: &Watched) -> bool {
    call.wait().is_evicted(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let watchdog = watchdog();
    assert_eq!(ends(&watchdog, 7).await, None);
    let call = watchdog.begin();
    assert_eq!(ends(&watchdog, 60).await, None, "a call that waits for its upstream is active");
    drop(call);
    assert_eq!(ends(&watchdog, 10).await, Some(CloseReason::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_response_ends_a_connection_with_other_calls() {
    let watchdog = watchdog();
    let (stalled, active) = (watchdog.begin(), watchdog.begin());
    stalled.returned(1);
    for _ in 0..3 {
        assert_eq!(ends(&watchdog, 1).await, None);
        active.returned(1);
        active.polled();
    }
    assert_eq!(ends(&watchdog, 3).await, Some(CloseReason::Stalled));
}

#[tokio::test(start_paused = true)]
async fn the_stall_timeout_shrinks_with_unread_bytes() {
    let stalls = Stalls::new(8);
    let timeout = |unread: usize| {
        stalls.set_unread(unread);
        stalls.timeout(60)
    };
    assert_eq!([0, 4, 5, 6, 7, 8, 100].map(timeout), [60, 60, 45, 30, 15, 10, 10]);
    assert_eq!(stalls.timeout(1), 1);
    stalls.set_unread(0);
    assert_eq!(stalls.timeout(60), 60);
    stalls.drain();
    assert_eq!([60, 1].map(|ticks| stalls.timeout(ticks)), [10, 1], "a shutdown does not wait for stalled clients");

    let stalls = Stalls::new(8 * SEND_BUFFER_BYTES);
    let watchdog = Watchdog::new(&stalls, true);
    let calls: Vec<_> = (0..8).map(|_| watchdog.begin()).collect();
    calls[0].returned(1);
    end_turn(&watchdog);
    assert_eq!(ends(&watchdog, 3).await, None, "few bytes are unread");
    calls.iter().for_each(|call| call.returned(1));
    end_turn(&watchdog);
    assert_eq!(ends(&watchdog, 3).await, Some(CloseReason::Stalled));
    assert_eq!(stalls.unread(), 8 * SEND_BUFFER_BYTES);
    drop((calls, watchdog));
    assert_eq!(stalls.unread(), 0, "a closed connection holds nothing");
}

/// The connection with the most unread bytes loses its oldest response.
#[tokio::test(start_paused = true)]
async fn responses_beyond_the_bound_end_at_once() {
    // More than [`SIMILAR_BYTES`]: smaller differences are ordered by age.
    let stalls = Stalls::new(40 * SEND_BUFFER_BYTES);
    let (large, small) = (Watchdog::new(&stalls, true), Watchdog::new(&stalls, false));
    let one = small.begin();
    one.returned(1);
    end_turn(&small);
    let many: Vec<_> = (0..80).map(|_| large.begin()).collect();
    for call in &many {
        call.returned(1);
        large.tick.fetch_add(1, Ordering::Relaxed);
        end_turn(&large);
    }
    let kept = many.iter().filter(|call| !is_evicted(call)).count();
    assert!((33..=39).contains(&kept), "{kept} are left");
    assert!(is_evicted(&many[0]) && !is_evicted(&many[79]));
    assert!(!is_evicted(&one));
    assert!(stalls.unread() <= 40 * SEND_BUFFER_BYTES);
    // Over HTTP/1.1 the connection ends with its response.
    drop(many);
    end_turn(&large);
    stalls.set_bound(0);
    stalls.evict(1);
    assert_eq!(ends(&small, 1).await, Some(CloseReason::Stalled));
    drop((one, small, large));
    assert!(stalls.holders().is_empty());
}

/// The longest wait ends first, whatever the order of the connections in the map.
#[tokio::test(start_paused = true)]
async fn of_similar_connections_the_longest_wait_ends_first() {
    let stalls = Stalls::new(8 * SEND_BUFFER_BYTES);
    let watchdogs: Vec<_> = (0..8).map(|_| Watchdog::new(&stalls, true)).collect();
    let calls: Vec<_> = watchdogs.iter().map(Watchdog::begin).collect();
    let order = [5, 2, 7, 0, 3, 6, 1, 4];
    for at in order {
        calls[at].returned(1);
        end_turn(&watchdogs[at]);
    }
    for ended in 1..=order.len() {
        stalls.evict(1);
        let evicted: Vec<_> = order.iter().map(|at| is_evicted(&calls[*at])).collect();
        assert!(evicted[..ended].iter().all(|is| *is), "{ended}: {evicted:?}");
        assert!(!evicted[ended..].iter().any(|is| *is), "{ended}: {evicted:?}");
    }
}

/// Two threads may change the holders in another order than the counts: dropping the connection removes its entry.
#[tokio::test(start_paused = true)]
async fn a_closed_connection_is_removed_from_the_holders() {
    let stalls = Stalls::new(1 << 30);
    let watchdog = Watchdog::new(&stalls, true);
    stalls.holders().insert(Arc::as_ptr(&watchdog).addr(), Arc::downgrade(&watchdog));
    drop(watchdog);
    assert!(stalls.holders().is_empty());
    assert_eq!(stalls.unread(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_must_end_within_its_own_timeout() {
    let watchdog = watchdog();
    assert_eq!(ends(&watchdog, 4).await, None);
    watchdog.received();
    assert_eq!(ends(&watchdog, 3).await, None);
    let call = watchdog.begin();
    // The body of the call.
    watchdog.received();
    assert_eq!(ends(&watchdog, 60).await, None);
    drop(call);
    watchdog.received();
    assert_eq!(ends(&watchdog, 6).await, Some(CloseReason::SlowHead));
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_quiet_after_a_while_without_calls() {
    let (watchdog, second) = (watchdog(), Duration::from_secs(1));
    let quiet =
        async || tokio::time::timeout(2 * second, watchdog.wait_until_quiet(second, TIMEOUTS.tick())).await.is_ok();
    assert!(quiet().await);
    let call = watchdog.begin();
    assert!(!quiet().await, "a call is active");
    drop(call);
    let calling = async {
        for _ in 0..20 {
            tokio::time::sleep(second / 5).await;
            drop(watchdog.begin());
        }
        false
    };
    assert!(!tokio::select! { quiet = quiet() => quiet, called = calling => called }, "calls begin and end");
    watchdog.received();
    assert!(!quiet().await, "a head has begun");
    watchdog.clear_head();
    assert!(quiet().await);
}

#[tokio::test(start_paused = true)]
async fn time_without_calls_counts_from_the_last_one() {
    let (watchdog, second) = (watchdog(), Duration::from_secs(1));
    let quiet = async |seconds: u32| {
        let started = tokio::time::Instant::now();
        watchdog.wait_until_quiet(seconds * second, TIMEOUTS.tick()).await;
        started.elapsed().as_secs()
    };
    drop(watchdog.begin());
    assert_eq!(ends(&watchdog, 6).await, None);
    assert_eq!((quiet(4).await, quiet(8).await), (0, 4));
    drop(watchdog.begin());
    assert_eq!(quiet(4).await, 4);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_not_stalled() {
    let watchdog = watchdog();
    let slow = watchdog.begin();
    for _ in 0..20 {
        slow.returned(1);
        assert_eq!(ends(&watchdog, 3).await, None);
        slow.polled();
    }
}
