//! Audited calls: methods with the policy `audit`. `kit_data::audit` stores their records, and states the guarantees.
//!
//! The server stack runs each unary handler as the [`current`] call. A store writes the record in the transaction of the
//! change, and takes the caller from the call. The call knows whether a record was committed: in an audited method a
//! handler that succeeds without one, and does not state by [`unchanged`] that it changed nothing, is a defect. In debug
//! builds, such as those of tests, the call then fails; in release builds it is logged and counted.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderValue, Uri, header::USER_AGENT};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::{
    ClockAndRng, Timestamp, context::Context, error, identity::GATEWAY, principal::Principal, reason::RATE_LIMITED,
};

/// The most bytes of a user agent that are stored.
const USER_AGENT_BYTES: usize = 256;

tokio::task_local! {
    /// The call that a task works for.
    static CALL: Arc<RecordedCall>;
}

/// The fields of a record, without personal data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The id of the record.
    pub id: Uuid,
    /// When it happened.
    pub time: Timestamp,
    /// The method, such as `trellis.auth.v1.AuthService/SignIn`, or the name of a task of the service.
    pub action: String,
    /// `anonymous`, the kind of the principal, or `system` for a task of the service.
    pub principal_kind: String,
    /// The id of the user or the name of the service; empty: anonymous.
    pub principal: String,
    /// The id of the session; empty: none.
    pub session: String,
    /// The service of the mesh that sent the call; empty: none.
    pub peer: String,
    /// The resource, such as `users/U/sessions/S`; empty: unknown.
    pub target: String,
    /// The gRPC code of the result: `OK`, `PERMISSION_DENIED`.
    pub code: String,
    /// The reason of a refusal, from `ErrorInfo`.
    pub reason: String,
    /// How many equal refusals the record stands for; otherwise 1.
    pub calls: i64,
    /// The id of the trace, which the logs of all processes have too.
    pub trace_id: String,
    /// The person whose data [`Personal`] is.
    pub person: Option<Uuid>,
}

/// Personal data of a record. It is stored encrypted, under the key of the person.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Personal {
    /// The client's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The client's `user-agent`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// An e-mail address of the person.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
    /// The handle of the person.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub handle: String,
}

impl Personal {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Personal(***)")
    }
}

/// A record before it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// All fields but the personal ones.
    pub facts: Facts,
    /// Personal data.
    pub personal: Personal,
}

/// What a store adds to the record of a call: the resource that the transaction changes.
#[derive(Debug, Clone, Default)]
pub struct AuditEntry {
    target: String,
    person: Option<Uuid>,
    session: Option<Uuid>,
    email: String,
    handle: String,
    refusal: Option<(&'static str, &'static str)>,
}

impl AuditEntry {
    /// A change of the resource `target`, such as `conversations/C/members/U`.
    pub fn new(target: impl Into<String>) -> Self {
        Self { target: target.into(), ..Self::default() }
    }

    /// The person whom the record is about. Of an anonymous call it is also the principal: the call proved who it is.
    #[must_use]
    pub fn person(self, person: Uuid) -> Self {
        Self { person: Some(person), ..self }
    }

    /// The session that an anonymous call has opened or ended.
    #[must_use]
    pub fn session(self, session: Uuid) -> Self {
        Self { session: Some(session), ..self }
    }

    /// An e-mail address of the person.
    #[must_use]
    pub fn email(self, email: impl Into<String>) -> Self {
        Self { email: email.into(), ..self }
    }

    /// The handle of the person.
    #[must_use]
    pub fn handle(self, handle: impl Into<String>) -> Self {
        Self { handle: handle.into(), ..self }
    }

    /// The call will be refused with this code and reason, and the transaction changes something because of it. The caller
    /// has not proved who they are.
    #[must_use]
    pub fn refused(self, code: &'static str, reason: &'static str) -> Self {
        Self { refusal: Some((code, reason)), ..self }
    }

    /// The record of a task of the service that runs without a call.
    pub fn by_system(self, action: &str, clock_rng: &ClockAndRng) -> AuditRecord {
        let mut record = AuditRecord { facts: facts(action, clock_rng), personal: Personal::default() };
        record.facts.principal_kind = "system".to_owned();
        self.apply(record)
    }

    fn apply(self, mut record: AuditRecord) -> AuditRecord {
        let Self { target, person, session, email, handle, refusal } = self;
        let facts = &mut record.facts;
        facts.target = target;
        if let Some((code, reason)) = refusal {
            (facts.code, facts.reason) = (code.to_owned(), reason.to_owned());
        } else if let (Some(person), "anonymous") = (person, facts.principal_kind.as_str()) {
            (facts.principal_kind, facts.principal) = ("user".to_owned(), person.to_string());
            facts.session = session.map(|id| id.to_string()).unwrap_or_default();
        }
        facts.person = facts.person.or(person);
        // The caller's key is not the key of another person.
        if facts.person == person || person.is_none() {
            (record.personal.email, record.personal.handle) = (email, handle);
        }
        record
    }
}

fn facts(action: &str, clock_rng: &ClockAndRng) -> Facts {
    Facts {
        id: clock_rng.new_id(),
        time: clock_rng.now(),
        action: action.to_owned(),
        principal_kind: "anonymous".to_owned(),
        principal: String::new(),
        session: String::new(),
        peer: String::new(),
        target: String::new(),
        code: "OK".to_owned(),
        reason: String::new(),
        calls: 1,
        trace_id: String::new(),
        person: None,
    }
}

/// Stores the refusals of audited calls.
pub trait RefusalLog: Send + Sync {
    /// Takes the record of a refusal. It does not wait.
    fn refused(&self, record: AuditRecord);
}

/// A call in progress, as records name it. Most calls write none, so their fields are not text yet.
pub struct RecordedCall {
    /// Its path is the method.
    uri: Uri,
    context: Context,
    user_agent: Option<HeaderValue>,
    clock_rng: ClockAndRng,
    progress: Mutex<CallProgress>,
}

/// What the handler has done so far.
#[derive(Default)]
struct CallProgress {
    /// A record was committed, or nothing was changed.
    is_accounted: bool,
    /// The person and the resource that a refused attempt is about.
    about: AuditEntry,
}

impl RecordedCall {
    /// The call of the method at `uri`.
    pub(crate) fn new(uri: Uri, context: Context, headers: &HeaderMap, clock_rng: ClockAndRng) -> Self {
        // The gateway passes on the user agent of clients. Other services send their own.
        let is_of_client = context.caller.peer.as_ref().is_none_or(|peer| peer.name() == GATEWAY);
        let user_agent = headers.get(USER_AGENT).filter(|_| is_of_client).cloned();
        Self { uri, context, user_agent, clock_rng, progress: Mutex::default() }
    }

    /// Runs a handler as this call.
    pub(crate) async fn run<F: Future>(self: Arc<Self>, work: F) -> F::Output {
        CALL.scope(self, work).await
    }

    /// The record of a change that succeeds.
    pub fn record(&self, entry: AuditEntry) -> AuditRecord {
        entry.apply(self.blank())
    }

    /// Notes that a record was committed.
    pub fn recorded(&self) {
        self.progress.lock().is_accounted = true;
    }

    /// The method.
    pub(crate) fn action(&self) -> &str {
        self.uri.path().trim_start_matches('/')
    }

    /// Whether a record was committed, or nothing was changed.
    pub(crate) fn is_accounted(&self) -> bool {
        self.progress.lock().is_accounted
    }

    /// The record of a refusal that is worth one: the caller has not proved who they are, may not do it, or tries too
    /// often. `None`: another error, or the handler has written a record already.
    pub(crate) fn refusal(&self, status: &Status) -> Option<AuditRecord> {
        let reason = error::reason(status).unwrap_or_default();
        let code = match status.code() {
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted if reason == RATE_LIMITED => "RESOURCE_EXHAUSTED",
            _ => return None,
        };
        let progress = self.progress.lock();
        if progress.is_accounted {
            return None;
        }
        let AuditEntry { target, person, .. } = progress.about.clone();
        let mut record = self.blank();
        (record.facts.code, record.facts.reason, record.facts.target) = (code.to_owned(), reason, target);
        record.facts.person = record.facts.person.or(person);
        Some(record)
    }

    fn blank(&self) -> AuditRecord {
        let Context { caller, trace, .. } = &self.context;
        let mut facts = facts(self.action(), &self.clock_rng);
        facts.trace_id = trace.as_ref().map(|trace| trace.trace_id().to_string()).unwrap_or_default();
        facts.peer = caller.peer.as_ref().map(ToString::to_string).unwrap_or_default();
        if let Some(principal) = &caller.principal {
            facts.principal_kind = principal.kind().to_owned();
            match principal {
                Principal::User(session) => {
                    (facts.principal, facts.session) = (session.user.to_string(), session.id.to_string());
                    facts.person = Some(session.user);
                }
                Principal::Service(service) => facts.principal = service.to_string(),
                Principal::External(user) => facts.principal = format!("{}/{}", user.issuer, user.subject),
            }
        }
        let address = caller.address.map(|address| address.to_string()).unwrap_or_default();
        let user_agent = self.user_agent.as_ref().map(|text| bounded(&String::from_utf8_lossy(text.as_bytes())));
        AuditRecord {
            facts,
            personal: Personal { address, user_agent: user_agent.unwrap_or_default(), ..Personal::default() },
        }
    }
}

/// The call that the current task works for. `None`: a task of the service, or a stream.
pub fn current() -> Option<Arc<RecordedCall>> {
    CALL.try_with(Arc::clone).ok()
}

/// States that the current call has changed nothing that is audited: it needs no record, whatever its result is.
pub fn unchanged() {
    if let Some(call) = current() {
        call.recorded();
    }
}

/// States what the current call is about, in case it is refused before a store changes something.
pub fn about(person: Uuid, target: impl Into<String>) {
    if let Some(call) = current() {
        call.progress.lock().about = AuditEntry::new(target).person(person);
    }
}

/// At most [`USER_AGENT_BYTES`], cut between characters.
fn bounded(text: &str) -> String {
    text.get(..text.floor_char_boundary(USER_AGENT_BYTES)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        context::Caller,
        principal::{MeshService, tests::session},
    };

    fn call(caller: Caller) -> Arc<RecordedCall> {
        let headers = HeaderMap::from_iter([(USER_AGENT, "Browser/1".parse().unwrap())]);
        let context = Context { caller, ..Context::default() };
        Arc::new(RecordedCall::new(Uri::from_static("/a.B/C"), context, &headers, ClockAndRng::system()))
    }

    fn user() -> Caller {
        let peer = Some(MeshService::new(GATEWAY));
        Caller { principal: Some(Principal::User(session())), peer, address: "192.0.2.1".parse().ok(), bearer: None }
    }

    #[test]
    fn record_names_the_principal_and_its_client() {
        let record = call(user()).record(AuditEntry::new("users/1").email("a@example.org"));
        let Facts { action, principal_kind, principal, peer, person, code, .. } = record.facts;
        let own = session();
        assert_eq!((action.as_str(), principal_kind.as_str(), peer.as_str()), ("a.B/C", "user", "gateway"));
        assert_eq!((principal, person, code.as_str()), (own.user.to_string(), Some(own.user), "OK"));
        let Personal { address, user_agent, email, .. } = record.personal;
        assert_eq!([address, user_agent, email], ["192.0.2.1", "Browser/1", "a@example.org"]);
    }

    #[test]
    fn anonymous_call_is_of_the_person_that_it_proved() {
        let (person, opened) = (Uuid::from_u128(7), Uuid::from_u128(8));
        let record = call(Caller::default()).record(AuditEntry::new("users/7").person(person).session(opened));
        assert_eq!((record.facts.principal_kind.as_str(), record.facts.person), ("user", Some(person)));
        assert_eq!((record.facts.principal, record.facts.session), (person.to_string(), opened.to_string()));
        // Data of another person is not stored under the caller's key.
        let other = call(user()).record(AuditEntry::new("users/7").person(person).email("b@example.org"));
        assert_eq!((other.facts.person, other.personal.email), (Some(session().user), String::new()));
    }

    #[tokio::test]
    async fn refusal_is_about_the_person_that_the_handler_named() {
        let (call, person) = (call(Caller::default()), Uuid::from_u128(7));
        Arc::clone(&call).run(async { about(person, "users/7") }).await;
        let refused = |code, reason| call.refusal(&error::status(code, reason, "")).map(|record| record.facts);
        let facts = refused(Code::Unauthenticated, "BAD_CREDENTIALS").unwrap();
        assert_eq!((facts.code.as_str(), facts.reason.as_str()), ("UNAUTHENTICATED", "BAD_CREDENTIALS"));
        assert_eq!((facts.target.as_str(), facts.person), ("users/7", Some(person)));
        assert_eq!(facts.principal_kind, "anonymous", "it has not proved to be that person");
        assert_eq!(refused(Code::NotFound, "NO"), None);
        assert_eq!(refused(Code::ResourceExhausted, "TOO_MANY"), None);
        assert!(refused(Code::ResourceExhausted, RATE_LIMITED).is_some());
        Arc::clone(&call).run(async { unchanged() }).await;
        assert_eq!(refused(Code::Unauthenticated, "BAD_CREDENTIALS"), None);
    }
}
