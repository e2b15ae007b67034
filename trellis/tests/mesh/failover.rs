//! Redis fails over while the connections of one side stay open: the old node becomes a replica, and new connections
//! reach the new primary.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, Instant},
};

use proto::{auth::v1::SignOutRequest, messaging::v1::ListConversationsRequest};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{harness::reason, redis::Redis, replicas::Replicas};

/// `docs/configuration.md` promises 20 s: detection within 2 s, reconnection within 4 s, a repeated notice 12 s later.
const BOUND: Duration = Duration::from_secs(20);
/// The timeout on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A proxy to one Redis that can send new connections to another.
struct RedisProxy {
    url: String,
    target: Arc<AtomicU16>,
    connections: Arc<Mutex<JoinSet<()>>>,
}

impl RedisProxy {
    async fn to(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}/", listener.local_addr().unwrap());
        let target = Arc::new(AtomicU16::new(redis.port));
        let proxy = Self { url, target, connections: Arc::default() };
        let (port, connections) = (Arc::clone(&proxy.target), Arc::clone(&proxy.connections));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let port = port.load(Ordering::SeqCst);
                connections.lock().unwrap().spawn(async move {
                    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    copy_bidirectional(&mut client, &mut server).await.ok();
                });
            }
        });
        proxy
    }

    fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }
}

/// A regression: the bus reported a connection, and the other gateway accepted the ended session for 31 s.
#[tokio::test(flavor = "multi_thread")]
async fn ended_session_is_refused_after_a_failover_without_a_cut() {
    let [old, new] = [Redis::start(&[]), Redis::start(&[])];
    let proxies = [RedisProxy::to(&old).await, RedisProxy::to(&old).await];
    let replicas = Replicas::start_with(&old, |side, process| process.set("REDIS__URL", &proxies[side].url)).await;
    let ada = replicas.sides[0].gateway().sign_up("ada").await;
    let [ada_a, ada_b] = replicas.both(&ada).await;
    let list = async || ada_b.messaging().list_conversations(ada_b.request(ListConversationsRequest::default())).await;
    list().await.unwrap();

    old.ask(&["REPLICAOF", "127.0.0.1", &new.port.to_string()]);
    for proxy in &proxies {
        proxy.target.store(new.port, Ordering::SeqCst);
    }
    // The cut disconnects the first side; the other has to detect the failover.
    proxies[0].cut();
    let ended = Instant::now();
    let request = SignOutRequest { refresh_token: ada.tokens.refresh_token.clone() };
    ada_a.auth().sign_out(request).await.unwrap();
    let refused = loop {
        match list().await {
            Ok(_) => assert!(ended.elapsed() < PATIENCE, "the ended session is still accepted"),
            Err(refused) => break refused,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let took = ended.elapsed();
    assert_eq!(reason(&refused), "SESSION_REVOKED", "{refused:?}");
    println!("refused after {took:?}");
    assert!(took < BOUND * 2, "twice the bound on a busy machine: {took:?}");
    let listeners = || new.ask(&["PUBSUB", "NUMSUB", "trellis:{bus}:auth.revoked"]);
    let wanted = format!(":{}\r\n", replicas.processes().count());
    while !listeners().contains(&wanted) {
        assert!(ended.elapsed() < PATIENCE, "some did not connect to the new node: {}", listeners());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for process in &replicas.sides[1].processes {
        assert!(process.log().contains("is a replica now"), "no failover in the log:\n{}", process.log());
    }
}
