//! Observability of calls: traces, the access log and metrics; and the secrets that none of them may contain.

use proto::{
    auth::v1::{GetJwksRequest, SignInRequest},
    messaging::v1::{CreateConversationRequest, SendMessageRequest},
};

use super::{
    collector::{Collector, Span},
    harness::{Mesh, PASSWORD, Store, new_id},
    web::{self, BINARY, Http},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const BROWSER: &str = "b7ad6b7169203331";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn traced_from_browser_to_statement(start: impl AsyncFn(&[(&str, &str)]) -> Mesh) {
    let collector = Collector::start().await;
    let mut mesh = start(&[("TRACE__ENDPOINT", &collector.address)]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let port = mesh.ports.gateway;
    let bearer = format!("Bearer {}", ada.tokens.access_token);
    // As the SDK sends it: the page does not decide what is exported.
    let traceparent = format!("00-{TRACE}-{BROWSER}-00");
    let headers = [("authorization", bearer.as_str()), ("traceparent", &traceparent)];
    let new = CreateConversationRequest {
        request_id: new_id(),
        member_ids: vec![bob.id().to_owned()],
        title: "a secret title".to_owned(),
    };
    let path = "/trellis.messaging.v1.MessagingService/CreateConversation";
    let response = web::send(port, Http::One, web::call(port, path, BINARY, &headers, &new)).await.unwrap();
    assert_eq!(response.grpc_status(), "0");
    // The process exports the last spans while it stops.
    assert_eq!(mesh.terminate().code(), Some(0));

    let spans: Vec<Span> = collector.spans().into_iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
    let child_of = |parent: &str, name: &str| -> Span {
        let found = spans.iter().find(|span| hex(&span.parent_span_id) == parent && span.name == name);
        found.unwrap_or_else(|| panic!("no {name} below {parent}: {spans:#?}")).clone()
    };
    let gateway = child_of(BROWSER, path);
    let messaging = child_of(&hex(&gateway.span_id), path);
    let users = child_of(&hex(&messaging.span_id), "/trellis.users.v1.UsersService/BatchGetUsers");
    for (span, statement) in [(&messaging, "INSERT INTO conversations"), (&users, "FROM users")] {
        let texts = span.events.iter().flat_map(|event| &event.attributes).filter_map(|a| a.value.clone());
        assert!(texts.into_iter().any(|value| value.text.contains(statement)), "{statement}: {span:#?}");
    }
    let exported = collector.bytes();
    for secret in [PASSWORD, "a secret title", &ada.tokens.access_token, &ada.tokens.refresh_token, "ada@example.org"] {
        assert!(!exported.windows(secret.len()).any(|part| part == secret.as_bytes()), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn call_is_traced_from_browser_to_statement_on_sqlite() {
    traced_from_browser_to_statement(async |settings| Mesh::start(Store::Sqlite, settings).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn call_is_traced_from_browser_to_statement_on_postgres() {
    traced_from_browser_to_statement(async |settings| Mesh::start(Store::Postgres, settings).await).await;
}

/// On one core the process has one thread for all work (`trellis/src/runtime.rs`).
#[tokio::test(flavor = "multi_thread")]
async fn call_is_traced_from_browser_to_statement_on_one_core() {
    traced_from_browser_to_statement(async |settings| Mesh::start_on_one_core(Store::Sqlite, settings).await).await;
}

/// How many spans are exported for a call that an untrusted client marks as sampled.
async fn exported(settings: &[(&str, &str)]) -> usize {
    let collector = Collector::start().await;
    let endpoint = [("TRACE__ENDPOINT", collector.address.as_str()), ("TRACE__RATIO", "0")];
    let mut mesh = Mesh::start(Store::Sqlite, &[&endpoint, settings].concat()).await;
    let port = mesh.ports.gateway;
    let headers = [("traceparent", &*format!("00-{TRACE}-{BROWSER}-01"))];
    let path = "/trellis.auth.v1.AuthService/GetJwks";
    let call = web::call(port, path, BINARY, &headers, &GetJwksRequest {});
    assert_eq!(web::send(port, Http::One, call).await.unwrap().grpc_status(), "0");
    assert_eq!(mesh.terminate().code(), Some(0));
    let spans = collector.spans();
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
    spans.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn sampled_flag_of_an_untrusted_caller_is_ignored() {
    assert_eq!(exported(&[]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn trusted_sampled_flag_decides_what_is_exported() {
    // One span in the gateway, and one in the service.
    assert_eq!(exported(&[("TRACE__OUTSIDE", "caller")]).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_one_log_line_and_no_line_contains_a_secret() {
    // Every log level is on.
    let mut mesh = Mesh::start(Store::Sqlite, &[("LOG__LEVEL", "trace"), ("LOG__FORMAT", "json")]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let port = mesh.ports.gateway;
    let new = CreateConversationRequest {
        request_id: new_id(),
        member_ids: vec![bob.id().to_owned()],
        title: "a secret title".to_owned(),
    };
    let opened = ada.messaging().create_conversation(ada.request(new)).await.unwrap().into_inner();
    let message = SendMessageRequest {
        conversation_id: opened.conversation.unwrap().conversation_id,
        client_message_id: new_id(),
        text: "a secret text".to_owned(),
    };
    ada.messaging().send_message(ada.request(message)).await.unwrap();
    let path = "/trellis.auth.v1.AuthService/SignIn";
    let sign_in =
        SignInRequest { email: "ada@example.org".to_owned(), password: PASSWORD.to_owned(), refresh_delivery: 1 };
    let traceparent = format!("00-{TRACE}-{BROWSER}-00");
    let call = web::call(port, path, BINARY, &[("traceparent", &traceparent)], &sign_in);
    let response = web::send(port, Http::One, call).await.unwrap();
    let cookie = response.header("set-cookie").split([';', '=']).nth(1).unwrap().to_owned();
    assert_eq!(mesh.terminate().code(), Some(0));

    let log = mesh.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let access: Vec<_> = lines.filter(|line| line["target"] == "access" && line["level"] == "INFO").collect();
    let of_call: Vec<_> = access.iter().filter(|line| line["fields"]["trace.id"] == TRACE).collect();
    assert_eq!(of_call.len(), 1, "{of_call:#?}");
    let fields = &of_call[0]["fields"];
    assert_eq!((&fields["rpc.method"], &fields["rpc.code"]), (&path.into(), &"OK".into()));
    assert!(fields["duration_ms"].as_f64().unwrap() > 0.0);
    let secrets = [
        PASSWORD,
        "a secret title",
        "a secret text",
        "ada@example.org",
        &ada.tokens.access_token,
        &ada.tokens.refresh_token,
        &cookie,
    ];
    for secret in secrets {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(secret)).take(1).collect();
        assert!(lines.is_empty(), "{secret} is logged: {lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_method_and_status() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    mesh.sign_up("ada").await;
    let metrics = web::get(mesh.ports.admin, "/metrics").await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let method = "/trellis.auth.v1.AuthService/SignUp";
    for histogram in ["gateway_call_duration_seconds", "rpc_server_call_duration_seconds"] {
        let labels = format!(r#"rpc_method="{method}",rpc_response_status_code="OK""#);
        let line =
            metrics.lines().find(|line| line.starts_with(&format!("{histogram}_count")) && line.contains(&labels));
        assert!(line.is_some_and(|line| line.ends_with(" 1")), "{histogram}: {metrics}");
    }
    assert!(metrics.contains(r#"db_client_connection_count{pool="users write""#), "{metrics}");
    for line in [
        r#"auth_hashes{state="running",queue="unknown"} 0"#,
        r#"auth_hashes{state="waiting",queue="unknown"} 0"#,
        // The one password of the sign-up.
        "auth_hash_wait_duration_seconds_count 1",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line}: {metrics}");
    }
}

/// The parts of one process share a clock.
#[tokio::test(flavor = "multi_thread")]
async fn readiness_shows_the_skew_of_each_peer() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let shown = async || {
        let response = web::get(mesh.ports.admin, "/readyz").await.unwrap();
        let parts: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(parts["auth"]["clocks"], true, "{parts}");
        parts["auth"]["clock_skew_ms"]["users"].as_i64()
    };
    let mut skew = shown().await;
    for _ in 0..200 {
        if skew.is_some() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        skew = shown().await;
    }
    let skew = skew.expect("auth measures the clock of users");
    assert!(skew.abs() < 5_000, "{skew} ms");
}
