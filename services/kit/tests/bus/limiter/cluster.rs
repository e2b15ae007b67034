//! A Cluster of three nodes, of which one fails.

use super::{super::cluster, *};

/// The buckets of many scopes are spread over all nodes.
const SCOPES: usize = 30;

async fn all_scopes(limiter: &dyn RateLimiter, quotas: &[Quota]) -> (usize, Duration) {
    let (mut admitted, mut longest, lag) = (0, Duration::ZERO, Lag::watch());
    for scope in 0..SCOPES {
        let (scope, started) = (format!("scope {scope}"), Instant::now());
        let limits: Vec<_> = quotas.iter().map(|quota| limit(&format!("{scope} {quota}"), *quota)).collect();
        let ask = Ask { scope: &scope, limits: &limits, failure_mode: FailureMode::Local };
        admitted += usize::from(limiter.decide(&ask).decision().await.is_admitted());
        longest = longest.max(started.elapsed());
    }
    (admitted, longest.saturating_sub(lag.worst()))
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_go_to_the_node_of_their_scope_and_survive_its_loss() {
    let mut nodes = cluster::start();
    cluster::until_whole(&nodes).await;
    let config = LimiterConfig { budget: Span(Duration::from_millis(100)), ..LimiterConfig::default() };
    let limiters = [0, 1].map(|at: usize| open(&nodes[at].url(), true, &config));
    for limiter in &limiters {
        until_shared(&**limiter, true).await;
    }
    // Two limits of one call: their keys are in one slot.
    let two = [Quota::new(4, HOUR, 4), Quota::count(2, HOUR)];
    assert_eq!(all_scopes(&*limiters[0], &two).await.0, SCOPES);
    assert_eq!(all_scopes(&*limiters[1], &two).await.0, SCOPES);
    assert_eq!(
        all_scopes(&*limiters[0], &two).await.0,
        0,
        "the cost taken by the other limiter is gone, on every node"
    );
    let sizes: Vec<usize> = nodes.iter().map(|node| node.ask(&["DBSIZE"]).parse().unwrap()).collect();
    assert!(sizes.iter().all(|size| *size > 0), "all nodes have keys: {sizes:?}");

    nodes[2].kill();
    // A remaining node, or the limiter's own share, decides each call.
    let fresh = [Quota::new(400, HOUR, 400)];
    for _ in 0..5 {
        let (admitted, longest) = all_scopes(&*limiters[0], &fresh).await;
        assert_eq!(admitted, SCOPES);
        assert!(longest < 10 * config.budget.0, "{longest:?}");
    }
    nodes[2].launch();
    cluster::until_whole(&nodes).await;
    for limiter in &limiters {
        until_shared(&**limiter, true).await;
    }
}
