//! The service on a new SQLite file, with a stand-in for messaging whose contacts the test sets. The store's contract
//! is tested on both databases, so one is enough here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use kit::{ClockAndRng, balance, client::Peer, config::Span, health::HealthChecks, limits::Limits, server};
use kit_data::{audit::AuditConfig, store::Location};
use proto::{
    messaging::v1::{ListContactsRequest, ListContactsResponse, messaging_service_server},
    users::v1::{CreateUserRequest, DeleteUserRequest, User, users_service_client::UsersServiceClient},
};
use tonic::{Status, service::Routes, transport::Channel};
use tonic_types::StatusExt as _;
use users::{Config, Users, config::Directory};

use crate::{
    databases::Database,
    mesh::{ANYWHERE, Header, Mesh, Running, request},
    stand_in,
};

/// The users with whom each user shares a conversation.
type Contacts = Arc<Mutex<HashMap<String, Vec<String>>>>;

pub(crate) struct Bench {
    pub(crate) mesh: Mesh,
    pub(crate) channel: Channel,
    service: Running,
    messaging: Option<Running>,
    contacts: Contacts,
    pub(crate) database: Database,
}

impl Bench {
    pub(crate) async fn new(directory: Directory) -> Self {
        Self::with(directory, |_| std::future::ready(())).await
    }

    /// Starts with a database that `fill` prepares.
    pub(crate) async fn with<F: Future<Output = ()>>(directory: Directory, fill: impl FnOnce(Location) -> F) -> Self {
        let (mesh, database, contacts) = (Mesh::new(), Database::sqlite(), Contacts::default());
        fill(database.location.clone()).await;
        let messaging = messaging(&mesh, Arc::clone(&contacts)).await;
        let context = mesh.context("users", Limits::default());
        let users = Users {
            config: Config {
                directory,
                messaging_timeout: Span(std::time::Duration::from_millis(500)),
                ..Config::default()
            },
            audit: AuditConfig::default(),
            store: users::store::open(&database.location, 4).await.unwrap(),
            messaging: Peer::new(
                "messaging",
                &[messaging.url()],
                &balance::BalanceConfig::default(),
                Arc::clone(&context.identity),
                Arc::clone(&context.policies),
            )
            .unwrap(),
            clock_rng: mesh.clock_rng.clone(),
        };
        let mut ready = None;
        let service = Running::on(ANYWHERE, |listener, shutdown| {
            let readiness = server::readiness(&context, users.health_checks(), &shutdown);
            ready = Some(readiness.clone());
            users.serve(context, readiness, listener, shutdown)
        })
        .await;
        ready.unwrap().ready().await;
        let channel = service.connect().await;
        Self { mesh, channel, service, messaging: Some(messaging), contacts, database }
    }

    pub(crate) fn client(&self) -> UsersServiceClient<Channel> {
        UsersServiceClient::new(self.channel.clone())
    }

    pub(crate) async fn create(&self, handle: &str) -> User {
        let response = self.client().create_user(request(profile(handle), &[self.auth()])).await.unwrap();
        response.into_inner().user.unwrap()
    }

    pub(crate) async fn delete(&self, user_id: &str) {
        let message = DeleteUserRequest { user_id: user_id.to_owned(), release_handle: false };
        self.client().delete_user(request(message, &[self.auth()])).await.unwrap();
    }

    /// The header of a call from auth.
    pub(crate) fn auth(&self) -> Header {
        self.mesh.service_token("auth", "users", &self.mesh.clock_rng)
    }

    /// The header of a call from `user`.
    pub(crate) fn signed_in(&self, user: &User) -> Header {
        self.mesh.signed_in(user.user_id.parse().unwrap())
    }

    /// Sets the contacts of `user`.
    pub(crate) fn meets(&self, user: &User, others: &[&User]) {
        let others = others.iter().map(|other| other.user_id.clone()).collect();
        self.contacts.lock().unwrap().insert(user.user_id.clone(), others);
    }

    pub(crate) async fn stop_messaging(&mut self) {
        self.messaging.take().unwrap().stop().await;
    }

    pub(crate) async fn end(self) {
        drop(self.channel);
        self.service.stop().await;
        if let Some(messaging) = self.messaging {
            messaging.stop().await;
        }
        self.database.remove().await;
    }
}

async fn messaging(mesh: &Mesh, contacts: Contacts) -> Running {
    let context = mesh.context("messaging", Limits::default());
    let path = format!("/{}/ListContacts", messaging_service_server::SERVICE_NAME);
    let routes = stand_in::unary(&path, move |request: ListContactsRequest| {
        let user_ids = contacts.lock().unwrap().get(&request.user_id).cloned().unwrap_or_default();
        async move { Ok(ListContactsResponse { user_ids }) }
    });
    Running::on(ANYWHERE, |listener, shutdown| async move {
        let readiness = server::readiness(&context, HealthChecks::new(), &shutdown);
        let name = messaging_service_server::SERVICE_NAME;
        server::serve(&context, name, Routes::from(routes), &readiness, listener, shutdown).await
    })
    .await
}

pub(crate) fn profile(handle: &str) -> CreateUserRequest {
    let user_id = ClockAndRng::system().new_id().to_string();
    CreateUserRequest { user_id, handle: handle.to_owned(), display_name: format!("{handle} the Great"), attempt: 0 }
}

/// The fields that the status names.
pub(crate) fn named_fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}
