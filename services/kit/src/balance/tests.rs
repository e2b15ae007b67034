use std::{collections::HashMap, io, net::SocketAddr};

use super::*;

type Records = Arc<Mutex<Vec<&'static str>>>;

/// Endpoints behind one name, whose records the test decides.
fn named(records: &Records) -> Balancer<SocketAddr> {
    let records = Arc::clone(records);
    let look_up: LookUp = Box::new(move |host, port| {
        assert_eq!(host, "users");
        let found: Vec<SocketAddr> =
            records.lock().unwrap().iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect();
        Box::pin(async move { if found.is_empty() { Err(io::Error::other("SERVFAIL")) } else { Ok(found) } })
    });
    Balancer::by(look_up, &["http://users:7001".to_owned()], &Config::default(), |place| place.at).unwrap()
}

async fn picked<E: Copy + std::fmt::Display + Send + Sync + 'static>(
    balancer: &Balancer<E>,
    calls: usize,
) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..calls {
        let pick = balancer.pick(&[]).await.unwrap();
        *counts.entry(pick.to_string()).or_default() += 1;
        pick.answered();
    }
    counts
}

fn listed(n: u16) -> Balancer<u16> {
    let addresses: Vec<String> = (1..=n).map(|port| format!("http://127.0.0.1:{port}")).collect();
    Balancer::new(&addresses, &Config::default(), |place| place.at.port()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn endpoints_come_and_go_with_their_records() {
    let records = Records::new(Mutex::new(vec!["10.0.0.1", "10.0.0.2"]));
    let balancer = named(&records);
    assert_eq!(picked(&balancer, 100).await.len(), 2);
    let kept = balancer.pick(&[]).await.unwrap();

    *records.lock().unwrap() = vec!["10.0.0.3"];
    sleep(Duration::from_secs(6)).await;
    assert_eq!(picked(&balancer, 100).await.into_keys().collect::<Vec<_>>(), ["10.0.0.3:7001"]);
    // A call on an endpoint that has left goes on to its end.
    kept.answered();
}

#[tokio::test(start_paused = true)]
async fn a_failed_look_up_changes_nothing() {
    let records = Records::new(Mutex::new(vec!["10.0.0.1"]));
    let balancer = named(&records);
    assert_eq!(picked(&balancer, 1).await.len(), 1);
    records.lock().unwrap().clear();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(picked(&balancer, 1).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_call_waits_for_the_name_but_not_for_ever() {
    let balancer = named(&Records::default());
    assert!(balancer.pick(&[]).await.is_none());
}

#[tokio::test]
async fn addresses_are_checked_at_the_start() {
    let bad = |addresses: &[&str]| {
        let addresses: Vec<String> = addresses.iter().map(|a| (*a).to_owned()).collect();
        Balancer::new(&addresses, &Config::default(), |place| place.at).err().unwrap()
    };
    assert_eq!(bad(&[]), "names no address such as http://host:port");
    assert_eq!(bad(&["http://a:1", "b:2"]), "\"b:2\" is no address such as http://host:port");
}

#[tokio::test(start_paused = true)]
async fn calls_go_where_least_waits() {
    let balancer = listed(2);
    // Endpoint 1 keeps what it is given, endpoint 2 answers at once.
    let mut kept = Vec::new();
    for _ in 0..100 {
        let pick = balancer.pick(&[]).await.unwrap();
        if *pick == 1 {
            kept.push(pick);
        } else {
            pick.answered();
        }
    }
    assert!(kept.len() <= 2, "{} calls wait at an endpoint that does not answer", kept.len());
}

#[tokio::test(start_paused = true)]
async fn equal_endpoints_get_equal_shares() {
    let counts = picked(&listed(4), 4_000).await;
    assert!(counts.values().all(|n| (800..1_200).contains(n)), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_tried_comes_last_and_what_is_unreachable_rests() {
    let balancer = listed(2);
    let first = balancer.pick(&[]).await.unwrap();
    let tried = [first.location().clone()];
    let second = balancer.pick(&tried).await.unwrap();
    assert_ne!(*first, *second);
    second.unreachable();
    drop(second);
    for _ in 0..10 {
        assert_eq!(*balancer.pick(&[]).await.unwrap(), *first);
    }
    assert_eq!(*balancer.pick(&tried).await.unwrap(), *balancer.pick(&tried).await.unwrap(), "the other, all the same");
    let both = balancer.locations();
    assert!(balancer.pick(&both).await.is_some(), "where all were tried, any");
}
