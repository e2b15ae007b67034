//! Messaging and the real users service behind it, in this process.

use std::{
    collections::HashSet,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kit::{
    Timestamp, balance,
    bus::{self, Bus, Listener, Signal},
    client::Peer,
    limits::Limits,
    server::{self, Surroundings},
    store::Error,
};
use messaging::{
    Messaging, MessagingStore,
    domain::{
        self, AddRule, Admission, Change, ConversationId, Details, Epoch, Invitation, Member, MembersPage,
        NewConversation, NewMessage, ReadPosition, Recent, UserId as Id,
    },
    store::{
        AppendError, Appended, BlockError, ChangeError, Changed, InsertError, Invitations, Members, Messages, People,
    },
};
use proto::messaging::v1::{
    Conversation, CreateConversationRequest, Entry, SendMessageRequest, SubscribeRequest, SubscribeResponse,
    messaging_service_client::MessagingServiceClient, subscribe_response::Event,
};
use tokio::net::TcpListener;
use tonic::{Status, Streaming, async_trait, transport::Channel};
use users::{
    UserStore, Users,
    domain::{State, User, UserId},
};
use uuid::Uuid;

use crate::{
    databases::Database,
    mesh::{ANYWHERE, Header, Mesh, Running, request},
};

/// How long something may take that takes a moment.
pub(crate) const MOMENT: Duration = Duration::from_secs(10);

pub(crate) struct Bench {
    pub(crate) mesh: Mesh,
    pub(crate) people: Arc<dyn UserStore>,
    store: Arc<dyn MessagingStore>,
    users: Option<Running>,
    users_address: SocketAddr,
    pub(crate) messaging: Running,
    channel: Channel,
    /// How many entries streams have read from the store.
    pub(crate) entries_read: Arc<AtomicUsize>,
    /// How often streams have read marks from the store.
    pub(crate) marks_read: Arc<AtomicUsize>,
    pub(crate) bus: Arc<Lossy>,
    after_page: Arc<Mutex<Option<Interruption>>>,
    _databases: [Database; 2],
}

/// Somebody with a session.
pub(crate) struct Person {
    pub(crate) id: Uuid,
    pub(crate) token: Header,
    pub(crate) client: MessagingServiceClient<Channel>,
}

impl Bench {
    pub(crate) async fn new(change: impl FnOnce(&mut messaging::Config)) -> Self {
        Self::on(Database::sqlite(), change).await
    }

    /// With messaging's store on this database, which may ask four questions at once.
    pub(crate) async fn on(database: Database, change: impl FnOnce(&mut messaging::Config)) -> Self {
        Self::limited(database, Limits::default(), change).await
    }

    pub(crate) async fn limited(
        database: Database,
        limits: Limits,
        change: impl FnOnce(&mut messaging::Config),
    ) -> Self {
        let mesh = Mesh::new();
        let databases = [Database::sqlite(), database];
        let people = users::store::open(&databases[0].location, 4).await.unwrap();
        let users = serve_users(&mesh, &people, ANYWHERE).await;
        // Most tests are about something else than who may add whom.
        let mut config = messaging::Config { who_may_add: AddRule::Everybody, ..messaging::Config::default() };
        change(&mut config);
        let surroundings = mesh.surroundings("messaging", limits);
        let [entries_read, marks_read] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let (after_page, bus) = (Arc::default(), Arc::<Lossy>::default());
        let store = messaging::store::open(&databases[1].location, 4, config.quotas()).await.unwrap();
        let messaging = Messaging {
            config,
            store: Arc::new(Counting {
                store: Arc::clone(&store),
                entries_read: Arc::clone(&entries_read),
                marks_read: Arc::clone(&marks_read),
                after_page: Arc::clone(&after_page),
            }),
            bus: Arc::<Lossy>::clone(&bus),
            users: Peer::new(
                "users",
                &[users.url()],
                &balance::Config::default(),
                Arc::clone(&surroundings.identity),
                Arc::clone(&surroundings.policies),
            )
            .unwrap(),
            ambient: mesh.ambient.clone(),
        };
        let messaging = serve_messaging(surroundings, messaging).await;
        let channel = messaging.connect().await;
        let users_address = users.address;
        let users = Some(users);
        Self {
            mesh,
            people,
            store,
            users,
            users_address,
            messaging,
            channel,
            entries_read,
            marks_read,
            bus,
            after_page,
            _databases: databases,
        }
    }

    /// The store behind the service.
    pub(crate) fn store(&self) -> Arc<dyn MessagingStore> {
        Arc::clone(&self.store)
    }

    /// Does `then` to the store once, after the next statement that reads messages for a page.
    pub(crate) fn after_page<F>(&self, then: impl FnOnce(Arc<dyn MessagingStore>) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        *self.after_page.lock().unwrap() = Some(Box::new(|store| Box::pin(then(store))));
    }

    /// A new, active user who is signed in.
    pub(crate) async fn person(&self) -> Person {
        let id = self.user(State::Active).await;
        self.signed_in(id, Duration::from_secs(600))
    }

    /// A session of a user, with a token of this lifetime.
    pub(crate) fn signed_in(&self, id: Uuid, lifetime: Duration) -> Person {
        let session = self.mesh.ambient.new_id();
        let token = self.mesh.access_token(id, session, lifetime);
        Person { id, token, client: self.client() }
    }

    pub(crate) fn client(&self) -> MessagingServiceClient<Channel> {
        MessagingServiceClient::new(self.channel.clone())
    }

    /// A profile in this state.
    pub(crate) async fn user(&self, state: State) -> Uuid {
        let id = self.mesh.ambient.new_id();
        let user = User {
            id: UserId(id),
            handle: format!("u{}", &id.simple().to_string()[4..]),
            display_name: "Somebody".to_owned(),
            state,
            create_time: self.mesh.ambient.now(),
            revision: users::domain::Revision::FIRST,
        };
        self.people.insert(&user, 0).await.unwrap();
        id
    }

    pub(crate) async fn stop_users(&mut self) {
        self.users.take().expect("users runs").stop().await;
    }

    /// A program that accepts connections and says nothing takes the place of users.
    pub(crate) async fn silence_users(&mut self) -> TcpListener {
        self.stop_users().await;
        TcpListener::bind(self.users_address).await.unwrap()
    }

    pub(crate) async fn restart_users(&mut self) {
        self.users = Some(serve_users(&self.mesh, &self.people, self.users_address).await);
    }
}

/// What a test does to the store at some moment.
type Interruption = Box<dyn FnOnce(Arc<dyn MessagingStore>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// A store that counts what streams read, and does something after the first part of a page was read.
struct Counting {
    store: Arc<dyn MessagingStore>,
    entries_read: Arc<AtomicUsize>,
    marks_read: Arc<AtomicUsize>,
    after_page: Arc<Mutex<Option<Interruption>>>,
}

/// A bus that loses the signals of some subjects.
#[derive(Default)]
pub(crate) struct Lossy {
    bus: bus::Local,
    lost: Mutex<HashSet<Uuid>>,
    published: AtomicUsize,
}

impl Lossy {
    pub(crate) fn lose(&self, subject: Uuid) {
        self.lost.lock().unwrap().insert(subject);
    }

    /// How many signals were published.
    pub(crate) fn published(&self) -> usize {
        self.published.load(Ordering::SeqCst)
    }
}

impl Bus for Lossy {
    fn publish(&self, channel: &'static str, signal: Signal) {
        self.published.fetch_add(1, Ordering::SeqCst);
        if !self.lost.lock().unwrap().contains(&signal.subject) {
            self.bus.publish(channel, signal);
        }
    }

    fn listen(&self, channel: &'static str) -> Listener {
        self.bus.listen(channel)
    }

    fn is_connected(&self) -> bool {
        true
    }
}

#[async_trait]
impl MessagingStore for Counting {
    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    fn readers(&self) -> u32 {
        self.store.readers()
    }

    async fn find_by_request(&self, creator: Id, request_id: Uuid) -> Result<Option<ConversationId>, Error> {
        self.store.find_by_request(creator, request_id).await
    }

    async fn insert(&self, new: &NewConversation, admission: &Admission) -> Result<domain::Conversation, InsertError> {
        self.store.insert(new, admission).await
    }

    async fn find(&self, id: ConversationId, member: Id) -> Result<Option<domain::Conversation>, Error> {
        self.store.find(id, member).await
    }

    async fn find_all(&self, ids: &[ConversationId], member: Id) -> Result<Vec<domain::Conversation>, Error> {
        self.store.find_all(ids, member).await
    }

    async fn append(&self, new: &NewMessage) -> Result<Appended, AppendError> {
        self.store.append(new).await
    }

    async fn list_messages(
        &self,
        id: ConversationId,
        member: Id,
        before: i64,
        limit: usize,
    ) -> Result<Vec<domain::Entry>, Error> {
        let entries = self.store.list_messages(id, member, before, limit).await?;
        let then = self.after_page.lock().unwrap().take();
        if let Some(then) = then {
            then(Arc::clone(&self.store)).await;
        }
        Ok(entries)
    }

    async fn head(&self, id: ConversationId, member: Id) -> Result<Option<i64>, Error> {
        self.store.head(id, member).await
    }

    async fn list(&self, member: Id, page: Recent) -> Result<Vec<domain::Conversation>, Error> {
        self.store.list(member, page).await
    }

    async fn update(&self, change: Change, details: &Details) -> Result<Changed, ChangeError> {
        self.store.update(change, details).await
    }

    async fn list_entries(
        &self,
        id: ConversationId,
        member: Id,
        after: i64,
        limit: usize,
    ) -> Result<Vec<domain::Entry>, Error> {
        let entries = self.store.list_entries(id, member, after, limit).await?;
        self.entries_read.fetch_add(entries.len(), Ordering::SeqCst);
        Ok(entries)
    }

    async fn heads(&self, member: Id) -> Result<Vec<(ConversationId, i64)>, Error> {
        self.store.heads(member).await
    }

    async fn answers(&self) -> bool {
        self.store.answers().await
    }
}

#[async_trait]
impl Members for Counting {
    async fn add(&self, change: Change, person: Id, admission: &Admission) -> Result<Changed, ChangeError> {
        self.store.add(change, person, admission).await
    }

    async fn remove(&self, change: Change, person: Id) -> Result<Changed, ChangeError> {
        self.store.remove(change, person).await
    }

    async fn bar(&self, person: Id) -> Result<(), Error> {
        self.store.bar(person).await
    }

    async fn mark_read(
        &self,
        id: ConversationId,
        member: Id,
        number: i64,
    ) -> Result<Option<(ReadPosition, bool)>, Error> {
        self.store.mark_read(id, member, number).await
    }

    async fn list_members(&self, id: ConversationId, member: Id, page: MembersPage) -> Result<Vec<Member>, Error> {
        self.store.list_members(id, member, page).await
    }

    async fn read_marks(&self, id: ConversationId, member: Id) -> Result<Vec<(Id, i64)>, Error> {
        self.marks_read.fetch_add(1, Ordering::SeqCst);
        self.store.read_marks(id, member).await
    }

    async fn contacts(&self, member: Id, limit: u32) -> Result<Vec<Id>, Error> {
        self.store.contacts(member, limit).await
    }
}

#[async_trait]
impl Invitations for Counting {
    async fn list_invitations(&self, user: Id, page: Recent, now: Timestamp) -> Result<Vec<Invitation>, Error> {
        self.store.list_invitations(user, page, now).await
    }

    async fn invited(&self, id: ConversationId, inviter: Id, now: Timestamp) -> Result<Vec<Id>, Error> {
        self.store.invited(id, inviter, now).await
    }

    async fn accept(&self, change: Change, admission: &Admission) -> Result<Changed, ChangeError> {
        self.store.accept(change, admission).await
    }

    async fn decline(&self, change: Change) -> Result<(), Error> {
        self.store.decline(change).await
    }

    async fn is_request(&self, id: ConversationId, user: Id) -> Result<bool, Error> {
        self.store.is_request(id, user).await
    }

    async fn pending_from(&self, user: Id, other: Id) -> Result<Vec<ConversationId>, Error> {
        self.store.pending_from(user, other).await
    }

    async fn forget_user(&self, user: Id) -> Result<(), Error> {
        self.store.forget_user(user).await
    }
}

#[async_trait]
impl People for Counting {
    async fn find_rule(&self, user: Id) -> Result<Option<AddRule>, Error> {
        self.store.find_rule(user).await
    }

    async fn set_rule(&self, user: Id, rule: Option<AddRule>) -> Result<(), Error> {
        self.store.set_rule(user, rule).await
    }

    async fn block(&self, user: Id, other: Id, now: Timestamp, limit: u32) -> Result<(), BlockError> {
        self.store.block(user, other, now, limit).await
    }

    async fn unblock(&self, user: Id, other: Id) -> Result<(), Error> {
        self.store.unblock(user, other).await
    }

    async fn list_blocked(&self, user: Id, after: Id, limit: usize) -> Result<Vec<Id>, Error> {
        self.store.list_blocked(user, after, limit).await
    }
}

#[async_trait]
impl Messages for Counting {
    async fn find_message(
        &self,
        id: ConversationId,
        member: Id,
        message: Uuid,
    ) -> Result<Option<domain::Entry>, Error> {
        self.store.find_message(id, member, message).await
    }

    async fn edit(&self, change: Change, message: Uuid, text: &str) -> Result<Changed, ChangeError> {
        self.store.edit(change, message, text).await
    }

    async fn erase(&self, change: Change, message: Uuid) -> Result<Changed, ChangeError> {
        self.store.erase(change, message).await
    }
}

async fn serve_users(mesh: &Mesh, store: &Arc<dyn UserStore>, address: SocketAddr) -> Running {
    let surroundings = mesh.surroundings("users", Limits::default());
    let users = Users {
        config: users::Config::default(),
        store: Arc::clone(store),
        // Asked for the directory only, which no test here reads.
        messaging: Peer::new(
            "messaging",
            &["http://127.0.0.1:1".to_owned()],
            &balance::Config::default(),
            Arc::clone(&surroundings.identity),
            Arc::clone(&surroundings.policies),
        )
        .unwrap(),
        ambient: mesh.ambient.clone(),
    };
    Running::on(address, |listener, shutdown| {
        let readiness = server::readiness(&surroundings, users.needs(), &shutdown);
        users.serve(surroundings, readiness, listener, shutdown)
    })
    .await
}

async fn serve_messaging(surroundings: Surroundings, messaging: Messaging) -> Running {
    Running::on(ANYWHERE, |listener, shutdown| {
        let readiness = server::readiness(&surroundings, messaging.needs(), &shutdown);
        messaging.serve(surroundings, readiness, listener, shutdown)
    })
    .await
}

impl Person {
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        request(message, std::slice::from_ref(&self.token))
    }

    pub(crate) fn opening(&self, ambient: &kit::Ambient, others: &[Uuid]) -> CreateConversationRequest {
        CreateConversationRequest {
            request_id: ambient.new_id().to_string(),
            member_ids: others.iter().map(Uuid::to_string).collect(),
            title: "Tea".to_owned(),
        }
    }

    pub(crate) async fn create(&self, message: CreateConversationRequest) -> Result<Conversation, Status> {
        let answer = self.client.clone().create_conversation(self.request(message)).await?;
        Ok(answer.into_inner().conversation.unwrap())
    }

    pub(crate) async fn send(&self, message: SendMessageRequest) -> Result<Entry, Status> {
        Ok(self.client.clone().send_message(self.request(message)).await?.into_inner().entry.unwrap())
    }

    pub(crate) async fn say(&self, ambient: &kit::Ambient, room: &str, text: &str) -> Entry {
        let message = SendMessageRequest {
            conversation_id: room.to_owned(),
            client_message_id: ambient.new_id().to_string(),
            text: text.to_owned(),
        };
        self.send(message).await.unwrap()
    }

    pub(crate) async fn subscribe(&self, message: SubscribeRequest) -> Result<Streaming<SubscribeResponse>, Status> {
        Ok(self.client.clone().subscribe(self.request(message)).await?.into_inner())
    }
}

/// The next event, soon.
pub(crate) async fn next(stream: &mut Streaming<SubscribeResponse>) -> Event {
    let next = tokio::time::timeout(MOMENT, stream.message()).await.expect("an event comes soon");
    next.unwrap().expect("the stream goes on").event.unwrap()
}

/// Reads up to the end of what was there.
pub(crate) async fn catch_up(stream: &mut Streaming<SubscribeResponse>) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match next(stream).await {
            Event::CaughtUp(_) => return events,
            event => events.push(event),
        }
    }
}
