//! A service whose handlers wait until the test releases them.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use kit::{
    audit, context,
    health::{HealthChecks, Readiness},
    limits::Limits,
    server,
    shutdown::Shutdown,
};
use proto::users::v1::{
    BatchGetUsersRequest, BatchGetUsersResponse, CreateUserRequest, CreateUserResponse, DeleteUserRequest,
    DeleteUserResponse, GetNamesRequest, GetNamesResponse, GetUserRequest, GetUserResponse, ListUsersRequest,
    ListUsersResponse, UpdateUserRequest, UpdateUserResponse, User,
    users_service_client::UsersServiceClient,
    users_service_server::{SERVICE_NAME, UsersService, UsersServiceServer},
};
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tonic::{Request, Response, Status, async_trait, service::Routes, transport::Channel};
use uuid::Uuid;

use crate::{
    eventually::{MOMENT, eventually},
    mesh::{Header, Mesh, request},
};

/// The path of the waiting method.
pub(crate) const GET_USER: &str = "/trellis.users.v1.UsersService/GetUser";

/// The handlers, which the test observes and controls.
#[derive(Clone)]
pub(crate) struct Handlers {
    /// How many calls wait in a handler.
    inside: Arc<AtomicUsize>,
    /// One permit for each call that may continue.
    gate: Arc<Semaphore>,
}

impl Handlers {
    fn new() -> Self {
        Self { inside: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    /// How many calls wait.
    pub(crate) fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }

    /// Completes when exactly `n` calls wait.
    pub(crate) async fn wait_for(&self, n: usize) {
        eventually(&format!("{n} calls wait"), async || self.inside() == n).await;
    }

    /// Lets `n` calls continue, now or later.
    pub(crate) fn release(&self, n: usize) {
        self.gate.add_permits(n);
    }
}

/// Decrements the count on drop, also after a cancellation.
struct Inside<'a>(&'a AtomicUsize);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl UsersService for Handlers {
    /// Waits for a permit.
    async fn get_user(&self, _: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let _inside = Inside(&self.inside);
        self.gate.acquire().await.unwrap().forget();
        Ok(Response::new(GetUserResponse::default()))
    }

    async fn get_names(&self, _: Request<GetNamesRequest>) -> Result<Response<GetNamesResponse>, Status> {
        panic!("no test calls it");
    }

    async fn batch_get_users(
        &self,
        _: Request<BatchGetUsersRequest>,
    ) -> Result<Response<BatchGetUsersResponse>, Status> {
        panic!("a handler panics");
    }

    /// Responds with a message of the size in `page_token`.
    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        let bytes = request.get_ref().page_token.parse::<usize>().unwrap();
        // Two keys and two lengths of two bytes each surround a name of some hundred bytes.
        let user = User { handle: "x".repeat(bytes - 6), ..User::default() };
        Ok(Response::new(ListUsersResponse { users: vec![user], ..ListUsersResponse::default() }))
    }

    /// Responds at once.
    async fn create_user(&self, _: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        audit::unchanged();
        Ok(Response::new(CreateUserResponse::default()))
    }

    /// Responds with the time until the deadline of its task, in milliseconds.
    async fn update_user(&self, _: Request<UpdateUserRequest>) -> Result<Response<UpdateUserResponse>, Status> {
        audit::unchanged();
        let left = context::deadline().unwrap().saturating_duration_since(Instant::now());
        let user = User { display_name: left.as_millis().to_string(), ..User::default() };
        Ok(Response::new(UpdateUserResponse { user: Some(user) }))
    }

    async fn delete_user(&self, _: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        Err(Status::unimplemented("no test calls this method"))
    }
}

pub(crate) struct Bench {
    pub(crate) mesh: Mesh,
    pub(crate) handlers: Handlers,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) serving: JoinHandle<std::io::Result<()>>,
    pub(crate) readiness: Readiness,
    pub(crate) token: Header,
}

impl Bench {
    /// Starts the service with these limits and waits until it is ready.
    pub(crate) async fn new(limits: Limits) -> Self {
        let (mesh, handlers, shutdown) = (Mesh::new(), Handlers::new(), Shutdown::new());
        let message_bytes = limits.message_bytes;
        let context = mesh.context("users", limits);
        let readiness = server::readiness(&context, HealthChecks::new(), &shutdown);
        let service = kit::compressing!(UsersServiceServer::new(handlers.clone()))
            .max_decoding_message_size(message_bytes)
            .max_encoding_message_size(message_bytes);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn({
            let (readiness, shutdown) = (readiness.clone(), shutdown.clone());
            async move {
                let routes = Routes::new(service);
                server::serve(&context, SERVICE_NAME, routes, &readiness, listener, shutdown).await
            }
        });
        timeout(MOMENT, readiness.ready()).await.unwrap();
        let token = mesh.signed_in(Uuid::nil());
        Self { mesh, handlers, address, shutdown, serving, readiness, token }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    /// A call whose handler responds at once.
    pub(crate) async fn ask(&self, channel: &Channel) -> Result<ListUsersResponse, Status> {
        self.list(channel, 500).await
    }

    /// A call with a response of `bytes`.
    pub(crate) async fn list(&self, channel: &Channel, bytes: usize) -> Result<ListUsersResponse, Status> {
        let message = ListUsersRequest { page_token: bytes.to_string(), ..ListUsersRequest::default() };
        let request = request(message, std::slice::from_ref(&self.token));
        UsersServiceClient::new(channel.clone()).list_users(request).await.map(Response::into_inner)
    }

    /// A call that waits in its handler.
    pub(crate) fn call(&self, channel: &Channel) -> JoinHandle<Result<GetUserResponse, Status>> {
        let mut client = UsersServiceClient::new(channel.clone());
        let message = GetUserRequest { user_id: Uuid::nil().to_string() };
        let request = request(message, std::slice::from_ref(&self.token));
        tokio::spawn(async move { client.get_user(request).await.map(Response::into_inner) })
    }
}
