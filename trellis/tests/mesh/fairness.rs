//! Load shedding is fair: the burst of one caller leaves room for the others.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use proto::auth::v1::GetJwksRequest as Empty;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::{Code, Status, client::Grpc};
use tonic_prost::ProstCodec;

use super::{
    faulty_upstream::{Behavior, READ, Upstream, mesh},
    harness::{Mesh, Person, reason},
};

/// The concurrency limit of the upstream. Users get a tenth less.
const LIMIT: &str = "20";
/// Concurrent calls of the burst: several times the limit.
const BURST: usize = 100;
/// The calls in flight at which a caller beyond its share is refused: three quarters of 18.
const OF_BURST: usize = 13;
/// What the limit has left for another user.
const OF_CALM: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

async fn call(person: Person, channel: tonic::transport::Channel) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec: ProstCodec<Empty, Empty> = ProstCodec::default();
    grpc.unary(person.request(Empty {}), READ.parse().unwrap(), codec).await.map(drop)
}

/// Starts calls of one user. Returns those that the upstream holds, when all others have been refused.
async fn start(
    mesh: &Mesh,
    upstream: &Upstream,
    person: &Person,
    count: usize,
) -> FuturesUnordered<JoinHandle<Result<(), Status>>> {
    let channel = mesh.channel(mesh.ports.gateway).await;
    let before = upstream.attempts();
    let mut calls: FuturesUnordered<_> =
        (0..count).map(|_| tokio::spawn(call(person.clone(), channel.clone()))).collect();
    let deciding = async {
        while calls.len() + before > upstream.attempts() {
            tokio::select! {
                Some(ended) = calls.next() => {
                    let status = ended.unwrap().expect_err("the upstream holds the admitted calls");
                    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "OVERLOADED"));
                }
                () = sleep(Duration::from_millis(20)) => {}
            }
        }
    };
    timeout(PATIENCE, deciding).await.expect("each call is admitted or refused");
    calls
}

#[tokio::test(flavor = "multi_thread")]
async fn burst_of_one_user_leaves_room_for_another() {
    let upstreams = [Upstream::start(Behavior::Held).await];
    // Without retries each refusal is seen.
    let settings = [
        ("BALANCE__SHED__LEAST_CALLS", LIMIT),
        ("BALANCE__SHED__MOST_CALLS", LIMIT),
        ("BALANCE__RETRY__ATTEMPTS", "1"),
    ];
    let mesh = mesh(&upstreams, &settings).await;
    let (greedy, calm) = (mesh.sign_up("greedy").await, mesh.sign_up("calm").await);
    let burst = start(&mesh, &upstreams[0], &greedy, BURST).await;
    assert_eq!(burst.len(), OF_BURST, "the burst gets no more, although the limit has room");
    let single = start(&mesh, &upstreams[0], &calm, OF_CALM).await;
    assert_eq!(single.len(), OF_CALM, "another user gets the rest");
    upstreams[0].release();
    for admitted in burst.into_iter().chain(single) {
        admitted.await.unwrap().expect("an admitted call succeeds");
    }
}
