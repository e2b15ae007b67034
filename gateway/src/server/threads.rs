//! The threads of `gateway.threads`. A connection stays on one thread with its calls and with their connections to
//! upstreams, so that no call wakes another thread.
//!
//! One task accepts and gives each connection to the thread with the fewest. With `SO_REUSEPORT` the kernel would choose
//! by a hash of the addresses, which gives few connections unevenly, and a thread that stops listening would reset the
//! connections in its backlog.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::io::thread::set_number;

/// How long the threads may take to stop. Only a task that blocks its thread takes long.
const STOP: Duration = Duration::from_secs(2);

/// The running threads; none if connections share the threads of the process.
#[derive(Default)]
pub(crate) struct ServerThreads {
    threads: Vec<ServerThread>,
    /// Where the search for the next thread begins: threads with the same load take turns.
    next: AtomicUsize,
    stopping: CancellationToken,
    running: TaskTracker,
}

struct ServerThread {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
}

/// The place of a connection on a thread, until it is dropped.
pub(super) struct Place {
    /// The runtime of the thread.
    pub(super) runtime: Handle,
    connections: Arc<AtomicUsize>,
}

impl ServerThreads {
    /// Starts `count` threads.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let mut started = Self::default();
        let stopping = started.stop_when_dropped();
        for number in 1..=count {
            let thread = started.start_thread(number)?;
            started.threads.push(thread);
        }
        stopping.disarm();
        Ok(started)
    }

    fn start_thread(&self, number: usize) -> io::Result<ServerThread> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stopping, running) = (self.stopping.clone(), self.running.token());
        thread::Builder::new().name(format!("gateway-{number}")).spawn(move || {
            set_number(number);
            runtime.block_on(stopping.cancelled());
            // Drops the tasks.
            runtime.shutdown_background();
            drop(running);
        })?;
        Ok(ServerThread { runtime: handle, connections: Arc::default() })
    }

    /// A place on the thread with the fewest connections. `None`: there are no threads.
    pub(super) fn place(&self) -> Option<Place> {
        let first = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.threads.len())?;
        let (before, after) = self.threads.split_at(first);
        let load = |thread: &&ServerThread| thread.connections.load(Ordering::Relaxed);
        let ServerThread { runtime, connections } = after.iter().chain(before).min_by_key(load)?;
        connections.fetch_add(1, Ordering::Relaxed);
        Some(Place { runtime: runtime.clone(), connections: Arc::clone(connections) })
    }

    /// Stops the threads when the guard is dropped, without waiting for them.
    pub(crate) fn stop_when_dropped(&self) -> DropGuard {
        self.stopping.clone().drop_guard()
    }

    /// Stops the threads, and drops what still runs on them. A thread that a task blocks is left behind after [`STOP`].
    pub(crate) async fn stop(&self) {
        self.stopping.cancel();
        self.running.close();
        if timeout(STOP, self.running.wait()).await.is_err() {
            tracing::warn!("a call blocks a thread of gateway.threads: the gateway stops without it");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::thread::number;

    async fn thread_of(place: &Place) -> usize {
        place.runtime.spawn(async { number() }).await.unwrap()
    }

    #[tokio::test]
    async fn thread_with_the_fewest_connections_gets_the_next() {
        assert!(ServerThreads::default().place().is_none());
        let threads = ServerThreads::start(3).unwrap();
        let mut places: Vec<_> = (0..6).filter_map(|_| threads.place()).collect();
        let mut numbers = Vec::new();
        for place in &places {
            numbers.push(thread_of(place).await);
        }
        assert_eq!(numbers, [1, 2, 3, 1, 2, 3]);
        drop(places.remove(1));
        for _ in 0..3 {
            let place = threads.place().unwrap();
            assert_eq!(thread_of(&place).await, 2, "the others have two connections");
        }
        threads.stop().await;
    }

    #[tokio::test]
    async fn stop_drops_what_still_runs() {
        let threads = ServerThreads::start(1).unwrap();
        let place = threads.place().unwrap();
        let (held, dropped) = tokio::sync::oneshot::channel::<()>();
        place.runtime.spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        threads.stop().await;
        assert!(dropped.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn stop_does_not_wait_for_a_blocked_thread() {
        let threads = ServerThreads::start(1).unwrap();
        let place = threads.place().unwrap();
        let (blocking, blocked) = std::sync::mpsc::channel::<()>();
        let (starting, started) = tokio::sync::oneshot::channel();
        place.runtime.spawn(async move {
            starting.send(()).ok();
            blocked.recv()
        });
        started.await.unwrap();
        threads.stop().await;
        assert!(!threads.running.is_empty());
        drop(blocking);
    }
}
