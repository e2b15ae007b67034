//! The caller and the deadline of a call: set by the server stack, and passed on by the client stack.

use std::{net::IpAddr, time::Duration};

use http::HeaderValue;
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::{Timestamp, error, trace::TraceContext};

/// A user, from a verified access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The account's id.
    pub id: Uuid,
    /// The session that the token belongs to.
    pub session: Uuid,
    /// Roles of the account beyond an ordinary user.
    pub roles: Vec<String>,
    /// The scopes of the token.
    pub scopes: Vec<String>,
    /// When the token expires. A stream ends then too.
    pub expires: Timestamp,
}

/// A verified identity: the user on whose behalf the call is made, the calling service, or both.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The user.
    pub user: Option<User>,
    /// The name of the service.
    pub service: Option<String>,
    /// The client's address, as the gateway saw it. Accepted only from a service of the mesh.
    pub address: Option<IpAddr>,
    /// The user's own token, passed on so that the next service verifies it too.
    pub(crate) bearer: Option<HeaderValue>,
}

/// The context of a call besides its message. Stored in the request's extensions.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// The caller.
    pub caller: Caller,
    /// The deadline.
    pub deadline: Option<Instant>,
    /// The trace context of the call.
    pub trace: Option<TraceContext>,
}

impl Context {
    /// The context of a request that came through the server stack.
    pub fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// The user. The contract's access rule guarantees one for methods that need it; without one the call is refused
    /// here.
    pub fn user(&self) -> Result<&User, Status> {
        self.caller
            .user
            .as_ref()
            .ok_or_else(|| error::status(Code::Unauthenticated, "SIGN_IN_REQUIRED", "sign in and try again"))
    }

    /// A request to another service on behalf of the same caller, with the remaining time, but at most `most`.
    pub fn request<T>(&self, message: T, most: Duration) -> Request<T> {
        let mut request = Request::new(message);
        let latest = Instant::now() + most;
        let deadline = Some(self.deadline.map_or(latest, |deadline| deadline.min(latest)));
        request.extensions_mut().insert(Self { caller: self.caller.clone(), deadline, trace: self.trace.clone() });
        request
    }
}
