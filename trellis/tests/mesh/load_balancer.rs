//! The load balancer before the replicas of a cluster: it sends new TCP connections to ready replicas, as kube-proxy
//! does with a readiness probe. It closes no connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::web;

/// The interval of readiness checks.
const LOOK: Duration = Duration::from_millis(100);

/// A replica, as the load balancer sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// The port that gets the connections.
    pub(crate) port: u16,
    /// The port that serves `/readyz`.
    pub(crate) readiness: u16,
}

/// A running load balancer.
pub(crate) struct LoadBalancer {
    pub(crate) port: u16,
    replicas: Arc<Vec<Replica>>,
    _tasks: JoinSet<()>,
}

struct Replica {
    target: Target,
    ready: AtomicBool,
}

impl LoadBalancer {
    /// Starts before `targets`, which need not run yet.
    pub(crate) async fn start(targets: &[Target]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let replica = |target: &Target| Replica { target: *target, ready: AtomicBool::new(false) };
        let replicas: Arc<Vec<_>> = Arc::new(targets.iter().map(replica).collect());
        let mut tasks = JoinSet::new();
        for at in 0..replicas.len() {
            tasks.spawn(look(Arc::clone(&replicas), at));
        }
        tasks.spawn(accept(listener, Arc::clone(&replicas)));
        Self { port, replicas, _tasks: tasks }
    }

    /// Whether the replica gets new connections.
    pub(crate) fn sends_to(&self, replica: usize) -> bool {
        self.replicas[replica].ready.load(Ordering::SeqCst)
    }
}

async fn look(replicas: Arc<Vec<Replica>>, at: usize) {
    let Replica { target, ready } = &replicas[at];
    loop {
        let is_ready = web::get(target.readiness, "/readyz").await.is_ok_and(|response| response.status == 200);
        ready.store(is_ready, Ordering::SeqCst);
        sleep(LOOK).await;
    }
}

async fn accept(listener: TcpListener, replicas: Arc<Vec<Replica>>) {
    let turn = AtomicUsize::new(0);
    loop {
        let (mut caller, _) = listener.accept().await.unwrap();
        let ready: Vec<u16> =
            replicas.iter().filter(|r| r.ready.load(Ordering::SeqCst)).map(|r| r.target.port).collect();
        // No replica is ready: close the connection, like a Service without endpoints.
        let Some(port) = ready.get(turn.fetch_add(1, Ordering::Relaxed) % ready.len().max(1)).copied() else {
            continue;
        };
        tokio::spawn(async move {
            let mut replica = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
            caller.set_nodelay(true).ok()?;
            replica.set_nodelay(true).ok()?;
            copy_bidirectional(&mut caller, &mut replica).await.ok()
        });
    }
}
