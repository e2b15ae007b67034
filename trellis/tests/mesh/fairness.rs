//! Load shedding is fair: the burst of one caller leaves room for the others.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use proto::auth::v1::GetJwksRequest as Empty;
use tonic::{Code, Status, client::Grpc};
use tonic_prost::ProstCodec;

use super::{
    faulty_upstream::{Behavior, READ, Upstream, mesh},
    harness::{Person, reason},
};

/// The concurrency limit of the upstream. One response takes 300 ms.
const LIMIT: &str = "20";
/// Concurrent calls of the burst: several times the limit.
const BURST: usize = 100;
/// Calls of the calm caller, one after another.
const CALM: usize = 8;

async fn call(person: &Person, channel: tonic::transport::Channel) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec: ProstCodec<Empty, Empty> = ProstCodec::default();
    grpc.unary(person.request(Empty {}), READ.parse().unwrap(), codec).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn burst_of_one_user_leaves_room_for_another() {
    let upstream = Upstream::start(Behavior::Slow).await;
    // Without retries each refusal is seen.
    let settings = [
        ("BALANCE__SHED__LEAST_CALLS", LIMIT),
        ("BALANCE__SHED__MOST_CALLS", LIMIT),
        ("BALANCE__RETRY__ATTEMPTS", "1"),
    ];
    let mesh = mesh(&[upstream], &settings).await;
    let (greedy, calm) = (mesh.sign_up("greedy").await, mesh.sign_up("calm").await);
    let (burst, single) = (mesh.channel(mesh.ports.gateway).await, mesh.channel(mesh.ports.gateway).await);

    let ends = Arc::new(AtomicBool::new(false));
    let bursts = tokio::spawn({
        let (ends, greedy, burst) = (Arc::clone(&ends), greedy.clone(), burst.clone());
        async move {
            let one = async || {
                let (mut passed, mut refused) = (0, 0);
                while !ends.load(Ordering::SeqCst) {
                    match call(&greedy, burst.clone()).await {
                        Ok(()) => passed += 1,
                        Err(status) => {
                            assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "OVERLOADED"));
                            refused += 1;
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
                (passed, refused)
            };
            let counts = join_all((0..BURST).map(|_| one())).await;
            counts.into_iter().fold((0, 0), |sum: (usize, usize), one: (usize, usize)| (sum.0 + one.0, sum.1 + one.1))
        }
    });
    // The burst holds its whole share before the calm caller begins.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut outcomes = Vec::new();
    for _ in 0..CALM {
        outcomes.push(call(&calm, single.clone()).await);
    }
    ends.store(true, Ordering::SeqCst);
    let (passed, refused) = bursts.await.unwrap();

    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(passed > 0, "the burst has a share too");
    assert!(refused > passed, "{passed} calls of the burst passed, {refused} were refused");
}
