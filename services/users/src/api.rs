//! The gRPC API: converts messages to domain types, calls the store, and converts the results back.

mod change;

use std::collections::HashMap;

use kit::{Context, context::FromContext, error, extract, page};
use proto::{
    messaging::v1::{ListContactsRequest, messaging_service_client::MessagingServiceClient},
    users::v1::{
        BatchGetUsersRequest, BatchGetUsersResponse, CreateUserRequest, CreateUserResponse, DeleteUserRequest,
        DeleteUserResponse, GetNamesRequest, GetNamesResponse, GetUserRequest, GetUserResponse, ListUsersRequest,
        ListUsersResponse, UpdateUserRequest, UpdateUserResponse, User as WireUser, users_service_server::UsersService,
    },
};
use tonic::{Code, Request, Response, Status, async_trait};
use uuid::Uuid;

use crate::{
    Users,
    config::Directory,
    domain::{Change, Cooling, Page, Query, Reserved, Revision, State, User, UserId},
    store::{InsertError, UpdateError},
};

pub(crate) struct Api {
    users: Users,
    reserved: Reserved,
    /// Bytes that the items of one page may take, so that it fits into one message.
    page_bytes: usize,
}

impl Api {
    pub(crate) fn new(users: Users, message_bytes: usize) -> Self {
        let reserved = users.config.reserved();
        Self { users, reserved, page_bytes: page::budget(message_bytes) }
    }

    /// Refuses a reserved handle, unless it is the user's current one, which became reserved later.
    async fn refuse_reserved(&self, change: &Change) -> Result<(), Status> {
        let Some(handle) = change.handle.as_ref().filter(|handle| self.reserved.contains(handle)) else {
            return Ok(());
        };
        let is_kept = self.users.store.find(change.id).await?.is_some_and(|user| user.handle == *handle);
        if is_kept { Ok(()) } else { Err(handle_reserved("user.handle")) }
    }

    fn cooling(&self) -> Cooling {
        let config = &self.users.config;
        Cooling { now: self.users.clock_rng.now(), period: config.handle_cooling.0, limit: config.cooling_handles }
    }

    /// The users who share a conversation with the caller.
    async fn contacts(&self, context: &Context, caller: UserId) -> Result<Vec<UserId>, Status> {
        let message = ListContactsRequest { user_id: caller.to_string() };
        let request = context.request(message, self.users.config.messaging_timeout.0);
        let response = MessagingServiceClient::new(self.users.messaging.clone()).list_contacts(request).await;
        let ids = response.map_err(|status| messaging_failed(&status))?.into_inner().user_ids;
        let parsed = ids.iter().map(|id| Uuid::try_parse(id).map(UserId).map_err(|e| error::internal(&e)));
        Ok(parsed.collect::<Result<Vec<_>, _>>()?.into_iter().filter(|id| *id != caller).collect())
    }
}

#[async_trait]
impl UsersService for Api {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let id = user_id("user_id", &request.get_ref().user_id)?;
        let user = self.users.store.find(id).await?.filter(|user| user.state == State::Active);
        let user = user.ok_or_else(not_found)?;
        Ok(Response::new(GetUserResponse { user: Some(user.into()) }))
    }

    async fn get_names(&self, request: Request<GetNamesRequest>) -> Result<Response<GetNamesResponse>, Status> {
        let id = user_id("user_id", &request.get_ref().user_id)?;
        let user = self.users.store.find(id).await?.filter(|user| user.state == State::Active);
        let User { handle, display_name, .. } = user.ok_or_else(not_found)?;
        Ok(Response::new(GetNamesResponse { handle, display_name }))
    }

    async fn batch_get_users(
        &self,
        request: Request<BatchGetUsersRequest>,
    ) -> Result<Response<BatchGetUsersResponse>, Status> {
        let ids = request.get_ref().user_ids.iter().map(|id| user_id("user_ids", id)).collect::<Result<Vec<_>, _>>()?;
        let found = self.users.store.find_all(&ids).await?;
        let mut by_id: HashMap<UserId, User> =
            found.into_iter().filter(|user| user.state == State::Active).map(|user| (user.id, user)).collect();
        let users = ids.iter().filter_map(|id| by_id.remove(id)).map(WireUser::from).collect();
        Ok(Response::new(BatchGetUsersResponse { users }))
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        let ((context, caller), request) = extract::<(Context, UserId), _>(request)?;
        let ListUsersRequest { page_size, page_token, query } = request;
        let query = Query::parse(&query);
        let page = Page::parse(page_size, &page_token, query.as_ref()).map_err(|_| {
            error::invalid_field("page_token", "PAGE_TOKEN_INVALID", "must be the next_page_token of the same list")
        })?;
        let store = &self.users.store;
        let found = if self.users.config.directory == Directory::All {
            match &query {
                None => store.list(&page).await?,
                Some(query) => store.search(query, &page).await?,
            }
        } else {
            let people = self.contacts(&context, caller).await?;
            match &query {
                None => store.list_among(&people, &page).await?,
                Some(query) => store.search_among(&people, query, &page).await?,
            }
        };
        // The store returns one more than the page holds if there is another page.
        let size = usize::try_from(page.size.get()).unwrap_or(usize::MAX);
        let mut users: Vec<_> = found.iter().map(|listed| listed.user.clone().into()).collect();
        users.truncate(page::fitting(&users, self.page_bytes).min(size));
        let more = found.len() > users.len();
        let last = users.len().checked_sub(1).filter(|_| more).and_then(|last| found.get(last));
        let next_page_token = last.map_or(String::new(), |last| last.cursor().token(query.as_ref()));
        Ok(Response::new(ListUsersResponse { users, next_page_token }))
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        let CreateUserRequest { user_id: id, handle, display_name, attempt } = request.into_inner();
        if self.reserved.contains(&handle) {
            return Err(handle_reserved("handle"));
        }
        let user = User {
            id: user_id("user_id", &id)?,
            handle,
            display_name,
            state: State::Active,
            create_time: self.users.clock_rng.now(),
            revision: Revision::FIRST,
        };
        let user = self.users.store.insert(&user, attempt).await?;
        Ok(Response::new(CreateUserResponse { user: Some(user.into()) }))
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<UpdateUserResponse>, Status> {
        let (caller, request) = extract(request)?;
        let change = change::read(request, caller)?;
        self.refuse_reserved(&change).await?;
        let user = match self.users.store.update(&change, &self.cooling()).await {
            Ok(user) => user,
            Err(UpdateError::HandleTaken) => return Err(handle_taken()),
            Err(UpdateError::TooManyHandles) => return Err(too_many_handles()),
            Err(UpdateError::Store(error)) => return Err(error.into()),
            Err(UpdateError::NotMatched) => {
                let there = self.users.store.find(change.id).await?.is_some_and(|user| user.state == State::Active);
                return Err(if there { change::etag_mismatch() } else { not_found() });
            }
        };
        Ok(Response::new(UpdateUserResponse { user: Some(user.into()) }))
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        let id = user_id("user_id", &request.get_ref().user_id)?;
        self.users.store.delete(id, request.get_ref().release_handle, self.users.clock_rng.now()).await?;
        Ok(Response::new(DeleteUserResponse {}))
    }
}

/// The user for whom the call is made.
impl FromContext for UserId {
    fn from_context(context: &Context) -> Result<Self, Status> {
        context.user().map(Self)
    }
}

/// Parses a user id. The contract has validated its form already.
fn user_id(field: &str, text: &str) -> Result<UserId, Status> {
    let id = Uuid::try_parse(text).map_err(|_| error::invalid_field(field, "UUID_INVALID", "must be a UUID"))?;
    Ok(UserId(id))
}

fn not_found() -> Status {
    error::status(Code::NotFound, "USER_NOT_FOUND", "there is no such user")
}

fn handle_taken() -> Status {
    error::status(Code::AlreadyExists, "HANDLE_TAKEN", "the handle is taken; choose another")
}

fn handle_reserved(field: &str) -> Status {
    error::invalid_field(field, "HANDLE_RESERVED", "is reserved or looks like a reserved name; choose another")
}

fn too_many_handles() -> Status {
    let message =
        "too many former handles are reserved for you; take one of them again, or wait until their cooling period ends";
    error::status(Code::ResourceExhausted, "TOO_MANY_HANDLES", message)
}

fn messaging_failed(status: &Status) -> Status {
    tracing::warn!(rpc.code = ?status.code(), error = status.message(), "the call to messaging for a user's contacts failed; the search is refused");
    error::unavailable("the messaging service")
}

impl From<User> for WireUser {
    fn from(user: User) -> Self {
        Self {
            user_id: user.id.to_string(),
            handle: user.handle,
            display_name: user.display_name,
            create_time: Some(user.create_time.into()),
            etag: user.revision.to_string(),
        }
    }
}

impl From<InsertError> for Status {
    fn from(error: InsertError) -> Self {
        match error {
            InsertError::HandleTaken => handle_taken(),
            InsertError::NotActive => {
                error::status(Code::FailedPrecondition, "USER_NOT_ACTIVE", "the user was suspended or deleted")
            }
            InsertError::Superseded => {
                let message = "a later attempt at the sign-up has stored the profile";
                error::status(Code::Aborted, "ATTEMPT_SUPERSEDED", message)
            }
            InsertError::Store(error) => error.into(),
        }
    }
}
