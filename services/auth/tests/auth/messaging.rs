//! A stand-in for messaging that deletes one membership per call, and can fail or hang in a given call.

use std::sync::{Arc, Mutex};

use kit::{
    health::HealthChecks,
    server::{self, ServiceContext},
    shutdown::Shutdown,
};
use proto::messaging::v1::{DeleteMemberRequest, DeleteMemberResponse, messaging_service_server::SERVICE_NAME};
use tokio::{net::TcpListener, sync::watch};
use tonic::{Status, service::Routes};

use crate::stand_in;

/// The fault of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails.
    Fails,
    /// The call never responds, and deletes nothing.
    EndsBefore,
    /// The call never responds, but deletes the membership.
    EndsAfter,
}

/// The service's state, shared with the test.
#[derive(Clone)]
pub(crate) struct Messaging {
    /// The number of memberships left, and the member.
    left: Arc<Mutex<(u32, Option<String>)>>,
    /// The number of the call with a fault, counted from 1.
    fault: Arc<Mutex<Option<(u32, Fault)>>>,
    calls: watch::Sender<u32>,
}

impl Messaging {
    /// With a member of `conversations` conversations.
    pub(crate) fn new(conversations: u32) -> Self {
        Self { left: Arc::new(Mutex::new((conversations, None))), fault: Arc::default(), calls: watch::Sender::new(0) }
    }

    pub(crate) async fn serve(self, context: ServiceContext, listener: TcpListener, shutdown: Shutdown) {
        let path = format!("/{SERVICE_NAME}/DeleteMember");
        let routes = stand_in::unary(&path, move |request: DeleteMemberRequest| self.clone().delete_member(request));
        let readiness = server::readiness(&context, HealthChecks::new(), &shutdown);
        let routes = Routes::from(routes);
        server::serve(&context, SERVICE_NAME, routes, &readiness, listener, shutdown).await.unwrap();
    }

    /// Sets the fault of one call.
    pub(crate) fn breaks(&self, fault: Option<(u32, Fault)>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// Waits until this many calls have arrived.
    pub(crate) async fn called(&self, times: u32) {
        self.calls.subscribe().wait_for(|calls| *calls >= times).await.unwrap();
    }

    pub(crate) fn calls(&self) -> u32 {
        *self.calls.borrow()
    }

    /// The number of memberships left, and the member of the last call.
    pub(crate) fn left(&self) -> (u32, Option<String>) {
        self.left.lock().unwrap().clone()
    }

    async fn delete_member(self, request: DeleteMemberRequest) -> Result<DeleteMemberResponse, Status> {
        kit::audit::unchanged();
        let call = self.calls.borrow().saturating_add(1);
        let fault = self.fault.lock().unwrap().filter(|(at, _)| *at == call).map(|(_, fault)| fault);
        let done = if matches!(fault, Some(Fault::Fails | Fault::EndsBefore)) { false } else { self.delete(request) };
        self.calls.send_replace(call);
        match fault {
            Some(Fault::Fails) => Err(Status::internal("injected by the test")),
            Some(Fault::EndsBefore | Fault::EndsAfter) => std::future::pending().await,
            None => Ok(DeleteMemberResponse { done }),
        }
    }

    fn delete(&self, request: DeleteMemberRequest) -> bool {
        let mut left = self.left.lock().unwrap();
        *left = (left.0.saturating_sub(1), Some(request.user_id));
        left.0 == 0
    }
}
