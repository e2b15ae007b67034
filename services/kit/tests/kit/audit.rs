//! Audited methods: a handler that succeeds writes a record, and refusals are recorded. The method is SignOut of the
//! contract of auth, with handlers of the test.

use std::sync::{Arc, Mutex};

use axum::{Router, extract::Request, http::Response, routing::post};
use kit::{
    audit::{self, AuditRecord, Facts, RefusalLog},
    error,
    health::HealthChecks,
    limits::Limits,
    server::{self, ServiceContext},
    shutdown::Shutdown,
};
use proto::auth::v1::auth_service_server::SERVICE_NAME;
use tokio::net::TcpListener;
use tonic::{Code, body::Body, service::Routes};
use uuid::Uuid;

use crate::{
    mesh::{Header, Mesh},
    wire::Wire,
};

const INTERNAL: &str = "13";

/// Keeps the records of refusals.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Facts>>>);

impl RefusalLog for Kept {
    fn refused(&self, record: AuditRecord) {
        self.0.lock().unwrap().push(record.facts);
    }
}

/// What the handler does, by a header of the request.
async fn handle(request: Request) -> Response<Body> {
    let status = match request.headers()["x-test"].to_str().unwrap() {
        "forgets" => tonic::Status::new(Code::Ok, ""),
        "records" => {
            audit::current().unwrap().recorded();
            tonic::Status::new(Code::Ok, "")
        }
        "changes-nothing" => {
            audit::unchanged();
            tonic::Status::new(Code::Ok, "")
        }
        "refuses" => {
            audit::about(Uuid::from_u128(7), "users/7");
            error::status(Code::Unauthenticated, "BAD_CREDENTIALS", "wrong")
        }
        "has-no-call" => {
            assert!(audit::current().is_none());
            tonic::Status::new(Code::Ok, "")
        }
        "fails" => error::status(Code::Unavailable, "AWAY", "later"),
        other => panic!("{other}"),
    };
    status.into_http()
}

struct Bench {
    mesh: Mesh,
    wire: Wire,
    kept: Kept,
}

impl Bench {
    async fn new() -> Self {
        let (mesh, kept) = (Mesh::new(), Kept::default());
        let context = mesh.context("auth", Limits::default()).with_audit(kept.clone());
        Self::serve(mesh, kept, context, SERVICE_NAME).await
    }

    /// Serves the methods as the service `name`.
    async fn serve(mesh: Mesh, kept: Kept, context: ServiceContext, name: &'static str) -> Self {
        let shutdown = Shutdown::new();
        let paths = ["SignOut", "RevokeAllSessions", "GetJwks"].map(|method| format!("/{SERVICE_NAME}/{method}"));
        let router = paths.iter().fold(Router::new(), |router, path| router.route(path, post(handle)));
        let readiness = server::readiness(&context, HealthChecks::new(), &shutdown);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            server::serve(&context, name, Routes::from(router), &readiness, listener, shutdown).await.unwrap();
        });
        Self { mesh, wire: Wire::connect(address).await, kept }
    }

    /// The gRPC code of a call whose handler does `what`.
    async fn call(&self, method: &str, what: &str, headers: &[Header]) -> String {
        let headers = [&[("x-test", what.to_owned())], headers].concat();
        let (head, _) = self.wire.head(&format!("/{SERVICE_NAME}/{method}"), &headers);
        Wire::read(self.wire.send(head, &[]).await).await.unwrap().grpc.unwrap()
    }

    fn kept(&self) -> Vec<Facts> {
        std::mem::take(&mut self.kept.0.lock().unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn audited_call_without_a_record_fails() {
    let bench = Bench::new().await;
    assert_eq!(bench.call("SignOut", "forgets", &[]).await, INTERNAL);
    assert_eq!(bench.call("SignOut", "records", &[]).await, "0");
    assert_eq!(bench.call("SignOut", "changes-nothing", &[]).await, "0");
    assert_eq!(bench.call("GetJwks", "forgets", &[]).await, "0", "the method has no `audit`");
    assert!(bench.kept().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_attempt_is_recorded_with_its_reason() {
    let bench = Bench::new().await;
    bench.call("SignOut", "refuses", &[]).await;
    bench.call("SignOut", "fails", &[]).await;
    let kept = bench.kept();
    let [refusal] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!((refusal.action.as_str(), refusal.target.as_str()), ("trellis.auth.v1.AuthService/SignOut", "users/7"));
    assert_eq!((refusal.code.as_str(), refusal.reason.as_str()), ("UNAUTHENTICATED", "BAD_CREDENTIALS"));
    assert!(!refusal.trace_id.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn access_denied_to_a_known_caller_is_recorded() {
    let bench = Bench::new().await;
    let token = bench.mesh.service_token("users", "auth", &bench.mesh.clock_rng);
    bench.call("RevokeAllSessions", "records", &[token]).await;
    let kept = bench.kept();
    let [refusal] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!((refusal.principal_kind.as_str(), refusal.principal.as_str()), ("service", "users"));
    assert_eq!(refusal.reason, "SIGN_IN_REQUIRED");
    // A client without a credential identifies no one.
    bench.call("RevokeAllSessions", "records", &[]).await;
    assert!(bench.kept().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn service_with_audited_methods_needs_a_log() {
    let (mesh, shutdown) = (Mesh::new(), Shutdown::new());
    let context = ServiceContext { audit: None, ..mesh.context("auth", Limits::default()) };
    let readiness = server::readiness(&context, HealthChecks::new(), &shutdown);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let routes = Routes::from(Router::new());
    let error = server::serve(&context, SERVICE_NAME, routes, &readiness, listener, shutdown).await.unwrap_err();
    assert!(error.to_string().contains("is audited, and the service has no audit log"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn service_without_a_log_keeps_no_call_for_records() {
    let mesh = Mesh::new();
    let context = ServiceContext { audit: None, ..mesh.context("auth", Limits::default()) };
    // A service with this name has no audited methods.
    let bench = Bench::serve(mesh, Kept::default(), context, "trellis.unaudited.v1.Service").await;
    assert_eq!(bench.call("GetJwks", "has-no-call", &[]).await, "0");
}
