//! Messaging and a real users service, in this process.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicUsize},
    time::Duration,
};

use kit::{
    balance,
    client::Peer,
    limits::Limits,
    server::{self, ServiceContext},
};
use kit_data::audit::AuditConfig;
use messaging::{Messaging, MessagingStore, domain::AddRule};
use proto::messaging::v1::{
    Conversation, CreateConversationRequest, Entry, SendMessageRequest, SubscribeRequest, SubscribeResponse,
    messaging_service_client::MessagingServiceClient, subscribe_response::Event,
};
use tokio::net::TcpListener;
use tonic::{Status, Streaming, transport::Channel};
use users::{
    UserStore, Users,
    domain::{State, User, UserId},
};
use uuid::Uuid;

use crate::{
    databases::Database,
    doubles::{Counting, Failures, Interruption, Lossy},
    mesh::{ANYWHERE, Header, Mesh, Running, request},
};

/// The timeout for things that normally take milliseconds.
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
    /// Makes reads of streams fail.
    pub(crate) failures: Arc<Failures>,
    _databases: [Database; 2],
}

/// A user with a session.
pub(crate) struct Person {
    pub(crate) id: Uuid,
    pub(crate) token: Header,
    pub(crate) client: MessagingServiceClient<Channel>,
}

impl Bench {
    pub(crate) async fn new(change: impl FnOnce(&mut messaging::Config)) -> Self {
        Self::on(Database::sqlite(), change).await
    }

    /// A bench with messaging's store on this database, with four connections.
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
        // Most tests need no rules for adding users.
        let mut config = messaging::Config { add_rule: AddRule::Anyone, ..messaging::Config::default() };
        change(&mut config);
        let context = mesh.context("messaging", limits);
        let [entries_read, marks_read] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let (after_page, bus) = (Arc::default(), Arc::<Lossy>::default());
        let failures = Arc::<Failures>::default();
        let store = messaging::store::open(&databases[1].location, 4, config.quotas()).await.unwrap();
        let messaging = Messaging {
            config,
            audit: AuditConfig::default(),
            store: Arc::new(Counting {
                store: Arc::clone(&store),
                entries_read: Arc::clone(&entries_read),
                marks_read: Arc::clone(&marks_read),
                after_page: Arc::clone(&after_page),
                failures: Arc::clone(&failures),
            }),
            bus: Arc::<Lossy>::clone(&bus),
            users: Peer::new(
                "users",
                &[users.url()],
                &balance::BalanceConfig::default(),
                Arc::clone(&context.identity),
                Arc::clone(&context.policies),
            )
            .unwrap(),
            clock_rng: mesh.clock_rng.clone(),
        };
        let messaging = serve_messaging(context, messaging).await;
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
            failures,
            _databases: databases,
        }
    }

    /// The store behind the service.
    pub(crate) fn store(&self) -> Arc<dyn MessagingStore> {
        Arc::clone(&self.store)
    }

    /// Calls `then` once with the store, after the next statement that reads messages for a page.
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
        let session = self.mesh.clock_rng.new_id();
        let token = self.mesh.access_token(id, session, lifetime);
        Person { id, token, client: self.client() }
    }

    pub(crate) fn client(&self) -> MessagingServiceClient<Channel> {
        MessagingServiceClient::new(self.channel.clone())
    }

    /// A profile in this state.
    pub(crate) async fn user(&self, state: State) -> Uuid {
        let id = self.mesh.clock_rng.new_id();
        let user = User {
            id: UserId(id),
            handle: format!("u{}", &id.simple().to_string()[4..]),
            display_name: "A user".to_owned(),
            state,
            create_time: self.mesh.clock_rng.now(),
            revision: users::domain::Revision::FIRST,
        };
        self.people.insert(&user, 0).await.unwrap();
        id
    }

    pub(crate) async fn stop_users(&mut self) {
        self.users.take().expect("users runs").stop().await;
    }

    /// Replaces users with a listener that accepts connections and never responds.
    pub(crate) async fn silence_users(&mut self) -> TcpListener {
        self.stop_users().await;
        TcpListener::bind(self.users_address).await.unwrap()
    }

    pub(crate) async fn restart_users(&mut self) {
        self.users = Some(serve_users(&self.mesh, &self.people, self.users_address).await);
    }
}

async fn serve_users(mesh: &Mesh, store: &Arc<dyn UserStore>, address: SocketAddr) -> Running {
    let context = mesh.context("users", Limits::default());
    let users = Users {
        config: users::Config::default(),
        audit: AuditConfig::default(),
        store: Arc::clone(store),
        // Only the directory calls messaging, and no test here reads it.
        messaging: Peer::new(
            "messaging",
            &["http://127.0.0.1:1".to_owned()],
            &balance::BalanceConfig::default(),
            Arc::clone(&context.identity),
            Arc::clone(&context.policies),
        )
        .unwrap(),
        clock_rng: mesh.clock_rng.clone(),
    };
    Running::on(address, |listener, shutdown| {
        let readiness = server::readiness(&context, users.health_checks(), &shutdown);
        users.serve(context, readiness, listener, shutdown)
    })
    .await
}

async fn serve_messaging(context: ServiceContext, messaging: Messaging) -> Running {
    Running::on(ANYWHERE, |listener, shutdown| {
        let readiness = server::readiness(&context, messaging.health_checks(), &shutdown);
        messaging.serve(context, readiness, listener, shutdown)
    })
    .await
}

impl Person {
    pub(crate) fn request<T>(&self, message: T) -> tonic::Request<T> {
        request(message, std::slice::from_ref(&self.token))
    }

    pub(crate) fn opening(&self, clock_rng: &kit::ClockAndRng, others: &[Uuid]) -> CreateConversationRequest {
        CreateConversationRequest {
            request_id: clock_rng.new_id().to_string(),
            member_ids: others.iter().map(Uuid::to_string).collect(),
            title: "Tea".to_owned(),
        }
    }

    pub(crate) async fn create(&self, message: CreateConversationRequest) -> Result<Conversation, Status> {
        let response = self.client.clone().create_conversation(self.request(message)).await?;
        Ok(response.into_inner().conversation.unwrap())
    }

    pub(crate) async fn send(&self, message: SendMessageRequest) -> Result<Entry, Status> {
        Ok(self.client.clone().send_message(self.request(message)).await?.into_inner().entry.unwrap())
    }

    pub(crate) async fn send_text(&self, clock_rng: &kit::ClockAndRng, room: &str, text: &str) -> Entry {
        let message = SendMessageRequest {
            conversation_id: room.to_owned(),
            client_message_id: clock_rng.new_id().to_string(),
            text: text.to_owned(),
        };
        self.send(message).await.unwrap()
    }

    pub(crate) async fn subscribe(&self, message: SubscribeRequest) -> Result<Streaming<SubscribeResponse>, Status> {
        Ok(self.client.clone().subscribe(self.request(message)).await?.into_inner())
    }
}

/// The next event.
pub(crate) async fn next(stream: &mut Streaming<SubscribeResponse>) -> Event {
    let next = tokio::time::timeout(MOMENT, stream.message()).await.expect("an event arrives in time");
    next.unwrap().expect("the stream is open").event.unwrap()
}

/// Reads the events up to the next `CaughtUp`.
pub(crate) async fn catch_up(stream: &mut Streaming<SubscribeResponse>) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match next(stream).await {
            Event::CaughtUp(_) => return events,
            event => events.push(event),
        }
    }
}
