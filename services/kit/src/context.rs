//! Who is calling, and until when: what the server stack learns of a call and the client stack hands on.

use std::{net::IpAddr, time::Duration};

use http::HeaderValue;
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::{Timestamp, error, trace::TraceContext};

/// A user, as a verified access token names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The account's id.
    pub id: Uuid,
    /// The session that the token belongs to.
    pub session: Uuid,
    /// What the account may do beyond every user.
    pub roles: Vec<String>,
    /// What the token may be used for.
    pub scopes: Vec<String>,
    /// When the token ends; a stream ends then too.
    pub expires: Timestamp,
}

/// A verified identity: of the user on whose behalf the call is made, of the service that makes it, or both.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The user.
    pub user: Option<User>,
    /// The name of the service.
    pub service: Option<String>,
    /// The client's address, as the gateway saw it; believed from a service of the mesh only.
    pub address: Option<IpAddr>,
    /// The user's own token, handed on so that the next service can verify it again.
    pub(crate) bearer: Option<HeaderValue>,
}

/// What a handler knows of the call besides its message. Found in the request's extensions.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Who is calling.
    pub caller: Caller,
    /// When the answer comes too late.
    pub deadline: Option<Instant>,
    /// The call's place in its trace.
    pub trace: Option<TraceContext>,
}

impl Context {
    /// The context of a request that came through the server stack.
    pub fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// The user. The contract's access rule has made sure that there is one before a handler asks; without
    /// one the call is refused all the same.
    pub fn user(&self) -> Result<&User, Status> {
        self.caller
            .user
            .as_ref()
            .ok_or_else(|| error::status(Code::Unauthenticated, "SIGN_IN_REQUIRED", "sign in and try again"))
    }

    /// A request to another service on behalf of the same caller, with what is left of the time but at most
    /// `most`.
    pub fn request<T>(&self, message: T, most: Duration) -> Request<T> {
        let mut request = Request::new(message);
        let latest = Instant::now() + most;
        let deadline = Some(self.deadline.map_or(latest, |deadline| deadline.min(latest)));
        request.extensions_mut().insert(Self { caller: self.caller.clone(), deadline, trace: self.trace });
        request
    }
}
