//! Constant load on a cluster: clients that call continuously, and listeners that expect every entry. Every failure
//! counts, except a stream that ends because its server stops, which the contract announces.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use prost::Message;
use proto::{
    auth::v1::{GetJwksRequest, ListSessionsRequest, SignInRequest},
    messaging::v1::{
        CreateConversationRequest, ListMessagesRequest, Position, SendMessageRequest, SendMessageResponse,
        SubscribeRequest, SubscribeResponse, subscribe_response::Event,
    },
    users::v1::GetUserRequest,
};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use super::{
    client::{Client, Failure, Frames},
    cluster::Cluster,
    harness::{PASSWORD, Person, new_id, reason},
    web::{BINARY, Http},
};

const GRPC: &str = "application/grpc";
/// The pause between two calls of a client.
const CALL_INTERVAL: Duration = Duration::from_millis(100);
const MESSAGE_INTERVAL: Duration = Duration::from_millis(2_500);
/// Streams that share a connection, at most.
const STREAMS_PER_CONNECTION: usize = 100;
/// How long streams are opened. An idle machine opens about 1 000 in this time, a busy one as many as it can serve: when a
/// process stops, all of its streams open again, and meanwhile calls must end before their deadlines of 5 s.
const OPENING: Duration = Duration::from_secs(4);
/// The least streams, however busy the machine is.
const LEAST_STREAMS: usize = 40;

/// The amount of load.
pub(crate) struct Size {
    /// The number of users, who form pairs.
    pub(crate) people: u8,
    /// At most: see [`Load::streams`].
    pub(crate) streams: usize,
    pub(crate) callers: usize,
}

/// The results.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) calls: AtomicUsize,
    /// Streams that a stopping server ended and that the client resumed.
    pub(crate) resumed: AtomicUsize,
    /// Streams that have caught up for the first time.
    pub(crate) live: AtomicUsize,
    pub(crate) failures: Mutex<Vec<String>>,
}

impl Tally {
    fn fail(&self, what: &str, why: impl std::fmt::Display) {
        self.failures.lock().unwrap().push(format!("{what}: {why}"));
    }
}

/// Load that runs until [`Load::end`].
pub(crate) struct Load {
    pub(crate) tally: Arc<Tally>,
    /// How many streams were opened.
    pub(crate) streams: usize,
    on: Arc<AtomicBool>,
    callers: JoinSet<()>,
    /// The senders; each returns the last `seq` of its conversation.
    talkers: Vec<(JoinHandle<i64>, watch::Sender<Option<i64>>)>,
    listeners: JoinSet<()>,
}

/// Two users and their conversation.
#[derive(Clone)]
struct Pair {
    people: [Person; 2],
    conversation: String,
}

impl Load {
    /// Signs users up and starts the load; returns when every stream is live.
    pub(crate) async fn start(cluster: &Cluster, size: &Size) -> Self {
        let tally = Arc::<Tally>::default();
        let on = Arc::new(AtomicBool::new(true));
        let mut pairs = Vec::new();
        for number in 0..size.people / 2 {
            let people = [cluster.sign_up(2 * number).await, cluster.sign_up(2 * number + 1).await];
            let conversation = open(&people).await;
            pairs.push(Pair { people, conversation });
        }
        let (callers, talkers, listeners) = (JoinSet::new(), Vec::new(), JoinSet::new());
        let mut load = Self { tally, streams: 0, on, callers, talkers, listeners };
        load.listen(cluster.port(), &pairs, size.streams).await;
        for (number, pair) in pairs.iter().enumerate() {
            let client = client(cluster.port(), number);
            let talking = talk(client, pair.clone(), Arc::clone(&load.on), Arc::clone(&load.tally));
            load.talkers[number].0 = tokio::spawn(talking);
        }
        for number in 0..size.callers {
            let (client, pair) = (client(cluster.port(), number), pairs[number % pairs.len()].clone());
            load.callers.spawn(call(client, number, pair, Arc::clone(&load.on), Arc::clone(&load.tally)));
        }
        load
    }

    /// Opens the streams, evenly over the pairs and their two users.
    async fn listen(&mut self, port: u16, pairs: &[Pair], streams: usize) {
        let (mut clients, began) = (Vec::new(), Instant::now());
        let lasts: Vec<_> = pairs.iter().map(|_| watch::channel(None)).collect();
        for number in 0..streams {
            if number % STREAMS_PER_CONNECTION == 0 {
                clients.push(Arc::new(Client::new(port, Http::Two)));
            }
            let at = number % pairs.len();
            let person = pairs[at].people[number / pairs.len() % 2].clone();
            let listener = Listener {
                client: Arc::clone(&clients[number / STREAMS_PER_CONNECTION]),
                bearer: bearer(&person),
                conversation: pairs[at].conversation.clone(),
                cursor: None,
                // The entry that opened the conversation is the first.
                next: 2,
                tally: Arc::clone(&self.tally),
            };
            self.listeners.spawn(listener.run(lasts[at].1.clone()));
            // At most 50 streams open at once: the opening rate is not under test.
            while self.tally.live.load(Ordering::SeqCst) + 50 < number {
                sleep(Duration::from_millis(5)).await;
            }
            self.streams = number + 1;
            if self.streams >= LEAST_STREAMS && began.elapsed() > OPENING {
                break;
            }
        }
        while self.tally.live.load(Ordering::SeqCst) < self.streams {
            assert!(self.tally.failures.lock().unwrap().is_empty(), "{:?}", self.tally.failures.lock().unwrap());
            sleep(Duration::from_millis(10)).await;
        }
        let silent = |(last, _)| (tokio::spawn(async { 1 }), last);
        self.talkers = lasts.into_iter().map(silent).collect();
    }

    /// Ends the load when every listener has every entry. Returns the results.
    pub(crate) async fn end(mut self) -> Arc<Tally> {
        self.on.store(false, Ordering::SeqCst);
        while self.callers.join_next().await.is_some() {}
        for (talker, last) in self.talkers {
            let seq = talker.await.unwrap();
            last.send_replace(Some(seq));
        }
        let all = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(60), all).await.is_err() {
            self.tally.fail("listeners", "some did not receive every entry");
        }
        self.tally
    }
}

/// Every third client uses HTTP/1.1, as browsers without TLS do.
fn client(port: u16, number: usize) -> Client {
    Client::new(port, if number.is_multiple_of(3) { Http::One } else { Http::Two })
}

/// gRPC needs HTTP/2.
fn content_type(number: usize) -> &'static str {
    if number % 3 == 1 { GRPC } else { BINARY }
}

fn bearer(person: &Person) -> String {
    format!("Bearer {}", person.tokens.access_token)
}

async fn open(people: &[Person; 2]) -> String {
    let [a, b] = people;
    let new =
        CreateConversationRequest { request_id: new_id(), member_ids: vec![b.id().to_owned()], title: String::new() };
    let response = a.messaging().create_conversation(a.request(new)).await.unwrap();
    response.into_inner().conversation.unwrap().conversation_id
}

/// Sends a message every `MESSAGE_INTERVAL`, from the two users in turn. Returns the last `seq`.
async fn talk(client: Client, pair: Pair, on: Arc<AtomicBool>, tally: Arc<Tally>) -> i64 {
    let mut last = 1;
    for person in pair.people.iter().cycle() {
        if !on.load(Ordering::SeqCst) {
            break;
        }
        let message = SendMessageRequest {
            conversation_id: pair.conversation.clone(),
            client_message_id: new_id(),
            text: format!("after {last}"),
        };
        let path = "/trellis.messaging.v1.MessagingService/SendMessage";
        tally.calls.fetch_add(1, Ordering::Relaxed);
        match client.call(path, BINARY, &[("authorization", &bearer(person))], &message).await {
            Ok(response) => last = SendMessageResponse::decode(response[0].clone()).unwrap().entry.unwrap().seq,
            Err(why) => tally.fail(path, why),
        }
        sleep(MESSAGE_INTERVAL).await;
    }
    last
}

/// Calls every service repeatedly.
async fn call(client: Client, number: usize, pair: Pair, on: Arc<AtomicBool>, tally: Arc<Tally>) {
    let [person, other] = &pair.people;
    let content_type = content_type(number);
    let bearer = bearer(person);
    // Sign-ins are limited by address.
    let address = format!("10.0.1.{number}");
    let headers = [("authorization", bearer.as_str()), ("x-forwarded-for", &address)];
    for round in 0_usize.. {
        if !on.load(Ordering::SeqCst) {
            return;
        }
        let (path, response) = match round % 32 {
            31 => {
                let email = format!("person_{}@example.org", 2 * number % 20);
                let request = SignInRequest { email, password: PASSWORD.to_owned(), ..SignInRequest::default() };
                let path = "/trellis.auth.v1.AuthService/SignIn";
                (path, client.call(path, content_type, &headers[1..], &request).await)
            }
            n if n % 8 == 7 => {
                let path = "/trellis.auth.v1.AuthService/ListSessions";
                (path, client.call(path, content_type, &headers, &ListSessionsRequest::default()).await)
            }
            n if n % 4 == 0 => {
                let path = "/trellis.auth.v1.AuthService/GetJwks";
                (path, client.call(path, content_type, &headers, &GetJwksRequest {}).await)
            }
            n if n % 4 == 1 => {
                let request = ListMessagesRequest {
                    conversation_id: pair.conversation.clone(),
                    ..ListMessagesRequest::default()
                };
                let path = "/trellis.messaging.v1.MessagingService/ListMessages";
                (path, client.call(path, content_type, &headers, &request).await)
            }
            _ => {
                let request = GetUserRequest { user_id: other.id().to_owned() };
                let path = "/trellis.users.v1.UsersService/GetUser";
                (path, client.call(path, content_type, &headers, &request).await)
            }
        };
        tally.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(why) = response {
            tally.fail(path, why);
        }
        sleep(CALL_INTERVAL).await;
    }
}

/// Follows one conversation.
struct Listener {
    client: Arc<Client>,
    bearer: String,
    conversation: String,
    cursor: Option<String>,
    /// The next expected `seq`.
    next: i64,
    tally: Arc<Tally>,
}

impl Listener {
    /// Follows the conversation up to its last entry, once that is known.
    async fn run(mut self, mut last: watch::Receiver<Option<i64>>) {
        loop {
            match self.stream(&mut last).await {
                Ok(()) => return,
                Err(Failure::Refused(status)) if reason(&status) == "SERVER_STOPPING" => {
                    self.tally.resumed.fetch_add(1, Ordering::Relaxed);
                }
                Err(why) => return self.tally.fail("Subscribe", why),
            }
        }
    }

    /// Follows one stream.
    async fn stream(&mut self, last: &mut watch::Receiver<Option<i64>>) -> Result<(), Failure> {
        let position =
            |cursor: &String| Position { conversation_id: self.conversation.clone(), cursor: cursor.clone() };
        let request = SubscribeRequest { positions: self.cursor.iter().map(position).collect(), ..Default::default() };
        let path = "/trellis.messaging.v1.MessagingService/Subscribe";
        let headers = [("authorization", self.bearer.as_str())];
        let mut frames = Frames::of(self.client.begin(path, BINARY, &headers, &request).await?);
        let mut is_live = self.cursor.is_some();
        loop {
            let has_all = last.wait_for(|last| last.is_some_and(|last| last < self.next));
            let message = tokio::select! {
                message = frames.next() => message?,
                _ = has_all => return Ok(()),
            };
            let Some(message) = message else {
                return Err(Failure::Broken("the stream ended with status 0".to_owned()));
            };
            match SubscribeResponse::decode(message).unwrap().event.unwrap() {
                Event::CaughtUp(_) if !std::mem::replace(&mut is_live, true) => {
                    self.tally.live.fetch_add(1, Ordering::SeqCst);
                }
                Event::Conversation(known) if self.cursor.is_none() => self.cursor = Some(known.cursor),
                Event::Entry(new) => {
                    let seq = new.entry.unwrap().seq;
                    if seq != self.next {
                        return Err(Failure::Broken(format!("a gap or a duplicate: {seq} and not {}", self.next)));
                    }
                    (self.next, self.cursor) = (seq + 1, Some(new.cursor));
                }
                Event::CaughtUp(_) | Event::ReadMarks(_) => {}
                other => return Err(Failure::Broken(format!("not expected: {other:?}"))),
            }
        }
    }
}
