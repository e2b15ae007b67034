//! The audit logs of all services as one list.

use std::time::Duration;

use kit::{Context, audit::AuditEntry, error, principal::UserSession};
use kit_data::audit::EventPage;
use proto::{
    audit::v1::AuditEvent,
    auth::v1::{ListAuditEventsRequest, ListAuditEventsResponse},
    messaging::v1::{self as messaging, messaging_service_client::MessagingServiceClient},
    users::v1::{self as users, users_service_client::UsersServiceClient},
};
use tonic::Status;

use super::{Api, sessions::ConfirmedSession};

/// The deadline of the calls to the other services, as in their contracts.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The services with an audit log.
const SERVICES: [&str; 3] = ["auth", "users", "messaging"];
/// The scope that shows personal fields.
const PERSONAL: &str = "audit.personal";
/// The resource that a reading is about.
const LOGS: &str = "auditEvents";

impl Api {
    /// Lists one page of the records of the selected services. The reading is recorded first. Each service returns a page
    /// of its own log from the same position, and the page of all is the beginning of these pages together.
    pub(super) async fn audit_events(
        &self,
        _reader: &ConfirmedSession,
        session: &UserSession,
        context: &Context,
        request: ListAuditEventsRequest,
    ) -> Result<ListAuditEventsResponse, Status> {
        let ListAuditEventsRequest { page_size, ref page_token, ref filter, oldest_first, ref service } = request;
        if !service.is_empty() && !SERVICES.contains(&service.as_str()) {
            let message = format!("must be one of {}", SERVICES.join(", "));
            return Err(error::invalid_field("service", "SERVICE_UNKNOWN", &message));
        }
        let page = EventPage::parse(filter, oldest_first, page_size, page_token)?;
        let shows_personal = session.scopes.iter().any(|scope| scope == PERSONAL);
        let target = if service.is_empty() { LOGS.to_owned() } else { format!("{LOGS}/{service}") };
        self.auth.store.audit().note(AuditEntry::new(target)).await?;
        let is_listed = |name: &str| service.is_empty() || service == name;
        let own = async {
            if !is_listed("auth") {
                return Ok::<_, Status>(Vec::new());
            }
            Ok(self.auth.store.audit().events(&page, shows_personal).await?)
        };
        let of_users = async {
            if !is_listed("users") {
                return Ok(Vec::new());
            }
            self.events_of_users(context, &request, shows_personal).await
        };
        let of_messaging = async {
            if !is_listed("messaging") {
                return Ok(Vec::new());
            }
            self.events_of_messaging(context, &request, shows_personal).await
        };
        let (own, of_users, of_messaging) = tokio::try_join!(own, of_users, of_messaging)?;
        let mut audit_events = [own, of_users, of_messaging].concat();
        let next_page_token = page.cut(&mut audit_events, self.page_bytes);
        Ok(ListAuditEventsResponse { audit_events, next_page_token })
    }

    async fn events_of_users(
        &self,
        context: &Context,
        of: &ListAuditEventsRequest,
        shows_personal: bool,
    ) -> Result<Vec<AuditEvent>, Status> {
        let ListAuditEventsRequest { page_size, page_token, filter, oldest_first, .. } = of.clone();
        let message = users::ListAuditEventsRequest { page_size, page_token, filter, oldest_first, shows_personal };
        let request = context.request(message, CALL_TIMEOUT);
        let response = UsersServiceClient::new(self.auth.users.clone()).list_audit_events(request).await;
        Ok(response.map_err(|status| error::from_service("the audit log of users", &status))?.into_inner().audit_events)
    }

    async fn events_of_messaging(
        &self,
        context: &Context,
        of: &ListAuditEventsRequest,
        shows_personal: bool,
    ) -> Result<Vec<AuditEvent>, Status> {
        let ListAuditEventsRequest { page_size, page_token, filter, oldest_first, .. } = of.clone();
        let message = messaging::ListAuditEventsRequest { page_size, page_token, filter, oldest_first, shows_personal };
        let request = context.request(message, CALL_TIMEOUT);
        let response = MessagingServiceClient::new(self.auth.messaging.clone()).list_audit_events(request).await;
        Ok(response
            .map_err(|status| error::from_service("the audit log of messaging", &status))?
            .into_inner()
            .audit_events)
    }
}
