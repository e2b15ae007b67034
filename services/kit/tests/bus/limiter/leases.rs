//! Hot buckets leased to four limiters.

use super::*;

/// Several hot limits: (per period, at once), the period.
const HOT: [(u32, u32, Duration); 3] =
    [(1_000, 1_000, Duration::from_secs(5)), (20_000, 1_000, Duration::from_secs(10)), (60_000, 5_000, MINUTE)];

/// The maximum admitted in `took`: the bucket, what flows back meanwhile, and what was leased when the time began:
/// `requests × T / period`, where T is a hundredth of the period and at most a second.
fn most(quota: &Quota, took: Duration) -> f64 {
    let rate = f64::from(quota.requests()) / quota.period().as_secs_f64();
    let lifetime = (quota.period().as_secs_f64() / 100.0).min(1.0);
    f64::from(quota.burst()) + rate * (took.as_secs_f64() + lifetime)
}

#[tokio::test(flavor = "multi_thread")]
async fn four_limiters_exceed_the_limit_by_at_most_one_percent() {
    let redis = Redis::start(&[]);
    let limiters: Vec<_> = (0..4).map(|_| patient(&redis.url())).collect();
    for limiter in &limiters {
        until_shared(&**limiter, true).await;
    }
    for (requests, burst, period) in HOT {
        let quota = Quota::new(requests, period, burst);
        let limits = [limit(&format!("{requests}"), quota)];
        let got = crowd(&limiters, &limits, CALLERS, 3_000).await;
        let most = most(&quota, got.took);
        assert!(f64::from(got.admitted) <= most, "{requests} in {period:?}: {got:?}, at most {most}");
        // The other error: cost that other limiters hold or return late. A tenth is a generous bound.
        let exact = most - f64::from(requests) / 100.0;
        assert!(f64::from(got.admitted) >= exact.min(f64::from(burst)) * 0.9, "{requests}: {got:?} of {exact}");
    }
    let of_count = Quota::count(20_000, HOUR);
    let got = crowd(&limiters, &[limit("count", of_count)], CALLERS, 1_000).await;
    assert!(got.admitted <= 20_000 && got.admitted >= 18_000, "a count never exceeds its limit: {got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hot_buckets_need_few_commands() {
    let redis = Redis::start(&[]);
    let limiter = patient(&redis.url());
    until_shared(&*limiter, true).await;
    let scripts = || {
        let stats = redis.ask(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap().to_owned();
        line.split(',').next().unwrap().parse::<u32>().unwrap()
    };
    let before = scripts();
    let hot = [limit("hot", Quota::new(1_000_000, HOUR, 1_000_000))];
    let got = crowd(std::slice::from_ref(&limiter), &hot, 1, 10_000).await;
    assert_eq!(got.admitted, 10_000);
    let run = scripts() - before;
    assert!(run <= 1_000, "{run} scripts for 10 000 calls");
}

/// The cost that Redis counts as taken from the bucket at `key`: of a rate, whose cost 1 flows back in `one` microseconds,
/// or of a count.
fn taken(redis: &Redis, key: &str, one: Option<f64>) -> f64 {
    let number = |text: &str| text.lines().find_map(|line| line.trim().parse::<f64>().ok()).unwrap_or(0.0);
    let value = number(&redis.ask(&["GET", key]));
    let Some(one) = one else { return value };
    let time = redis.ask(&["TIME"]);
    let [seconds, micros]: [f64; 2] =
        time.lines().filter(|line| !line.starts_with('$')).map(number).collect::<Vec<_>>().try_into().unwrap();
    (value - seconds * 1e6 - micros) / one
}

#[tokio::test(flavor = "multi_thread")]
async fn unused_lease_is_returned() {
    /// What the first limiter spends of 5 000.
    const SPENT: u32 = 600;
    let rate = [limit("rate", Quota::new(5_000, HOUR, 5_000))];
    let count = [limit("count", Quota::count(5_000, HOUR))];
    for (limits, one) in [(rate, Some(HOUR.as_secs_f64() * 1e6 / 5_000.0)), (count, None)] {
        let redis = Redis::start(&[]);
        let limiters = [patient(&redis.url()), patient(&redis.url())];
        for limiter in &limiters {
            until_shared(&**limiter, true).await;
        }
        let began = Instant::now();
        // The first limiter becomes hot, so that it holds a slice, and stops.
        let first = crowd(&limiters[..1], &limits, 1, SPENT as usize).await;
        assert_eq!(first.admitted, SPENT);
        let keys = redis.ask(&["KEYS", "trellis:{limit:test}:*"]);
        let key = keys.lines().find(|line| line.starts_with("trellis:")).unwrap();
        // A lease is held for a second, and returned at the next interval.
        let returning = async {
            while taken(&redis, key, one) > f64::from(SPENT) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, returning).await.expect("the limiter returns the rest of its slice");
        let rest = crowd(&limiters[1..], &limits, CALLERS, 100).await;
        // Cost that flowed back meanwhile is not returned twice: 1.4 per second.
        let flowed = one.map_or(0.0, |one| began.elapsed().as_secs_f64() * 1e6 / one);
        let most = f64::from(5_000 - SPENT) + flowed;
        assert!(rest.admitted >= 5_000 - SPENT && f64::from(rest.admitted) <= most, "{rest:?}, at most {most}");
    }
}
