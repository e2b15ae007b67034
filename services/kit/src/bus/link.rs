//! One connection to Redis. It publishes, subscribes, and sends the canary.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use deadpool_redis::redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, Pipeline, PushInfo, PushKind, RedisResult, Value,
    aio::MultiplexedConnection, cmd,
};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use uuid::Uuid;

use super::{
    Heard, Signal,
    outbox::Batch,
    recent,
    redis::{BusState, SILENCE},
    wire::Payload,
};
use crate::redis::{self, CHECK_INTERVAL, Node, Role};

/// The prefix of all names in Redis. The braces put them into one slot: in a Cluster one node and one connection carry
/// them all. Wake-ups are small enough for one node.
const PREFIX: &str = "trellis:{bus}:";
const CANARY: &str = "trellis:{bus}:canary:";
/// The interval of canaries.
const PERIOD: Duration = Duration::from_secs(1);
/// The timeout of connecting and of a response.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum number of signals in a payload: about 3 KiB.
const AT_ONCE: usize = 128;
/// The maximum number of redirects by a Cluster.
const REDIRECTS: usize = 3;

/// A connection that is subscribed to the canary's channel.
pub(super) struct BusLink {
    shared: Arc<BusState>,
    connection: MultiplexedConnection,
    node: tokio::sync::Mutex<Node>,
    /// Notified when the connection is lost, or when the Cluster moved our channels.
    broken: Arc<Notify>,
}

impl BusLink {
    /// Connects to a master; in a Cluster, to the master of our slot.
    pub(super) async fn open(shared: &Arc<BusState>) -> RedisResult<Self> {
        let mut address = shared.server.address.clone();
        let mut redirects = 0;
        loop {
            let link = Self::connect(shared, address.clone()).await?;
            let (error, node) = match link.join().await {
                Ok(None) => return Ok(link),
                // A replica serves subscriptions too, but publishers use the master.
                Ok(Some(master)) => (redis::is_replica(), shared.server.cluster.then_some(master)),
                Err(error) => {
                    let node = error.redirect_node().map(|(node, _)| node.to_owned());
                    (error, node)
                }
            };
            let Some(node) = node.filter(|_| redirects < REDIRECTS) else { return Err(error) };
            redirects += 1;
            address = at_node(&address, &node).ok_or(error)?;
        }
    }

    /// Subscribes to the canary's channel if the node is a master. Otherwise returns the master's address.
    async fn join(&self) -> RedisResult<Option<String>> {
        if let Role::Replica(master) = redis::role(&mut self.connection.clone()).await? {
            return Ok(Some(master));
        }
        self.subscribe(&canary_channel(self.shared.replica)).await.map(|()| None)
    }

    async fn connect(shared: &Arc<BusState>, address: ConnectionInfo) -> RedisResult<Self> {
        let broken = Arc::new(Notify::new());
        let receiver = Receiver { shared: Arc::clone(shared), broken: Arc::clone(&broken) };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT))
            .set_push_sender(move |push| {
                receiver.receive(&push);
                Ok::<_, Infallible>(())
            });
        let (connection, node) = redis::connect(&shared.server.look_up, &address, &config).await?;
        Ok(Self { shared: Arc::clone(shared), connection, node: tokio::sync::Mutex::new(node), broken })
    }

    /// Runs until a failure, and returns its description.
    pub(super) async fn run(&self) -> String {
        tokio::select! {
            Err(error) = self.follow_channels() => error.to_string(),
            Err(error) = self.publish() => error.to_string(),
            failure = self.send_canaries() => failure,
            failure = self.watch_node() => failure,
            _ = self.repeat() => "the connection has ended".to_owned(),
            () = self.broken.notified() => "Redis closed the connection, or moved our channels".to_owned(),
            else => "the connection has ended".to_owned(),
        }
    }

    /// Subscribes to the channels of this process, including later ones.
    async fn follow_channels(&self) -> RedisResult<Infallible> {
        let mut subscribed = HashSet::new();
        loop {
            for channel in self.shared.channels.names() {
                if subscribed.insert(channel) {
                    self.subscribe(&format!("{PREFIX}{channel}")).await?;
                    // From here on no signal is lost; earlier ones may be.
                    self.shared.channels.send(channel, Heard::Missed);
                }
            }
            self.shared.channel_added.notified().await;
        }
    }

    async fn subscribe(&self, name: &str) -> RedisResult<()> {
        let command = if self.shared.server.cluster { "SSUBSCRIBE" } else { "SUBSCRIBE" };
        // The response is a push, which the client library assigns to this command.
        self.execute(cmd(command).arg(name)).await
    }

    /// Publishes the outbox. While Redis responds, more signals collect there and are sent together.
    async fn publish(&self) -> RedisResult<Infallible> {
        loop {
            let taken = self.shared.outbox.take().await;
            let unsent = Unsent { shared: &self.shared, taken: Some(taken) };
            let pipeline = self.pipeline(unsent.taken.iter().flatten());
            pipeline.exec_async(&mut self.connection.clone()).await?;
            unsent.sent();
        }
    }

    fn pipeline<'a>(&self, batches: impl Iterator<Item = (&'a &'static str, &'a Batch)>) -> Pipeline {
        let mut pipeline = Pipeline::new();
        for (channel, batch) in batches {
            let name = format!("{PREFIX}{channel}");
            for signals in in_payloads(batch) {
                pipeline.add_command(self.publication(&name, signals)).ignore();
            }
        }
        pipeline
    }

    fn publication(&self, name: &str, signals: Vec<Signal>) -> Cmd {
        let payload = Payload { replica: self.shared.replica, signals };
        let mut command = cmd(if self.shared.server.cluster { "SPUBLISH" } else { "PUBLISH" });
        command.arg(name).arg(payload.encode());
        command
    }

    /// Sends canaries until one is overdue: a dead connection may report no error.
    async fn send_canaries(&self) -> String {
        let opened = Instant::now();
        let name = canary_channel(self.shared.replica);
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let reached = i64::try_from(self.shared.started.elapsed().as_micros()).unwrap_or(i64::MAX);
            let canary = Signal { subject: self.shared.replica, reached };
            if let Err(error) = self.execute(&self.publication(&name, vec![canary])).await {
                return error.to_string();
            }
            if self.shared.last_canary().unwrap_or(opened).elapsed() > SILENCE {
                return "Redis responds, but does not deliver published messages".to_owned();
            }
        }
    }

    /// Checks the node until it is no longer a master, or its name resolves elsewhere.
    async fn watch_node(&self) -> String {
        let mut node = self.node.lock().await;
        loop {
            sleep(CHECK_INTERVAL).await;
            match node.check(&mut self.connection.clone()).await {
                Ok(None) => {}
                Ok(Some(reason)) => return reason,
                Err(error) => return error.to_string(),
            }
        }
    }

    /// Publishes recent signals again, which the last connection may have lost: at once, and after all others have
    /// noticed.
    async fn repeat(&self) -> Infallible {
        self.shared.recent.repeat(&self.shared.outbox);
        sleep(recent::NOTICED).await;
        self.shared.recent.repeat(&self.shared.outbox);
        std::future::pending().await
    }

    async fn execute(&self, command: &Cmd) -> RedisResult<()> {
        self.connection.clone().send_packed_command(command).await?.extract_error().map(drop)
    }
}

/// Signals taken from the outbox. They return to it unless they were sent, also when the connection ends meanwhile.
struct Unsent<'a> {
    shared: &'a BusState,
    taken: Option<HashMap<&'static str, Batch>>,
}

impl Unsent<'_> {
    fn sent(mut self) {
        if let Some(sent) = self.taken.take() {
            self.shared.recent.add(sent);
        }
    }
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            self.shared.outbox.put_back(taken);
        }
    }
}

fn in_payloads(batch: &Batch) -> Vec<Vec<Signal>> {
    match batch {
        Batch::Everything => vec![Vec::new()],
        Batch::Signals(signals) => {
            let signals: Vec<_> =
                signals.iter().map(|(subject, reached)| Signal { subject: *subject, reached: *reached }).collect();
            signals.chunks(AT_ONCE).map(<[_]>::to_vec).collect()
        }
    }
}

fn canary_channel(replica: Uuid) -> String {
    format!("{CANARY}{replica}")
}

/// The same credentials at another node of the Cluster: `host:port`, with an empty host for the same host.
fn at_node(address: &ConnectionInfo, node: &str) -> Option<ConnectionInfo> {
    let (host, port) = node.rsplit_once(':')?;
    let (host, port) = (host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?);
    let named = |was: &str| if host.is_empty() { was.to_owned() } else { host.to_owned() };
    let moved = match address.addr() {
        ConnectionAddr::Tcp(was, _) => ConnectionAddr::Tcp(named(was), port),
        ConnectionAddr::TcpTls { host: was, insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: named(was), port, insecure: *insecure, tls_params: tls_params.clone() }
        }
        _ => return None,
    };
    Some(address.clone().set_addr(moved))
}

/// Receives all push messages of a connection. Never waits: the listeners' backlogs are bounded.
struct Receiver {
    shared: Arc<BusState>,
    broken: Arc<Notify>,
}

impl Receiver {
    fn receive(&self, push: &PushInfo) {
        match (&push.kind, push.data.as_slice()) {
            (PushKind::Message | PushKind::SMessage, [Value::BulkString(name), Value::BulkString(bytes)]) => {
                match Payload::decode(bytes) {
                    Some(payload) => self.take(name, payload),
                    None => metrics::counter!("bus_payloads_unknown_total").increment(1),
                }
            }
            (PushKind::Disconnection | PushKind::SUnsubscribe, _) => self.broken.notify_one(),
            _ => {}
        }
    }

    fn take(&self, name: &[u8], payload: Payload) {
        let Some(name) = std::str::from_utf8(name).ok() else { return };
        let is_own = payload.replica == self.shared.replica;
        if name.starts_with(CANARY) {
            if let (true, [canary]) = (is_own, payload.signals.as_slice()) {
                self.shared.canary_returned(canary.reached);
            }
            return;
        }
        // The process received its own signals when it published them.
        let Some(channel) = name.strip_prefix(PREFIX).filter(|_| !is_own) else { return };
        if payload.signals.is_empty() {
            self.shared.channels.send(channel, Heard::Missed);
        }
        for signal in payload.signals {
            self.shared.channels.send(channel, Heard::Signal(signal));
        }
    }
}
