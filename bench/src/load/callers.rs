//! The clients. Each has a connection, or shares one, and makes one call at a time.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
    time::sleep,
};

use super::{Connection, Drive, Plan, Request, tally::Tally};

/// The pause after a failure, so that this process does not spin while a server is down.
const PAUSE: Duration = Duration::from_millis(5);

/// Connects and starts all clients.
pub(super) async fn start(
    callers: &mut JoinSet<()>,
    plan: &Plan,
    request: &Rc<Request>,
    tally: &Rc<Tally>,
) -> Result<(), String> {
    let due = Rc::new(Mutex::new(due_calls(plan.drive)));
    for _ in 0..plan.connections {
        let first = Connection::open(request).await?;
        let others = (1..plan.calls_each).filter_map(|_| first.share()).collect::<Vec<_>>();
        for connection in others.into_iter().chain([first]) {
            let caller = Caller { connection: Some(connection), request: Rc::clone(request), tally: Rc::clone(tally) };
            match plan.drive {
                Drive::Closed => callers.spawn_local(caller.at_once()),
                Drive::Open(_) => callers.spawn_local(caller.when_due(Rc::clone(&due))),
                Drive::Streams { stamped } => callers.spawn_local(caller.listen(stamped)),
            };
        }
    }
    Ok(())
}

/// The scheduled times of calls.
type Due = mpsc::UnboundedReceiver<Instant>;

/// Starts a thread that sends the time of each call when it is due. The runtime's timers have a resolution of 1 ms only.
fn due_calls(drive: Drive) -> Due {
    let (sender, receiver) = mpsc::unbounded_channel();
    if let Drive::Open(rate) = drive {
        std::thread::spawn(move || {
            let (mut next, mut pauses) = (Instant::now(), Pauses::new(rate));
            // The channel closes when the clients of the window end.
            while sender.send(next).is_ok() {
                next += pauses.next();
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
    }
    receiver
}

/// The pauses between calls of independent clients: exponentially distributed, and the same in each run.
struct Pauses {
    rate: f64,
    state: u64,
}

impl Pauses {
    fn new(rate: f64) -> Self {
        Self { rate, state: 0x2545_F491_4F6C_DD1D }
    }

    fn next(&mut self) -> Duration {
        // xorshift64.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let uniform = ((self.state >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        Duration::from_secs_f64(-uniform.ln() / self.rate)
    }
}

struct Caller {
    connection: Option<Connection>,
    request: Rc<Request>,
    tally: Rc<Tally>,
}

impl Caller {
    async fn at_once(mut self) {
        while !self.tally.is_over() {
            self.call(Instant::now()).await;
        }
    }

    async fn when_due(mut self, due: Rc<Mutex<Due>>) {
        while !self.tally.is_over() {
            let next = due.lock().await.recv().await;
            let Some(next) = next else { return };
            self.call(next).await;
        }
    }

    async fn call(&mut self, due: Instant) {
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => {
                self.tally.reconnected();
                Connection::open(&self.request).await
            }
        };
        let outcome = match connection {
            Ok(mut connection) => connection.call(&self.request, |_| {}).await.map(|response| (connection, response)),
            Err(error) => Err(error),
        };
        match outcome {
            Ok((connection, response)) => {
                self.tally.completed(due, &response, &self.request);
                self.connection = (!response.closes).then_some(connection);
            }
            Err(error) => {
                self.tally.failed(error);
                sleep(PAUSE).await;
            }
        }
    }

    /// Reads a stream until the end of the window. An earlier end is a failure.
    async fn listen(mut self, stamped: bool) {
        let Some(mut connection) = self.connection.take() else { return };
        let outcome = connection.call(&self.request, |stamp| self.tally.message(stamped.then_some(stamp))).await;
        self.tally.failed(match outcome {
            Ok(response) => format!("the stream ended: {response:?}"),
            Err(error) => error,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_keep_their_rate() {
        let mut pauses = Pauses::new(1_000.0);
        let sum: Duration = (0..100_000).map(|_| pauses.next()).sum();
        assert!((99.0..101.0).contains(&sum.as_secs_f64()), "{sum:?}");
    }
}
