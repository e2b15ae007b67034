use std::time::Duration;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
/// 100 per second: cost 1 takes 10 ms to flow back.
fn quota() -> Quota {
    Quota::new(6_000, MINUTE, 6_000)
}

fn response(taken: u32, left: u32) -> BucketResponse {
    BucketResponse { taken, left, full_in: 1_000, wait: 0 }
}

#[test]
fn lifetime_is_a_hundredth_of_the_period_up_to_a_second() {
    assert_eq!(Lease::lifetime(&quota()), 600_000);
    assert_eq!(Lease::lifetime(&Quota::new(2_000, Duration::from_secs(1), 2_000)), 10_000);
    assert_eq!(Lease::lifetime(&Quota::count(50_000, Duration::from_secs(86_400))), 1_000_000);
}

#[test]
fn only_hot_buckets_request_cost_in_advance() {
    let (mut lease, lifetime) = (Lease::default(), Lease::lifetime(&quota()));
    let ahead_of = |lease: &mut Lease, now| {
        let ahead = lease.request(now, lifetime, 1);
        lease.learn(now, now, &response(1, 100));
        ahead
    };
    assert_eq!(ahead_of(&mut lease, 0), 0);
    assert_eq!(ahead_of(&mut lease, 4 * lifetime), 0, "cold");
    let hot: Vec<_> = (1..=5).map(|n| ahead_of(&mut lease, 4 * lifetime + n)).collect();
    assert_eq!(hot, [2, 4, 8, 16, 32]);
    assert_eq!(ahead_of(&mut lease, 6 * lifetime), 32, "the slice lasts for a lifetime");
    assert_eq!(ahead_of(&mut lease, 10 * lifetime), 0, "cold again");
    // An exact limit never requests in advance.
    let mut exact = Lease::default();
    assert_eq!((exact.request(0, 0, 1), exact.request(1, 0, 1)), (0, 0));
}

#[test]
fn concurrent_calls_take_one_slice() {
    let (mut lease, lifetime) = (Lease::default(), Lease::lifetime(&quota()));
    lease.request(0, lifetime, 1);
    lease.learn(0, 1, &response(1, 100));
    let requested: Vec<_> = (2..8).map(|now| lease.request(now, lifetime, 1)).collect();
    assert_eq!(requested, [2, 0, 0, 0, 0, 0]);
    // A response that never arrives blocks no further request.
    assert_eq!(lease.request(lifetime + 2, lifetime, 1), 2);
}

#[test]
fn slice_is_spent_only_within_its_lifetime() {
    let (mut lease, lifetime) = (Lease::default(), Lease::lifetime(&quota()));
    lease.hold(1_000, lifetime, &quota(), 3, &response(3, 100));
    assert_eq!(lease.look(1_000 + lifetime - 1, 3), LeaseCheck::Enough);
    assert_eq!(lease.look(1_000, 4), LeaseCheck::Lacking);
    assert_eq!(lease.look(1_000 + lifetime, 1), LeaseCheck::Lacking);
    lease.spend(1);
    assert_eq!(lease.give_up(1_000 + lifetime - 1, false), None);
    let unused = lease.give_up(1_000 + lifetime, false).unwrap();
    assert_eq!((unused.cost, unused.taken_at), (2, 1_000));
    assert_eq!(lease.give_up(1_000 + lifetime, true), None, "only once");
}

#[test]
fn two_slices_expire_with_the_first() {
    let (mut lease, lifetime) = (Lease::default(), Lease::lifetime(&quota()));
    lease.hold(0, lifetime, &quota(), 1, &response(1, 100));
    lease.hold(lifetime / 2, lifetime, &quota(), 1, &response(1, 100));
    assert_eq!(lease.look(lifetime - 1, 2), LeaseCheck::Enough);
    assert_eq!(lease.look(lifetime, 1), LeaseCheck::Lacking);
}

#[test]
fn rest_of_a_period_is_not_spent_in_the_next() {
    let day = Quota::count(50_000, Duration::from_secs(86_400));
    let mut lease = Lease::default();
    lease.hold(0, Lease::lifetime(&day), &day, 5, &response(5, 100));
    assert_eq!(lease.look(999, 5), LeaseCheck::Enough);
    assert_eq!(lease.look(1_000, 5), LeaseCheck::Lacking);
}

#[test]
fn empty_bucket_is_not_requested_until_it_refills() {
    let mut lease = Lease::default();
    lease.learn(100, 300, &BucketResponse { taken: 0, left: 0, full_in: 60_000, wait: 10_000 });
    assert_eq!(lease.look(300, 1), LeaseCheck::Empty(10_000), "the retry delay counts from the response");
    assert_eq!(lease.look(10_099, 1), LeaseCheck::Empty(201));
    assert_eq!(lease.look(10_100, 1), LeaseCheck::Lacking, "a request is due 10 s after the last one");
    // A bucket that takes long to fill is still requested every second.
    lease.learn(0, 0, &BucketResponse { taken: 0, left: 0, full_in: 1 << 40, wait: 1 << 39 });
    assert_eq!(lease.look(LONGEST_EMPTY - 1, 1), LeaseCheck::Empty((1 << 39) - LONGEST_EMPTY + 1));
    assert_eq!(lease.look(LONGEST_EMPTY, 1), LeaseCheck::Lacking);
}

#[test]
fn refused_call_returns_cost_to_its_own_slice() {
    let (mut lease, lifetime) = (Lease::default(), Lease::lifetime(&quota()));
    lease.hold(7, lifetime, &quota(), 2, &response(2, 100));
    let slice = lease.spend(1);
    lease.put_back(1, slice);
    assert_eq!(lease.look(8, 2), LeaseCheck::Enough);
    let slice = lease.spend(2);
    lease.hold(9, lifetime, &quota(), 1, &response(1, 100));
    lease.put_back(2, slice);
    assert_eq!(lease.look(10, 2), LeaseCheck::Lacking, "its slice has gone");
}
