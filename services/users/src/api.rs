//! The gRPC face: messages to domain types, one question to the store, domain types to messages.

use std::{collections::HashMap, sync::Arc};

use kit::{Ambient, error};
use proto::users::v1::{
    BatchGetUsersRequest, BatchGetUsersResponse, CreateUserRequest, CreateUserResponse, GetUserRequest,
    GetUserResponse, ListUsersRequest, ListUsersResponse, User as WireUser, users_service_server::UsersService,
};
use proto::users::v1::{DeleteUserRequest, DeleteUserResponse, UpdateUserRequest, UpdateUserResponse};
use tonic::{Code, Request, Response, Status, async_trait};
use uuid::Uuid;

use crate::{
    domain::{Page, State, User, UserId},
    store::{InsertError, UserStore},
};

pub(crate) struct Api {
    store: Arc<dyn UserStore>,
    ambient: Ambient,
}

impl Api {
    pub(crate) fn new(store: Arc<dyn UserStore>, ambient: Ambient) -> Self {
        Self { store, ambient }
    }
}

#[async_trait]
impl UsersService for Api {
    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let id = user_id("user_id", &request.get_ref().user_id)?;
        let user = self.store.find(id).await?.filter(|user| user.state == State::Active);
        let user = user.ok_or_else(|| error::status(Code::NotFound, "USER_NOT_FOUND", "there is no such user"))?;
        Ok(Response::new(GetUserResponse { user: Some(user.into()) }))
    }

    async fn batch_get_users(
        &self,
        request: Request<BatchGetUsersRequest>,
    ) -> Result<Response<BatchGetUsersResponse>, Status> {
        let ids = request.get_ref().user_ids.iter().map(|id| user_id("user_ids", id)).collect::<Result<Vec<_>, _>>()?;
        let found = self.store.find_all(&ids).await?;
        let mut by_id: HashMap<UserId, User> =
            found.into_iter().filter(|user| user.state == State::Active).map(|user| (user.id, user)).collect();
        let users = ids.iter().filter_map(|id| by_id.remove(id)).map(WireUser::from).collect();
        Ok(Response::new(BatchGetUsersResponse { users }))
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        let ListUsersRequest { page_size, page_token, handle_prefix } = request.into_inner();
        let page = Page::parse(page_size, &page_token, &handle_prefix).map_err(|_| {
            error::invalid_field("page_token", "PAGE_TOKEN_INVALID", "must be the next_page_token of the same list")
        })?;
        let mut users = self.store.list(&page).await?;
        // The store was asked for one more than the page holds: it tells whether there is another page.
        let size = usize::try_from(page.size.get()).unwrap_or(usize::MAX);
        let more = users.len() > size;
        users.truncate(size);
        let next_page_token = users.last().filter(|_| more).map_or(String::new(), |last| page.token_after(last));
        Ok(Response::new(ListUsersResponse { users: users.into_iter().map(WireUser::from).collect(), next_page_token }))
    }

    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        let CreateUserRequest { user_id: id, handle, display_name } = request.into_inner();
        let user = User {
            id: user_id("user_id", &id)?,
            handle,
            display_name,
            state: State::Active,
            create_time: self.ambient.now(),
        };
        let user = self.store.insert(&user).await?;
        Ok(Response::new(CreateUserResponse { user: Some(user.into()) }))
    }

    async fn update_user(&self, _request: Request<UpdateUserRequest>) -> Result<Response<UpdateUserResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn delete_user(&self, _request: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }
}

/// The contract has checked the form; this makes the type.
fn user_id(field: &str, text: &str) -> Result<UserId, Status> {
    let id = Uuid::try_parse(text).map_err(|_| error::invalid_field(field, "UUID_INVALID", "must be a UUID"))?;
    Ok(UserId(id))
}

impl From<User> for WireUser {
    fn from(user: User) -> Self {
        Self {
            user_id: user.id.to_string(),
            handle: user.handle,
            display_name: user.display_name,
            create_time: Some(user.create_time.into()),
            ..Self::default()
        }
    }
}

impl From<InsertError> for Status {
    fn from(error: InsertError) -> Self {
        match error {
            InsertError::HandleTaken => {
                error::status(Code::AlreadyExists, "HANDLE_TAKEN", "the handle is taken; choose another")
            }
            InsertError::NotActive => {
                error::status(Code::FailedPrecondition, "USER_NOT_ACTIVE", "the user was suspended or deleted")
            }
            InsertError::Store(error) => error.into(),
        }
    }
}
