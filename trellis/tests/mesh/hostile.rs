//! Invalid and hostile input. For every method of the contracts: a refusal that names the field, nothing stored, and no
//! internal error. Calls go directly to the services, which trust no caller, because the gateway's limits would hide
//! the refusals.

use kit::jwt::{AccessClaims, AccessKey, PrincipalClaims};
use prost_reflect::MethodDescriptor;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{
    grpc::Raw,
    harness::{Mesh, Person, Store, new_id, reason},
    samples, web,
};

/// A mesh with one user, and a connection to each service.
struct Target {
    mesh: Mesh,
    ada: Person,
    services: Vec<(String, Raw)>,
}

impl Target {
    async fn start(store: Store) -> Self {
        // Without mails of the sign-up, which a job sends meanwhile.
        let mesh = Mesh::start(store, &[("AUTH__MAIL__MAILBOX", "off")]).await;
        // An admin, so that no method refuses the caller before the message is read.
        let ada = mesh.make_admin(&mesh.sign_up("ada").await).await;
        let services = mesh.ports.connections().await;
        Self { mesh, ada, services }
    }

    fn service(&self, path: &str) -> &Raw {
        &self.services.iter().find(|(prefix, _)| path.starts_with(prefix)).unwrap().1
    }

    /// Calls a method as Ada.
    async fn call(&self, path: &str, body: Vec<u8>) -> tonic::Status {
        let bearer = format!("Bearer {}", self.ada.tokens.access_token);
        self.service(path).send(path, &[("authorization", &bearer)], body).await
    }

    /// The log contains no internal error.
    fn assert_sound(&self) {
        for bad in ["panicked", "unexpected error"] {
            assert!(!self.mesh.log().contains(bad), "{}", self.mesh.log());
        }
    }
}

/// The methods that clients may call. Internal ones are refused before their body is read.
fn open_methods() -> Vec<(String, MethodDescriptor)> {
    let policies = kit::policy::Table::from_descriptors(proto::DESCRIPTORS).unwrap();
    let internal = |path: &str| matches!(policies.get(path).unwrap().access, kit::policy::Access::Internal { .. });
    samples::methods(&samples::contracts()).into_iter().filter(|(path, _)| !internal(path)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn field_rules_are_enforced_and_violations_name_the_field() {
    let target = Target::start(Store::Sqlite).await;
    let rows = rows(&target).await;
    let mut tried = 0;
    for (path, method) in open_methods() {
        for (field, request) in samples::wrong(&method.input()) {
            let status = target.call(&path, web::frame(&samples::bytes(&request)).to_vec()).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{path} {field}: {status:?}");
            let details = status.get_error_details();
            let named = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
            let is_it = |name: &str| name == field || name.starts_with(&format!("{field}["));
            assert!(named.iter().any(|violation| is_it(&violation.field)), "{path} {field}: {named:?}");
            tried += 1;
        }
    }
    assert!(tried > 100, "{tried}");
    assert_eq!(self::rows(&target).await, rows, "something was stored");
    target.assert_sound();
}

/// The number of rows in each table.
async fn rows(target: &Target) -> Vec<(String, i64)> {
    let mut counts = Vec::new();
    for file in proto::SERVICES {
        let path = target.mesh.folder().join(format!("trellis/{file}.db"));
        let pool = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
        let tables: Vec<(String,)> =
            sqlx::query_as("SELECT name FROM sqlite_master WHERE type = 'table'").fetch_all(&pool).await.unwrap();
        // The worker empties the jobs.
        for (table,) in tables.into_iter().filter(|(table,)| table != "jobs") {
            let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            let (count,): (i64,) = sqlx::query_as(count).fetch_one(&pool).await.unwrap();
            counts.push((format!("{file}.{table}"), count));
        }
        pool.close().await;
    }
    counts
}

/// The methods without fields that send a mail, which the server of this test does not.
const NEEDS_MAIL: [&str; 1] = ["/trellis.auth.v1.AuthService/RequestEmailVerification"];

#[tokio::test(flavor = "multi_thread")]
async fn bodies_without_a_valid_message_are_refused() {
    let target = Target::start(Store::Sqlite).await;
    let bodies: [(&str, Vec<u8>, &[Code]); 7] = [
        ("no protobuf", web::frame(&[0xff; 32]).to_vec(), &[Code::InvalidArgument]),
        // Field 1 as text, with bytes that are not UTF-8.
        ("not UTF-8", web::frame(&[0x0a, 2, 0xc3, 0x28]).to_vec(), &[Code::InvalidArgument]),
        ("a truncated message", web::frame(&[0x0a, 200]).to_vec(), &[Code::InvalidArgument]),
        ("a frame shorter than its length", vec![0, 0, 0, 1, 0, 1, 2, 3], &[Code::Internal, Code::InvalidArgument]),
        ("a frame with a length of 4 GiB", vec![0, 0xff, 0xff, 0xff, 0xff, 1], &[Code::OutOfRange]),
        ("compressed without an encoding", vec![1, 0, 0, 0, 0], &[Code::Internal, Code::InvalidArgument]),
        ("no frame at all", Vec::new(), &[Code::Internal, Code::InvalidArgument, Code::Unimplemented]),
    ];
    for (path, method) in open_methods() {
        // A message without fields accepts any well-formed input.
        let takes_nothing = method.input().fields().len() == 0;
        for (what, body, expected) in &bodies {
            let status = target.call(&path, body.clone()).await;
            let result = (status.code(), reason(&status));
            let called = match NEEDS_MAIL.contains(&path.as_str()) {
                true => result == (Code::FailedPrecondition, "MAIL_DISABLED".to_owned()),
                false => status.code() == Code::Ok,
            };
            let fine = expected.contains(&status.code()) || (takes_nothing && called);
            assert!(fine, "{path}, {what}: {status:?}");
        }
    }
    target.assert_sound();
}

async fn strange_texts_break_nothing(store: Store) {
    let target = Target::start(store).await;
    let texts = [
        "'; DROP TABLE users; --",
        "%s%n$(id)`id`",
        "\u{202e}txet desrever",
        "\u{feff}\u{200b}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        "\u{0}",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "Lw",
        "L3tbfQ",
        "LwA",
    ];
    for (path, method) in open_methods() {
        for text in texts {
            let Some(request) = samples::with_text(&method.input(), text, &[]) else { continue };
            let status = target.call(&path, web::frame(&samples::bytes(&request)).to_vec()).await;
            let ours = [Code::Internal, Code::Unknown, Code::Unavailable, Code::DataLoss, Code::DeadlineExceeded];
            assert!(!ours.contains(&status.code()), "{path} {text:?}: {status:?}");
        }
    }
    target.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_texts_cause_no_internal_error_on_sqlite() {
    strange_texts_break_nothing(Store::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_texts_cause_no_internal_error_on_postgres() {
    strange_texts_break_nothing(Store::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_genuine_token_signs_in() {
    let target = Target::start(Store::Sqlite).await;
    let policies = kit::policy::Table::from_descriptors(proto::DESCRIPTORS).unwrap();
    let tokens = false_tokens(&target);
    for (path, method) in open_methods() {
        if policies.get(&path).unwrap().access == kit::policy::Access::Public {
            continue;
        }
        let body = web::frame(&samples::bytes(&samples::right(&method.input(), &[]))).to_vec();
        for (what, header, expected) in &tokens {
            let headers: Vec<_> = header.iter().map(|value| ("authorization", value.as_str())).collect();
            let status = target.service(&path).send(&path, &headers, body.clone()).await;
            assert_eq!((status.code(), reason(&status).as_str()), (Code::Unauthenticated, *expected), "{path}, {what}");
        }
    }
    target.assert_sound();
}

/// Invalid credentials, with the reason that each gets.
fn false_tokens(target: &Target) -> Vec<(&'static str, Option<String>, &'static str)> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
    let genuine = &target.ada.tokens.access_token;
    let [header, claims, signature] = genuine.split('.').collect::<Vec<_>>()[..] else { panic!("{genuine}") };
    let own_key = super::split::signing_key(&target.mesh.folder().join("trellis/keys"));
    let now = kit::ClockAndRng::system().now().as_secs();
    let signed = |pkcs8: &[u8], change: fn(&mut AccessClaims, i64)| {
        let mut claims = AccessClaims {
            iss: kit::jwt::ISSUER.to_owned(),
            aud: kit::jwt::AUDIENCE.to_owned(),
            sub: target.ada.id().parse().unwrap(),
            principal: PrincipalClaims::User {
                sid: target.ada.tokens.session_id.parse().unwrap(),
                auth_time: now,
                amr: vec!["pwd".to_owned()],
            },
            iat: now,
            exp: now + 600,
            jti: new_id().parse().unwrap(),
            roles: Vec::new(),
            scope: String::new(),
        };
        change(&mut claims, now);
        format!("Bearer {}", AccessKey::from_pkcs8(pkcs8).unwrap().sign(&claims).unwrap())
    };
    let none = BASE64URL.encode(r#"{"alg":"none","typ":"at+jwt"}"#);
    let bearer = |token: String| Some(format!("Bearer {token}"));
    vec![
        ("no token", None, "SIGN_IN_REQUIRED"),
        ("no bearer", Some("Basic YTpi".to_owned()), "TOKEN_INVALID"),
        ("a scheme without a token", Some("Bearer".to_owned()), "TOKEN_INVALID"),
        ("garbage", bearer("garbage".to_owned()), "TOKEN_INVALID"),
        ("a refresh token", bearer(target.ada.tokens.refresh_token.clone()), "TOKEN_INVALID"),
        ("no signature", bearer(format!("{header}.{claims}.")), "TOKEN_INVALID"),
        ("no algorithm", bearer(format!("{none}.{claims}.")), "TOKEN_INVALID"),
        (
            "another signature",
            bearer(format!("{header}.{claims}.{}", signature.chars().rev().collect::<String>())),
            "TOKEN_INVALID",
        ),
        ("another key", Some(signed(&AccessKey::generate(), |_, _| {})), "TOKEN_INVALID"),
        ("another issuer", Some(signed(&own_key, |claims, _| claims.iss = "evil".to_owned())), "TOKEN_INVALID"),
        ("another audience", Some(signed(&own_key, |claims, _| claims.aud = "other".to_owned())), "TOKEN_INVALID"),
        ("too long a lifetime", Some(signed(&own_key, |claims, now| claims.exp = now + 3_601)), "TOKEN_INVALID"),
        ("issued in the future", Some(signed(&own_key, |claims, now| claims.iat = now + 90)), "TOKEN_INVALID"),
        ("expired", Some(signed(&own_key, |claims, now| claims.exp = now - 1)), "TOKEN_EXPIRED"),
    ]
}

/// A newer server may return values that today's rules forbid, and fields that today's contract does not have: only
/// requests are validated.
#[tokio::test(flavor = "multi_thread")]
async fn response_of_a_newer_server_is_readable() {
    use proto::users::v1::{GetUserRequest, GetUserResponse, User, users_service_client::UsersServiceClient};
    let user = User { handle: "NOT a handle ".repeat(9), display_name: "x".repeat(999), ..User::default() };
    let mut response = prost::Message::encode_to_vec(&GetUserResponse { user: Some(user.clone()) });
    // Field 900, a string.
    response.extend([0xa2, 0x38, 3, b'n', b'e', b'w']);
    let address = super::external_upstream::serve_message(response).await;
    let channel = tonic::transport::Channel::from_shared(address).unwrap().connect_lazy();
    let mut client = UsersServiceClient::new(channel);
    let read = client.get_user(GetUserRequest::default()).await.unwrap().into_inner();
    assert_eq!(read.user, Some(user));
}

/// Authentication schemes are case-insensitive (RFC 9110, section 11.1), at the gateway and at a service.
#[tokio::test(flavor = "multi_thread")]
async fn authentication_scheme_is_case_insensitive() {
    let target = Target::start(Store::Sqlite).await;
    let path = "/trellis.auth.v1.AuthService/ListSessions";
    let gateway = Raw::connect(target.mesh.ports.gateway).await;
    for connection in [target.service(path), &gateway] {
        for (scheme, expected) in
            [("Bearer", Code::Ok), ("bearer", Code::Ok), ("BEARER", Code::Ok), ("basic", Code::Unauthenticated)]
        {
            let header = format!("{scheme} {}", target.ada.tokens.access_token);
            let status = connection.send(path, &[("authorization", &header)], web::frame(&[]).to_vec()).await;
            assert_eq!(status.code(), expected, "{scheme}: {status:?}");
        }
    }
}
