//! Two replicas of every service and of the gateway, on one PostgreSQL and one Redis. Any client may sit on any
//! replica; what Redis loses is time, never a message.

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

/// How often replicas look into the database without Redis.
const POLL_MS: u64 = 500;
/// Ten times that. With Redis it takes some milliseconds.
const ARRIVES: Duration = Duration::from_millis(10 * POLL_MS);
/// A process that starts, or three checks a second apart that notice, on a busy machine.
const NOTICED: Duration = Duration::from_secs(60);
/// Between two messages of the sender that never stops.
const PACE: Duration = Duration::from_millis(20);

/// The processes of the mesh, twice.
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
        self.processes.last().unwrap()
    }

    async fn channel(&self) -> Channel {
        self.gateway().channel(self.ports.gateway).await
    }
}

impl Replicas {
    async fn start(redis: &Redis) -> Self {
        Self::start_with(redis, |_, _| {}).await
    }

    /// As [`Replicas::start`]; `adjust` has the last word on the settings of each side's processes.
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

    /// Waits until every process shows that signals come through, or do not. Ready it is in either case.
    pub(crate) async fn until_bus_is(&self, wanted: bool) {
        for process in self.processes() {
            let waiting = async {
                while shown_bus(process).await != wanted {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            timeout(NOTICED, waiting).await.unwrap_or_else(|_| panic!("the bus never became {wanted}"));
        }
    }

    /// The person on each side.
    pub(crate) async fn both(&self, person: &Person) -> [Person; 2] {
        let [a, b] = &self.sides;
        [person.through(a.channel().await), person.through(b.channel().await)]
    }
}

/// What the admin listener of a process shows of the bus.
async fn shown_bus(process: &Mesh) -> bool {
    let answer = web::get(process.ports.admin, "/readyz").await.unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let parts = shown.as_object().unwrap();
    assert_eq!((answer.status, parts.len()), (200, 1), "without Redis a process is as ready as with it: {shown}");
    parts.values().all(|needs| needs["bus"].as_bool().unwrap())
}

/// A sample of a process.
pub(crate) async fn sample(process: &Mesh, name: &str) -> f64 {
    let answer = web::get(process.ports.admin, "/metrics").await.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
}

async fn open_conversation(by: &Person, with: &Person) -> String {
    let new = CreateConversationRequest {
        request_id: new_id(),
        member_ids: vec![with.id().to_owned()],
        title: String::new(),
    };
    let answer = by.messaging().create_conversation(by.request(new)).await.unwrap();
    answer.into_inner().conversation.unwrap().conversation_id
}

async fn subscribe(person: &Person) -> Streaming<SubscribeResponse> {
    let opened = person.messaging().subscribe(person.request(SubscribeRequest::default())).await.unwrap();
    let mut stream = opened.into_inner();
    while !matches!(next(&mut stream).await, Event::CaughtUp(_)) {}
    stream
}

async fn next(stream: &mut Streaming<SubscribeResponse>) -> Event {
    let response = timeout(ARRIVES, stream.message()).await.expect("the stream says something in time");
    response.unwrap().expect("the stream goes on").event.unwrap()
}

/// Reads the stream to its end: entries without a gap from `seq` on. The end is where `last` says, once it says.
async fn follow(mut stream: Streaming<SubscribeResponse>, mut seq: i64, last: Arc<AtomicUsize>) -> i64 {
    let mut since = Instant::now();
    loop {
        if i64::try_from(last.load(Ordering::SeqCst)).is_ok_and(|last| last > 0 && seq > last) {
            return seq;
        }
        match timeout(Duration::from_millis(100), stream.message()).await {
            Ok(response) => {
                if let Event::Entry(new) = response.unwrap().expect("the stream goes on").event.unwrap() {
                    assert_eq!(new.entry.unwrap().seq, seq, "a gap, or a double");
                    (seq, since) = (seq + 1, Instant::now());
                }
            }
            // The sender never stops: nothing for so long is a delivery that failed.
            Err(_) => assert!(since.elapsed() < ARRIVES, "nothing came for {:?} after {seq}", since.elapsed()),
        }
    }
}

/// Sends through one replica and the other in turn, until told to stop. The last `seq` that was acknowledged.
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
            let answer = person.messaging().send_message(person.request(message)).await.unwrap();
            last = answer.into_inner().entry.unwrap().seq;
            tokio::time::sleep(PACE).await;
        }
        last
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_one_replica_arrives_at_the_other_with_redis_and_without() {
    let mut redis = Redis::start(&[]);
    let replicas = Replicas::start(&redis).await;
    let [a, b] = &replicas.sides;
    let (ada, bob) = (a.gateway().sign_up("ada").await, b.gateway().sign_up("bob").await);
    let [bob_a, bob_b] = replicas.both(&bob).await;
    let mut far = subscribe(&bob_b).await;
    let started = Instant::now();
    let conversation = open_conversation(&ada, &bob).await;
    assert!(matches!(next(&mut far).await, Event::Conversation(found) if found.conversation_id == conversation));
    println!("a new conversation came to the other replica in {:?}", started.elapsed());
    for process in replicas.processes() {
        assert!(sample(process, "bus_round_trip_seconds_count").await > 0.0, "it hears its canary");
        assert!(sample(process, "bus_connected").await > 0.5);
    }

    let near = subscribe(&bob_a).await;
    let (sending, last) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
    // The entry that opened the conversation is the first; to who was there before, it came already or comes now.
    let followers = [(near, 2), (far, 1)].map(|(stream, first)| tokio::spawn(follow(stream, first, Arc::clone(&last))));
    let sender = send(replicas.both(&ada).await, conversation, Arc::clone(&sending));
    tokio::time::sleep(Duration::from_secs(2)).await;

    redis.kill();
    replicas.until_bus_is(false).await;
    let polls = sample(&replicas.sides[1].processes[2], "bus_polls_total").await;
    tokio::time::sleep(ARRIVES).await;
    assert!(sample(&replicas.sides[1].processes[2], "bus_polls_total").await > polls, "it goes on by polling");

    redis.launch();
    replicas.until_bus_is(true).await;
    redis.ask(&["FLUSHALL"]);
    // Too short to be noticed, but long enough to hold signals up.
    redis.signal("STOP");
    tokio::time::sleep(Duration::from_secs(1)).await;
    redis.signal("CONT");
    tokio::time::sleep(Duration::from_secs(2)).await;
    sending.store(false, Ordering::SeqCst);
    let acknowledged = timeout(NOTICED, sender).await.expect("the sender stops").unwrap();
    last.store(usize::try_from(acknowledged).unwrap(), Ordering::SeqCst);
    for follower in followers {
        let past = timeout(NOTICED, follower).await.expect("the follower has all").unwrap();
        assert_eq!(past, acknowledged + 1);
    }
    println!("{acknowledged} entries came to both replicas");
    for process in replicas.sides.into_iter().flat_map(|side| side.processes) {
        let mut process = process;
        assert!(is_said_once_a_change(&process.log()), "{}", process.log());
        assert_eq!(process.terminate().code(), Some(0), "{}", process.log());
    }
}

/// Whether the lines about wake-ups alternate, and begin with working ones. How many there are is the machine's: a busy
/// one notices the short pause too.
fn is_said_once_a_change(log: &str) -> bool {
    let about = |line: &str| {
        let works = line.contains("wake-ups travel through Redis");
        (works || line.contains("Redis delivers no wake-ups")).then_some(works)
    };
    let changes: Vec<bool> = log.lines().filter_map(about).collect();
    changes.contains(&false) && changes.windows(2).all(|pair| pair[0] != pair[1])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ended_on_one_replica_ends_its_streams_on_the_other() {
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

    // The session that did it goes on, on either side.
    let bob = a.gateway().sign_up("bob").await;
    let conversation = open_conversation(&bob, &ada).await;
    assert!(matches!(next(&mut kept).await, Event::Conversation(found) if found.conversation_id == conversation));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_was_told_is_found_with_the_next_heartbeat() {
    let redis = Redis::start(&[]);
    // The first side tells the second nothing: as if it were cut off alone, or killed before it could.
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
    assert_eq!(found.await.expect("it is found in time"), conversation);
}

/// A session of PostgreSQL's own client that holds a conversation's row until it is dropped.
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

/// How long a replica that has stopped may hold up the others: `database.idle_transaction_timeout`, on a busy machine.
const FREED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn stopped_replica_holds_up_others_for_seconds() {
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
    let stopped = &replicas.sides[0].processes[2];
    stopped.signal("STOP");
    drop(holding);

    let began = Instant::now();
    let sent = async {
        while elsewhere.messaging().send_message(elsewhere.request(message())).await.is_err() {
            let ready = web::get(replicas.sides[1].ports.gateway, "/readyz").await.unwrap();
            assert_eq!(ready.status, 200);
        }
    };
    timeout(FREED, sent).await.expect("the other replica goes on");
    assert!(began.elapsed() < FREED);
    stopped.signal("CONT");
    stuck.await.unwrap().ok();
    ada.messaging().send_message(ada.request(message())).await.expect("the replica goes on too");
}
