//! Sharded pub/sub: a Cluster of three nodes.

use super::*;
use redis::free_port;

/// The last of each node's share of the 16 384 slots.
const LAST: [u16; 3] = [5_460, 10_922, 16_383];

pub(super) fn start() -> [Redis; 3] {
    let nodes = LAST.map(|last| {
        let bus_port = free_port().to_string();
        let node = Redis::start(&["--cluster-enabled", "yes", "--cluster-port", &bus_port]);
        let first = LAST.iter().rfind(|other| **other < last).map_or(0, |other| other + 1);
        node.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        (node, bus_port)
    });
    let [(first, _), ..] = &nodes;
    for (node, bus_port) in &nodes[1..] {
        first.ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), bus_port]);
    }
    nodes.map(|(node, _)| node)
}

pub(super) async fn until_whole(nodes: &[Redis]) {
    let waiting = async {
        while nodes.iter().any(|node| !node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok")) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON * 2, waiting).await.expect("the nodes become a cluster");
}

/// The node that carries our channels, for all three replicas.
async fn carrier(nodes: &[Redis]) -> usize {
    let carries = |node: &Redis| node.ask(&["PUBSUB", "SHARDNUMSUB", "trellis:{bus}:c"]).contains(":3");
    let finding = async {
        loop {
            let carriers: Vec<_> = (0..nodes.len()).filter(|at| carries(&nodes[*at])).collect();
            if let [carrier] = carriers[..] {
                return carrier;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, finding).await.expect("one node carries the channel")
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_follow_their_slot_between_shards() {
    let nodes = start();
    until_whole(&nodes).await;
    // Each replica knows another node: at most one of them starts at the right one.
    let replicas = [0, 1, 2].map(|at: usize| open(nodes[at].url(), true));
    let mut listeners = [0, 1, 2].map(|at: usize| replicas[at].listen("c"));
    all_receive_all(&replicas, &mut listeners).await;

    let from = carrier(&nodes).await;
    let to = (from + 1) % nodes.len();
    let slot = nodes[0].ask(&["CLUSTER", "KEYSLOT", "trellis:{bus}:c"]);
    let id = nodes[to].ask(&["CLUSTER", "MYID"]).trim().to_owned();
    for node in [to, from] {
        nodes[node].ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
    }
    // The old node ends the subscriptions when it learns of the move; the replicas follow.
    assert_eq!(carrier(&nodes).await, to);
    all_receive_all(&replicas, &mut listeners).await;
}

async fn all_receive_all(replicas: &[Arc<dyn Bus>; 3], listeners: &mut [Listener; 3]) {
    for replica in replicas {
        until_connected(&**replica, true).await;
    }
    for listener in listeners.iter_mut() {
        settle(listener).await;
    }
    for (reached, replica) in (0..).zip(replicas) {
        let sent = signal(reached);
        replica.publish("c", sent);
        for listener in listeners.iter_mut() {
            receives(listener, sent).await;
        }
    }
}
