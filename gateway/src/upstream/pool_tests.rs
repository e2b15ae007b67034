//! Connections of several threads to one server.

use std::{sync::mpsc, thread};

use tokio::{net::TcpListener, runtime::Builder, time::sleep};

use super::*;
use crate::io::thread::set_number;

const THREADS: usize = 4;
/// How long the server takes to accept a connection.
const SLOW: Duration = Duration::from_secs(1);

/// A pool of connections to a slow server, and a receiver of each connection's start.
async fn slow_server(most_connections: usize) -> (Arc<ConnectionPool>, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (dialed, dials) = mpsc::channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            dialed.send(()).ok();
            tokio::spawn(async move {
                sleep(SLOW).await;
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while connection.accept().await.is_some() {}
            });
        }
    });
    let location = Location { is_secure: false, authority: at.to_string().parse().unwrap(), at };
    let size = PoolSize { most_connections, threads: THREADS };
    let pool = ConnectionPool::new(location, None, Tolerance::Mesh, size, &Limits::default());
    (Arc::new(pool), dials)
}

/// Asks for a permit on the thread of that number, which keeps its connections until the sender is dropped.
fn permit_on(number: usize, pool: &Arc<ConnectionPool>) -> (mpsc::Receiver<StreamPermit>, mpsc::Sender<()>) {
    let pool = Arc::clone(pool);
    let ((permitted, permit), (keeping, kept)) = (mpsc::channel(), mpsc::channel::<()>());
    thread::spawn(move || {
        set_number(number);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        permitted.send(runtime.block_on(pool.permit()).ok().unwrap()).ok();
        kept.recv().ok();
    });
    (permit, keeping)
}

/// Regression: each thread connected after the one before.
#[tokio::test(flavor = "multi_thread")]
async fn threads_share_the_first_connection() {
    let (pool, dials) = slow_server(64).await;
    let waiting: Vec<_> = (1..=THREADS).map(|number| permit_on(number, &pool)).collect();
    let permits: Vec<_> = waiting.iter().map(|(permit, _)| permit.recv().unwrap()).collect();
    assert_eq!(dials.try_iter().count(), 1);
    assert!(permits.iter().all(|permit| Arc::ptr_eq(&permit.0, &permits[0].0)));
    let is_mine = |list: Connections<'_>| list.iter().any(|one| Arc::ptr_eq(one, &permits[0].0));
    let first = pool.lock_all().position(is_mine).unwrap();
    // A thread has connections of its own, and does not wait for one while another thread connects.
    let others: Vec<_> = (1..=THREADS).filter(|number| *number != first).collect();
    let connecting = permit_on(others[0], &pool);
    dials.recv().unwrap();
    let shared = permit_on(others[1], &pool).0.recv().unwrap();
    assert!(Arc::ptr_eq(&shared.0, &permits[0].0));
    assert!(!Arc::ptr_eq(&connecting.0.recv().unwrap().0, &permits[0].0));
}

/// Regression: a thread without calls kept its idle connections, which counted.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connection_of_another_thread_gives_way() {
    let (pool, dials) = slow_server(1).await;
    let (permit, _keeping) = permit_on(1, &pool);
    let idle = Arc::clone(&permit.recv().unwrap().0);
    let shared = permit_on(2, &pool).0.recv().unwrap();
    assert!(Arc::ptr_eq(&shared.0, &idle), "it is not idle for long");
    drop(shared);
    let long_ago = Instant::now().checked_sub(IDLE + Duration::from_secs(1));
    idle.load().left = long_ago.expect("the machine runs for longer");
    let (permit, _keeping) = permit_on(2, &pool);
    assert!(!Arc::ptr_eq(&permit.recv().unwrap().0, &idle));
    assert_eq!(dials.try_iter().count(), 2);
}
