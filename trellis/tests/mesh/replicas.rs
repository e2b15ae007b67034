//! Two replicas of every service and of the gateway, on one PostgreSQL and one Redis. A client may connect to any
//! replica. Losing Redis delays messages, but loses none.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use proto::{
    auth::v1::{ListSessionsRequest, RevokeSessionRequest, SignInRequest},
    messaging::v1::{
        CreateConversationRequest, ListConversationsRequest, SendMessageRequest, SubscribeRequest, SubscribeResponse,
        subscribe_response::Event,
    },
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};
use tonic::{Code, Streaming, transport::Channel};

use super::{
    harness::{Mesh, PASSWORD, Person, Ports, fresh_database, new_id, reason},
    redis::Redis,
    split::{PARTS, make_keys, prepared},
    web,
};

/// How often replicas poll the database without Redis.
const POLL_MS: u64 = 500;
/// Ten times the poll interval. With Redis an entry takes some milliseconds.
const ARRIVES: Duration = Duration::from_millis(10 * POLL_MS);
/// How long a start, or three health checks a second apart, may take on a busy machine.
const NOTICED: Duration = Duration::from_secs(60);
/// The pause between two messages of the continuous sender.
const PACE: Duration = Duration::from_millis(20);

/// Two sides with all processes of the mesh.
pub(crate) struct Replicas {
    pub(crate) sides: [Side; 2],
    database: String,
    _keys: TempDir,
}

/// One replica of each part; each calls the services of its own side.
pub(crate) struct Side {
    pub(crate) processes: Vec<Mesh>,
    ports: Ports,
}

impl Side {
    pub(crate) fn gateway(&self) -> &Mesh {
        self.process("gateway")
    }

    pub(crate) fn process(&self, part: &str) -> &Mesh {
        let (_, process) = PARTS.iter().zip(&self.processes).find(|(name, _)| **name == part).unwrap();
        process
    }

    async fn channel(&self) -> Channel {
        self.gateway().channel(self.ports.gateway).await
    }
}

impl Replicas {
    pub(crate) async fn start(redis: &Redis) -> Self {
        Self::start_with(redis, |_, _| {}).await
    }

    /// Like [`Replicas::start`]; `adjust` may override the settings of each side's processes.
    pub(crate) async fn start_with(redis: &Redis, adjust: impl Fn(usize, &mut Mesh)) -> Self {
        let (keys, database) = (make_keys(), fresh_database().await);
        let mut sides = [0, 1].map(|side| {
            let ports = Ports::free();
            let mut processes = Vec::from(PARTS.map(|part| prepared(part, ports, keys.path(), &database)));
            for process in &mut processes {
                process.set("REDIS__URL", &redis.url());
                process.set("REDIS__POLL_INTERVAL", &format!("{POLL_MS}ms"));
                adjust(side, process);
                process.launch();
            }
            Side { processes, ports }
        });
        for side in &mut sides {
            let port = side.ports.gateway;
            side.processes.last_mut().unwrap().ready(port).await;
        }
        let replicas = Self { sides, database, _keys: keys };
        replicas.until_bus_is(true).await;
        replicas
    }

    pub(crate) fn processes(&self) -> impl Iterator<Item = &Mesh> {
        self.sides.iter().flat_map(|side| &side.processes)
    }

    /// Waits until every process reports that the bus works, or that it does not. The processes stay ready.
    pub(crate) async fn until_bus_is(&self, wanted: bool) {
        for process in self.processes() {
            let waiting = async {
                while shown_bus(process).await != wanted {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            timeout(NOTICED, waiting).await.unwrap_or_else(|_| panic!("the bus state never became {wanted}"));
        }
    }

    /// The user's clients on both sides.
    pub(crate) async fn both(&self, person: &Person) -> [Person; 2] {
        let [a, b] = &self.sides;
        [person.through(a.channel().await), person.through(b.channel().await)]
    }
}

/// Whether the bus works, on the admin listener of a process.
async fn shown_bus(process: &Mesh) -> bool {
    let response = web::get(process.ports.admin, "/readyz").await.unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
    let parts = shown.as_object().unwrap();
    assert_eq!((response.status, parts.len()), (200, 1), "a process is ready without Redis: {shown}");
    parts.values().all(|needs| needs["bus"].as_bool().unwrap())
}

/// The value of a metric of a process.
pub(crate) async fn sample(process: &Mesh, name: &str) -> f64 {
    let response = web::get(process.ports.admin, "/metrics").await.unwrap();
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
}

async fn open_conversation(by: &Person, with: &Person) -> String {
    let new = CreateConversationRequest {
        request_id: new_id(),
        member_ids: vec![with.id().to_owned()],
        title: String::new(),
    };
    let response = by.messaging().create_conversation(by.request(new)).await.unwrap();
    response.into_inner().conversation.unwrap().conversation_id
}

async fn subscribe(person: &Person) -> Streaming<SubscribeResponse> {
    let opened = person.messaging().subscribe(person.request(SubscribeRequest::default())).await.unwrap();
    let mut stream = opened.into_inner();
    while !matches!(next(&mut stream).await, Event::CaughtUp(_)) {}
    stream
}

async fn next(stream: &mut Streaming<SubscribeResponse>) -> Event {
    let response = timeout(ARRIVES, stream.message()).await.expect("an event in time");
    response.unwrap().expect("the stream continues").event.unwrap()
}

/// Reads entries from `seq` on, which must have no gap, up to `last` once that is known. Returns the next `seq`.
async fn follow(mut stream: Streaming<SubscribeResponse>, mut seq: i64, last: Arc<AtomicUsize>) -> i64 {
    let mut since = Instant::now();
    loop {
        if i64::try_from(last.load(Ordering::SeqCst)).is_ok_and(|last| last > 0 && seq > last) {
            return seq;
        }
        match timeout(Duration::from_millis(100), stream.message()).await {
            Ok(response) => {
                if let Event::Entry(new) = response.unwrap().expect("the stream continues").event.unwrap() {
                    assert_eq!(new.entry.unwrap().seq, seq, "a gap or a duplicate");
                    (seq, since) = (seq + 1, Instant::now());
                }
            }
            // The sender is still sending: so long a pause means that the delivery failed.
            Err(_) => assert!(since.elapsed() < ARRIVES, "no entry for {:?} after {seq}", since.elapsed()),
        }
    }
}

/// Sends through both replicas in turn until `on` is false. Returns the last acknowledged `seq`.
fn send(sides: [Person; 2], conversation: String, on: Arc<AtomicBool>) -> JoinHandle<i64> {
    tokio::spawn(async move {
        let mut last = 0;
        for (number, person) in sides.iter().cycle().enumerate() {
            if !on.load(Ordering::SeqCst) {
                break;
            }
            let message = SendMessageRequest {
                conversation_id: conversation.clone(),
                client_message_id: new_id(),
                text: format!("number {number}"),
            };
            let response = person.messaging().send_message(person.request(message)).await.unwrap();
            last = response.into_inner().entry.unwrap().seq;
            tokio::time::sleep(PACE).await;
        }
        last
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_reach_the_other_replica_with_and_without_redis() {
    let mut redis = Redis::start(&[]);
    let replicas = Replicas::start(&redis).await;
    let [a, b] = &replicas.sides;
    let (ada, bob) = (a.gateway().sign_up("ada").await, b.gateway().sign_up("bob").await);
    let [bob_a, bob_b] = replicas.both(&bob).await;
    let mut far = subscribe(&bob_b).await;
    let started = Instant::now();
    let conversation = open_conversation(&ada, &bob).await;
    assert!(matches!(next(&mut far).await, Event::Conversation(found) if found.conversation_id == conversation));
    println!("a new conversation reached the other replica in {:?}", started.elapsed());
    for process in replicas.processes() {
        assert!(sample(process, "bus_round_trip_seconds_count").await > 0.0, "it receives its own signals");
        assert!(sample(process, "bus_connected").await > 0.5);
    }

    let near = subscribe(&bob_a).await;
    let (sending, last) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    // The first entry opened the conversation. The earlier stream receives it, the later one starts behind it.
    let followers = [(near, 2), (far, 1)].map(|(stream, first)| tokio::spawn(follow(stream, first, Arc::clone(&last))));
    let sender = send(replicas.both(&ada).await, conversation, Arc::clone(&sending));
    tokio::time::sleep(Duration::from_secs(2)).await;

    redis.kill();
    replicas.until_bus_is(false).await;
    let polls = sample(replicas.sides[1].process("messaging"), "bus_polls_total").await;
    tokio::time::sleep(ARRIVES).await;
    assert!(sample(replicas.sides[1].process("messaging"), "bus_polls_total").await > polls, "it polls without Redis");

    redis.launch();
    replicas.until_bus_is(true).await;
    redis.ask(&["FLUSHALL"]);
    // Too short to be detected, but long enough to delay signals.
    redis.signal("STOP");
    tokio::time::sleep(Duration::from_secs(1)).await;
    redis.signal("CONT");
    tokio::time::sleep(Duration::from_secs(2)).await;
    sending.store(false, Ordering::SeqCst);
    let acknowledged = timeout(NOTICED, sender).await.expect("the sender stops").unwrap();
    last.store(usize::try_from(acknowledged).unwrap(), Ordering::SeqCst);
    for follower in followers {
        let past = timeout(NOTICED, follower).await.expect("the follower receives all").unwrap();
        assert_eq!(past, acknowledged + 1);
    }
    println!("{acknowledged} entries reached both replicas");
    for process in replicas.sides.into_iter().flat_map(|side| side.processes) {
        let mut process = process;
        assert!(is_logged_once_per_change(&process.log()), "{}", process.log());
        assert_eq!(process.terminate().code(), Some(0), "{}", process.log());
    }
}

/// Whether the lines about wake-ups alternate, and begin with working ones. Their number depends on the machine: a busy
/// one may also detect the short pause.
fn is_logged_once_per_change(log: &str) -> bool {
    let about = |line: &str| {
        let works = line.contains("wake-ups travel through Redis");
        (works || line.contains("Redis delivers no wake-ups")).then_some(works)
    };
    let changes: Vec<bool> = log.lines().filter_map(about).collect();
    changes.contains(&false) && changes.windows(2).all(|pair| pair[0] != pair[1])
}

#[tokio::test(flavor = "multi_thread")]
async fn session_ended_on_one_replica_ends_its_streams_on_the_other() {
    let redis = Redis::start(&[]);
    let replicas = Replicas::start(&redis).await;
    let [a, _] = &replicas.sides;
    let ada = a.gateway().sign_up("ada").await;
    let [ada_a, ada_b] = replicas.both(&ada).await;
    let again = SignInRequest {
        email: "ada@example.org".to_owned(),
        password: PASSWORD.to_owned(),
        ..SignInRequest::default()
    };
    let signed_in = ada_b.auth().sign_in(again).await.unwrap().into_inner();
    let elsewhere = ada_b.signed_in_as(signed_in.tokens.unwrap());
    let (mut ended, mut kept) = (subscribe(&elsewhere).await, subscribe(&ada_b).await);

    let sessions = ada_a.auth().list_sessions(ada_a.request(ListSessionsRequest::default())).await.unwrap();
    let other = sessions.into_inner().sessions.into_iter().find(|session| !session.current).unwrap();
    let revoke = RevokeSessionRequest { session_id: other.session_id };
    ada_a.auth().revoke_session(ada_a.request(revoke)).await.unwrap();

    let end = timeout(ARRIVES, async {
        loop {
            if let Err(end) = ended.message().await {
                return end;
            }
        }
    });
    let end = end.await.expect("the stream ends in time");
    assert_eq!((end.code(), reason(&end).as_str()), (Code::Unauthenticated, "SESSION_REVOKED"), "{end:?}");
    for stranger in replicas.both(&elsewhere).await {
        let request = stranger.request(ListConversationsRequest::default());
        let refused = stranger.messaging().list_conversations(request).await.unwrap_err();
        assert_eq!(reason(&refused), "SESSION_REVOKED", "{refused:?}");
    }

    // The session that ended the other one continues on both sides.
    let bob = a.gateway().sign_up("bob").await;
    let conversation = open_conversation(&bob, &ada).await;
    assert!(matches!(next(&mut kept).await, Event::Conversation(found) if found.conversation_id == conversation));
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_wake_up_is_recovered_at_the_next_heartbeat() {
    let redis = Redis::start(&[]);
    // The first side publishes nothing, as if only it had no Redis, or was killed before it could publish.
    let replicas = Replicas::start_with(&redis, |side, process| {
        process.set("MESSAGING__HEARTBEAT", "1s");
        if side == 0 {
            process.set("REDIS__URL", "");
        }
    })
    .await;
    let [a, b] = &replicas.sides;
    let (ada, bob) = (a.gateway().sign_up("ada").await, b.gateway().sign_up("bob").await);
    let mut far = subscribe(&bob).await;
    let conversation = open_conversation(&ada, &bob).await;
    let found = timeout(ARRIVES, async {
        loop {
            if let Event::Conversation(found) = next(&mut far).await {
                return found.conversation_id;
            }
        }
    });
    assert_eq!(found.await.expect("the heartbeat finds it in time"), conversation);
}

/// A psql session that locks a conversation's row until it is dropped.
struct Holding(std::process::Child);

impl Holding {
    fn row(database: &str, conversation: &str) -> Self {
        let mut child =
            Command::new("psql").args([database, "-qAt"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lock = format!(
            "BEGIN; SELECT 'held' FROM messaging.conversations WHERE conversation_id = '{conversation}' FOR UPDATE;\n"
        );
        child.stdin.as_mut().unwrap().write_all(lock.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "held");
        Self(child)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// How many sessions of the database wait for a lock.
fn waiting_for_locks(database: &str) -> u32 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let output = Command::new("psql").args([database, "-qAtc", count]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// How long a stopped replica may delay the others: `database.idle_transaction_timeout`, on a busy machine.
const FREED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn stopped_replica_delays_others_for_seconds_only() {
    let redis = Redis::start(&[]);
    let replicas = Replicas::start(&redis).await;
    let (ada, bob) =
        (replicas.sides[0].gateway().sign_up("ada").await, replicas.sides[0].gateway().sign_up("bob").await);
    let [ada, elsewhere] = replicas.both(&ada).await;
    let room = open_conversation(&ada, &bob).await;
    let message =
        || SendMessageRequest { conversation_id: room.clone(), client_message_id: new_id(), text: "hello".to_owned() };

    // The replica's transaction waits for the row, the replica stops, and its transaction gets the row.
    let holding = Holding::row(&replicas.database, &room);
    let (mut client, request) = (ada.messaging(), ada.request(message()));
    let stuck = tokio::spawn(async move { client.send_message(request).await });
    while waiting_for_locks(&replicas.database) == 0 {
        assert!(!stuck.is_finished(), "the send waits for the row");
    }
    let stopped = replicas.sides[0].process("messaging");
    stopped.signal("STOP");
    drop(holding);

    let began = Instant::now();
    let sent = async {
        while elsewhere.messaging().send_message(elsewhere.request(message())).await.is_err() {
            let ready = web::get(replicas.sides[1].ports.gateway, "/readyz").await.unwrap();
            assert_eq!(ready.status, 200);
        }
    };
    timeout(FREED, sent).await.expect("the other replica continues");
    assert!(began.elapsed() < FREED);
    stopped.signal("CONT");
    stuck.await.unwrap().ok();
    ada.messaging().send_message(ada.request(message())).await.expect("the resumed replica continues");
}
