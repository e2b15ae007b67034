use std::{
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
};

use parking_lot::Mutex;

use super::{
    address::Address,
    endpoint_health::{
        CONSECUTIVE, EndpointHealth, FIRST_EJECTION, Health, LONGEST_EJECTION, Tally, most_ejected, outliers,
    },
    health::Prober,
    *,
};

impl Endpoint for SocketAddr {}
impl Endpoint for u16 {}

type Records = Arc<Mutex<Vec<&'static str>>>;

fn without_health_checks() -> BalanceConfig {
    BalanceConfig { health_interval: crate::config::Span(Duration::ZERO), ..BalanceConfig::default() }
}

/// Endpoints behind one name. The test controls the DNS records.
fn named(records: &Records) -> Balancer<SocketAddr> {
    let records = Arc::clone(records);
    let look_up: LookUp = Arc::new(move |host, port| {
        assert_eq!(host, "users");
        let found: Vec<SocketAddr> =
            records.lock().iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect();
        Box::pin(async move { if found.is_empty() { Err(io::Error::other("SERVFAIL")) } else { Ok(found) } })
    });
    Balancer::with_resolver(
        look_up,
        None,
        "users",
        &["http://users:7001".to_owned()],
        &without_health_checks(),
        |place| place.at,
    )
    .unwrap()
}

fn listed(n: u16) -> Balancer<u16> {
    let addresses: Vec<String> = (1..=n).map(|port| format!("http://127.0.0.1:{port}")).collect();
    Balancer::new("some", &addresses, &without_health_checks(), |place| place.at.port()).unwrap()
}

async fn picked<E: Endpoint + std::fmt::Display>(balancer: &Balancer<E>, calls: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..calls {
        let pick = balancer.pick(&[]).await.unwrap();
        *counts.entry(pick.to_string()).or_default() += 1;
        pick.report(EndpointOutcome::Well);
    }
    counts
}

/// Makes calls that all fail at the endpoints in `bad`. Returns the number of failures.
async fn failed(balancer: &Balancer<u16>, faulty: &[u16], calls: usize) -> usize {
    let mut failed = 0;
    for _ in 0..calls {
        let pick = balancer.pick(&[]).await.unwrap();
        let is_faulty = faulty.contains(&pick);
        failed += usize::from(is_faulty);
        pick.report(if is_faulty { EndpointOutcome::Failed } else { EndpointOutcome::Well });
        drop(pick);
        sleep(Duration::from_millis(1)).await;
    }
    failed
}

#[tokio::test(start_paused = true)]
async fn endpoints_follow_dns_records() {
    let records = Records::new(Mutex::new(vec!["10.0.0.1", "10.0.0.2"]));
    let balancer = named(&records);
    assert_eq!(picked(&balancer, 100).await.len(), 2);
    let kept = balancer.pick(&[]).await.unwrap();

    *records.lock() = vec!["10.0.0.3"];
    sleep(Duration::from_secs(6)).await;
    assert_eq!(picked(&balancer, 100).await.into_keys().collect::<Vec<_>>(), ["10.0.0.3:7001"]);
    // A call on a removed endpoint continues to its end.
    kept.report(EndpointOutcome::Well);
}

#[tokio::test(start_paused = true)]
async fn failed_lookup_keeps_known_endpoints() {
    let records = Records::new(Mutex::new(vec!["10.0.0.1"]));
    let balancer = named(&records);
    assert_eq!(picked(&balancer, 1).await.len(), 1);
    records.lock().clear();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(picked(&balancer, 1).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn first_call_waits_for_resolution_with_a_limit() {
    let balancer = named(&Records::default());
    assert!(balancer.pick(&[]).await.is_none());
}

#[tokio::test]
async fn invalid_addresses_fail_at_startup() {
    let bad = |addresses: &[&str]| {
        let addresses: Vec<String> = addresses.iter().map(|a| (*a).to_owned()).collect();
        Balancer::new("bad", &addresses, &BalanceConfig::default(), |place| place.at).err().unwrap()
    };
    assert_eq!(bad(&[]), "is empty; name an address such as http://host:port");
    assert_eq!(bad(&["http://a:1", "b:2"]), "\"b:2\" is not an address such as http://host:port");
}

#[tokio::test(start_paused = true)]
async fn calls_go_to_the_endpoint_with_fewest_pending() {
    let balancer = listed(2);
    // Endpoint 1 keeps its calls pending, endpoint 2 responds at once.
    let mut kept = Vec::new();
    for _ in 0..100 {
        let pick = balancer.pick(&[]).await.unwrap();
        if *pick == 1 {
            kept.push(pick);
        } else {
            pick.report(EndpointOutcome::Well);
        }
    }
    assert!(kept.len() <= 2, "{} calls wait at an endpoint that does not respond", kept.len());
}

#[tokio::test(start_paused = true)]
async fn equal_endpoints_get_equal_shares() {
    let counts = picked(&listed(4), 4_000).await;
    assert!(counts.values().all(|n| (800..1_200).contains(n)), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn tried_and_unreachable_endpoints_are_chosen_last() {
    let balancer = listed(2);
    let first = balancer.pick(&[]).await.unwrap();
    let tried = [first.location().clone()];
    let second = balancer.pick(&tried).await.unwrap();
    assert_ne!(*first, *second);
    second.unreachable();
    for _ in 0..10 {
        assert_eq!(*balancer.pick(&[]).await.unwrap(), *first);
    }
    assert_eq!(*balancer.pick(&tried).await.unwrap(), *second, "a resting endpoint if there is no other");
    assert!(balancer.pick(&balancer.locations()).await.is_some(), "any endpoint if all were tried");
}

#[tokio::test(start_paused = true)]
async fn five_failures_eject_an_endpoint_longer_each_time() {
    let balancer = listed(3);
    assert_eq!(failed(&balancer, &[1], 1_000).await, 5);
    let mut times = Vec::new();
    for _ in 0..3 {
        let out = Instant::now();
        while failed(&balancer, &[1], 1).await == 0 {}
        times.push(out.elapsed().as_secs());
        assert!(failed(&balancer, &[1], 1_000).await < 5);
    }
    // A thousand calls take one second each time.
    assert!(times[0] >= 8 && times[1] >= 18 && times[2] >= 28, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn failures_eject_at_most_half_of_the_endpoints() {
    let balancer = listed(4);
    failed(&balancer, &[1, 2, 3, 4], 1_000).await;
    assert_eq!(picked(&balancer, 200).await.len(), 2);
    let alone = listed(1);
    assert_eq!(failed(&alone, &[1], 100).await, 100, "a single endpoint gets all calls");
}

#[tokio::test(start_paused = true)]
async fn endpoint_with_higher_failure_rate_is_ejected() {
    let balancer = listed(3);
    let mut bad = 0;
    for n in 0..15_000 {
        let pick = balancer.pick(&[]).await.unwrap();
        // Every third call fails, never five in a row. Internal errors count as well.
        let is_bad = *pick == 1 && n % 3 == 0;
        bad += usize::from(is_bad);
        pick.report(if is_bad { EndpointOutcome::Faulty } else { EndpointOutcome::Well });
        drop(pick);
        sleep(Duration::from_millis(1)).await;
    }
    assert!(bad < 1_700, "{bad} of about 5 000 calls: the endpoint is ejected from the tenth second on");
}

#[tokio::test(start_paused = true)]
async fn new_endpoint_gets_its_share_slowly() {
    let records = Records::new(Mutex::new(vec!["10.0.0.1"]));
    let balancer = named(&records);
    picked(&balancer, 100).await;
    records.lock().push("10.0.0.2");
    sleep(Duration::from_secs(6)).await;
    let share = |counts: &HashMap<String, usize>| counts.get("10.0.0.2:7001").copied().unwrap_or(0);
    let early = picked(&balancer, 1_000).await;
    sleep(Duration::from_secs(15)).await;
    let late = picked(&balancer, 1_000).await;
    assert!((20..300).contains(&share(&early)) && share(&late) > 400, "{early:?} {late:?}");
}

/// The state of an endpoint, after each event, as the log and the metrics show it. The choice ignores it.
#[test]
fn endpoint_without_connections_or_responses_is_failing() {
    let now = Instant::now();
    let mut endpoint_health = EndpointHealth::new(None);
    endpoint_health.rest(now);
    assert!(endpoint_health.is_failing() && endpoint_health.is_serving());
    endpoint_health.observe(EndpointOutcome::Failed);
    assert!(endpoint_health.is_failing(), "a call without a response proves nothing");
    endpoint_health.observe(EndpointOutcome::Faulty);
    assert!(!endpoint_health.is_failing(), "it has responded");
    for at in 2..=CONSECUTIVE {
        assert!(!endpoint_health.is_failing(), "{at}");
        endpoint_health.observe(EndpointOutcome::Failed);
    }
    assert!(endpoint_health.is_failing(), "the failures are in a row");
    endpoint_health.observe(EndpointOutcome::Well);
    assert!(!endpoint_health.is_failing());
    endpoint_health.rest(now);
    endpoint_health.checked(Health::NotServing, now);
    assert!(endpoint_health.is_failing());
    endpoint_health.checked(Health::Serving, now);
    assert!(!endpoint_health.is_failing());
}

/// Without calls, a check notices that the only endpoint accepts connections again.
#[tokio::test]
async fn only_endpoint_is_checked_while_it_is_unreachable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = BalanceConfig { health_interval: crate::config::Span(Duration::from_millis(20)), ..<_>::default() };
    let balancer = Balancer::new("some", &[format!("http://{port}")], &config, |place| place.at).unwrap();
    let is_failing = || balancer.set.members()[0].record().endpoint_health.is_failing();
    assert!(!is_failing());
    balancer.pick(&[]).await.unwrap().unreachable();
    sleep(Duration::from_millis(100)).await;
    assert!(is_failing(), "no process listens");
    let listener = tokio::net::TcpListener::bind(port).await.unwrap();
    let (_reporter, service) = tonic_health::server::health_reporter();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let back = async {
        while is_failing() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), back).await.expect("a check succeeds");
}

#[test]
fn one_not_serving_or_two_silent_checks_stop_new_calls() {
    let now = Instant::now();
    let mut endpoint_health = EndpointHealth::new(None);
    assert!(!endpoint_health.checked(Health::Silent, now) && endpoint_health.is_serving());
    assert!(endpoint_health.checked(Health::Silent, now) && !endpoint_health.is_serving());
    assert!(endpoint_health.checked(Health::Serving, now) && endpoint_health.is_serving());
    assert!(endpoint_health.weight(now, Duration::from_secs(10)) < 0.2, "a returning endpoint starts slowly");
    assert!(endpoint_health.checked(Health::NotServing, now) && !endpoint_health.is_serving());
    assert!(endpoint_health.checked(Health::Unknown, now), "an endpoint without health service counts as serving");
}

#[test]
fn endpoint_failing_like_the_others_is_no_outlier() {
    let tally = |calls, failures| Tally { calls, failures };
    assert_eq!(outliers(&[tally(100, 50), tally(100, 50)]), Vec::<usize>::new());
    assert_eq!(outliers(&[tally(100, 50), tally(100, 2)]), [0]);
    assert_eq!(outliers(&[tally(100, 8), tally(100, 0)]), Vec::<usize>::new(), "a small difference is noise");
    assert_eq!(outliers(&[tally(19, 19), tally(100, 0)]), Vec::<usize>::new(), "too few to judge");
    assert_eq!(outliers(&[tally(100, 100)]), Vec::<usize>::new(), "no other endpoint to compare with");
    assert_eq!(outliers(&[tally(100, 40), tally(100, 60), tally(800, 0)]), [1, 0], "the worst first");
}

/// Under random events in any order, ejections are bounded and end, and an endpoint is always chosen.
#[tokio::test(start_paused = true)]
async fn random_events_always_leave_an_endpoint_to_choose() {
    for seed in 0..200 {
        let chance = Rng::seeded(seed);
        let n = 1 + chance.below(6);
        let set: Arc<Set<u16>> = Arc::new(Set::new(
            "some",
            without_health_checks(),
            Rng::seeded(seed),
            None,
            Box::new(|place| place.at.port()),
        ));
        let places: Vec<Location> = (1..=n)
            .map(|port| Address::read(&format!("http://127.0.0.1:{port}")))
            .map(|address| address.unwrap().literal().unwrap())
            .collect();
        let mut now = Instant::now();
        set.replace(&places, now);
        for _ in 0..300 {
            let members = set.members();
            let member = &members[chance.below(members.len())];
            now += Duration::from_millis(chance.next() % 3_000);
            match chance.below(6) {
                0 => drop(member.record().endpoint_health.checked(Health::NotServing, now)),
                1 => drop(member.record().endpoint_health.checked(Health::Serving, now)),
                2 => member.record().endpoint_health.rest(now + Duration::from_secs(1)),
                3 => set.eject(member, "consecutive", now),
                4 => set.eject_outliers(now),
                _ => set.count(now),
            }
            let of = |test: &dyn Fn(&EndpointHealth) -> bool| {
                members.iter().filter(|m| test(&m.record().endpoint_health)).count()
            };
            let serving = of(&|s| s.is_serving());
            let taken = set.choose(&members, &[], now).expect("an endpoint is chosen");
            assert!(
                serving == 0 || taken.record().endpoint_health.is_serving(),
                "seed {seed}: the chosen endpoint does not serve"
            );
            let well = of(&|s| s.is_serving() && !s.is_ejected(now) && !s.is_resting(now));
            let ejected = of(&|s| s.is_serving() && s.is_ejected(now));
            let is_calm = ejected <= most_ejected(serving, 0.5);
            set.count(now);
            if well > 0 && is_calm {
                let taken = set.choose(&members, &[], now).unwrap();
                assert!(
                    !taken.record().endpoint_health.is_ejected(now),
                    "seed {seed}: chose an ejected endpoint although others are healthy"
                );
            }
        }
        let mut seen = HashSet::new();
        now += LONGEST_EJECTION + Duration::from_secs(60);
        for member in &*set.members() {
            member.record().endpoint_health.checked(Health::Serving, now);
        }
        set.count(now);
        for _ in 0..2_000 {
            now += Duration::from_millis(20);
            seen.insert(set.choose(&set.members(), &[], now).unwrap().endpoint);
        }
        assert_eq!(seen.len(), n, "seed {seed}: all endpoints return");
    }
}

#[test]
fn ejections_grow_to_a_maximum_and_decay() {
    let mut now = Instant::now();
    let mut endpoint_health = EndpointHealth::new(None);
    for times in 1..=40 {
        let time = endpoint_health.eject(now);
        assert_eq!(time, (FIRST_EJECTION * times).min(LONGEST_EJECTION));
        now += time;
        assert!(endpoint_health.readmit(now));
    }
    for _ in 0..40 {
        endpoint_health.end_interval(now);
    }
    assert_eq!(endpoint_health.eject(now), FIRST_EJECTION);
    for _ in 1..CONSECUTIVE {
        assert!(!endpoint_health.observe(EndpointOutcome::Failed));
    }
    assert!(
        !endpoint_health.observe(EndpointOutcome::Busy) && endpoint_health.observe(EndpointOutcome::Failed),
        "Busy is neither success nor failure"
    );
}

#[tokio::test]
async fn refused_connection_is_not_serving_rather_than_silent() {
    let place = Address::read("http://127.0.0.1:1").unwrap().literal().unwrap();
    assert_eq!(Prober::new(&place, None).check(Duration::from_secs(5)).await, Some(Health::NotServing));
}

#[tokio::test]
async fn endpoint_that_accepts_and_never_responds_is_silent() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Address::read(&format!("http://{}", listener.local_addr().unwrap())).unwrap().literal().unwrap();
    assert_eq!(Prober::new(&place, None).check(Duration::from_millis(100)).await, Some(Health::Silent));
}
