//! The audit logs of all services as one list, which auditors and admins read.

use std::collections::BTreeSet;

use proto::{
    audit::v1::AuditEvent,
    auth::v1::{GrantRoleRequest, ListAuditEventsRequest, ListAuditEventsResponse},
    messaging::v1::CreateConversationRequest,
};
use tonic::{Code, Status};

use super::harness::{Mesh, Person, Store, new_id, reason};

async fn list(person: &Person, request: ListAuditEventsRequest) -> Result<ListAuditEventsResponse, Status> {
    Ok(person.auth().list_audit_events(person.request(request)).await?.into_inner())
}

/// All records of a list, in pages of three.
async fn all(person: &Person, first: ListAuditEventsRequest) -> Vec<AuditEvent> {
    let (mut events, mut request) = (Vec::new(), ListAuditEventsRequest { page_size: 3, ..first });
    loop {
        let page = list(person, request.clone()).await.unwrap();
        assert!(page.audit_events.len() <= 3);
        events.extend(page.audit_events);
        if page.next_page_token.is_empty() {
            return events;
        }
        request.page_token = page.next_page_token;
    }
}

fn ids(events: &[AuditEvent]) -> Vec<&str> {
    events.iter().map(|event| event.event_id.as_str()).collect()
}

async fn audit_logs_of_all_services_are_one_list(store: Store) {
    let mesh = Mesh::start(store, &[]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let admin = mesh.make_admin(&ada).await;
    let create = CreateConversationRequest {
        request_id: new_id(),
        member_ids: vec![bob.id().to_owned()],
        ..CreateConversationRequest::default()
    };
    ada.messaging().create_conversation(ada.request(create)).await.unwrap();
    let grant = GrantRoleRequest { user_id: bob.id().to_owned(), role: "auditor".to_owned() };
    let refused = list(&bob, ListAuditEventsRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "ROLE_REQUIRED"));
    admin.auth().grant_role(admin.request(grant)).await.unwrap();
    let auditor = mesh.sign_in("bob").await;

    let of_ada = ListAuditEventsRequest {
        filter: format!("code = OK AND principal = \"{}\" AND NOT action:ListAuditEvents", ada.id()),
        ..ListAuditEventsRequest::default()
    };
    let newest = all(&admin, of_ada.clone()).await;
    let methods: BTreeSet<_> =
        newest.iter().map(|of| (of.service.as_str(), of.action.rsplit('/').next().unwrap())).collect();
    for expected in
        [("auth", "SignUp"), ("auth", "ClaimAdmin"), ("auth", "GrantRole"), ("messaging", "CreateConversation")]
    {
        assert!(methods.contains(&expected), "{expected:?}: {methods:?}");
    }
    let times: Vec<_> = newest.iter().map(|event| kit::Timestamp::from(event.create_time.unwrap())).collect();
    assert!(times.is_sorted_by(|one, other| one >= other), "the newest first");
    let mut oldest = all(&admin, ListAuditEventsRequest { oldest_first: true, ..of_ada.clone() }).await;
    oldest.reverse();
    assert_eq!(ids(&oldest), ids(&newest));
    assert_eq!(ids(&newest).into_iter().collect::<BTreeSet<_>>().len(), newest.len(), "each record once");
    // users records profiles, for auth.
    let profiles = ListAuditEventsRequest { service: "users".to_owned(), ..ListAuditEventsRequest::default() };
    let profiles = all(&admin, profiles).await;
    assert!(!profiles.is_empty() && profiles.iter().all(|event| event.service == "users"));

    // Only admins see personal fields.
    let personal = |events: &[AuditEvent]| {
        events.iter().any(|of| !format!("{}{}{}{}", of.address, of.user_agent, of.email, of.handle).is_empty())
    };
    let seen = all(&auditor, of_ada.clone()).await;
    assert_eq!(ids(&seen), ids(&newest));
    assert_eq!([personal(&newest), personal(&seen)], [true, false]);
    assert!(newest.iter().any(|event| event.address == "127.0.0.1" && event.person_id == ada.id()));

    // Each reading is recorded.
    let readings = ListAuditEventsRequest {
        filter: format!("action:ListAuditEvents AND principal = \"{}\"", bob.id()),
        page_size: 100,
        ..ListAuditEventsRequest::default()
    };
    let readings = list(&admin, readings).await.unwrap().audit_events;
    assert!(readings.iter().any(|event| event.code == "OK" && event.target == "auditEvents"), "{readings:?}");

    // What cannot be read is named.
    let wrong = ListAuditEventsRequest { filter: "email = \"a@b.c\"".to_owned(), ..of_ada.clone() };
    assert_eq!(reason(&list(&admin, wrong).await.unwrap_err()), "FILTER_INVALID");
    let token = list(&admin, ListAuditEventsRequest { page_size: 1, ..of_ada.clone() }).await.unwrap().next_page_token;
    let other = ListAuditEventsRequest { page_token: token, ..ListAuditEventsRequest::default() };
    assert_eq!(reason(&list(&admin, other).await.unwrap_err()), "PAGE_TOKEN_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_logs_of_all_services_are_one_list_on_sqlite() {
    audit_logs_of_all_services_are_one_list(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_logs_of_all_services_are_one_list_on_postgres() {
    audit_logs_of_all_services_are_one_list(Store::Postgres).await;
}
