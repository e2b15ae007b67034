//! The caller and the deadline of a call: set by the server stack, read by handlers, and passed on by the client stack.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::HeaderValue;
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use uuid::Uuid;

use crate::{
    error,
    principal::{MeshService, Principal, UserSession},
    reason,
    trace::TraceContext,
};

tokio::task_local! {
    /// The deadline of the call that a task works for.
    static DEADLINE: Option<Instant>;
}

/// Runs `work` for a call with the deadline, so that [`deadline`] returns it.
pub async fn with_deadline<F: Future>(deadline: Option<Instant>, work: F) -> F::Output {
    DEADLINE.scope(deadline, work).await
}

/// The deadline of the unary call that the current task works for. After it the caller has the error that the call
/// failed, so nothing may be stored any more. A task that a handler spawns has none.
pub fn deadline() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok().flatten()
}

/// The verified caller of a call.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The principal on whose behalf the call is made. `None`: an anonymous client.
    pub principal: Option<Principal>,
    /// The service of the mesh that sent the call to this process, for itself or for the principal. `None`: the call
    /// came from outside the mesh.
    pub peer: Option<MeshService>,
    /// The client's address, as the gateway saw it. Accepted only from a service of the mesh, and passed on to the next.
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

    /// The user for whom the call is made. The contract's access rule guarantees one for methods that need it; without
    /// one the call is refused here.
    pub fn user(&self) -> Result<Uuid, Status> {
        match &self.caller.principal {
            Some(Principal::User(session)) => Ok(session.user),
            Some(Principal::Service(_) | Principal::External(_)) | None => Err(sign_in_required()),
        }
    }

    /// The session in which the call is made; without one the call is refused here.
    fn session(&self) -> Result<Arc<UserSession>, Status> {
        match &self.caller.principal {
            Some(Principal::User(session)) => Ok(Arc::clone(session)),
            Some(Principal::Service(_) | Principal::External(_)) | None => Err(sign_in_required()),
        }
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

fn sign_in_required() -> Status {
    error::status(
        Code::Unauthenticated,
        reason::SIGN_IN_REQUIRED,
        "only signed-in users may call the method; sign in and try again",
    )
}

/// What a handler needs to know about its call besides the message.
pub trait FromContext: Sized {
    /// Reads it, or refuses the call.
    fn from_context(context: &Context) -> Result<Self, Status>;
}

impl FromContext for Context {
    fn from_context(context: &Context) -> Result<Self, Status> {
        Ok(context.clone())
    }
}

/// For handlers that only a user in a session may call.
impl FromContext for Arc<UserSession> {
    fn from_context(context: &Context) -> Result<Self, Status> {
        context.session()
    }
}

impl<A: FromContext, B: FromContext> FromContext for (A, B) {
    fn from_context(context: &Context) -> Result<Self, Status> {
        Ok((A::from_context(context)?, B::from_context(context)?))
    }
}

/// Splits a request into what its handler needs to know about the call, and the message. The steps of a handler take
/// the extracted value, such as the [`UserSession`], so that they cannot run without one.
pub fn extract<C: FromContext, T>(request: Request<T>) -> Result<(C, T), Status> {
    // A request without a context did not come through the server stack: it is anonymous.
    let context =
        request.extensions().get::<Context>().map_or_else(|| C::from_context(&Context::default()), C::from_context)?;
    Ok((context, request.into_inner()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::reason, principal::tests::session};

    fn request(principal: Option<Principal>) -> Request<&'static str> {
        let mut request = Request::new("message");
        let caller = Caller { principal, ..Caller::default() };
        request.extensions_mut().insert(Context { caller, ..Context::default() });
        request
    }

    #[test]
    fn only_a_user_session_satisfies_a_handler_that_needs_one() {
        let session = session();
        let user = request(Some(Principal::User(Arc::clone(&session))));
        let ((found, context), message) = extract::<(Arc<UserSession>, Context), _>(user).unwrap();
        assert_eq!((found, message), (Arc::clone(&session), "message"));
        assert_eq!(context.user().unwrap(), session.user);
        let service = request(Some(Principal::Service(MeshService::new("auth"))));
        for refused in [service, request(None), Request::new("message")] {
            assert!(Context::of(&refused).user().is_err());
            let status = extract::<Arc<UserSession>, _>(refused).unwrap_err();
            assert_eq!(reason(&status).as_deref(), Some("SIGN_IN_REQUIRED"));
        }
    }
}
