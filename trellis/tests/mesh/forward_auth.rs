//! Forward authentication: proxies ask the gateway whether their clients' requests have a valid access token.

use std::fs;

use bytes::Bytes;
use hyper::HeaderMap;
use kit::jwt::{AccessClaims, AccessKey, PrincipalClaims};
use proto::auth::v1::SignOutRequest;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    harness::{Mesh, Person, Ports, new_id},
    web::{self, Http, Received},
};

const PATH: &str = "/forward-auth";
const PAGE: &str = "https://app.example.org";

async fn mesh(section: &str) -> Mesh {
    let mut mesh = Mesh::new(&[], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    let config = format!(
        "[log]\nformat = \"json\"\n[gateway]\ncors_origins = [{PAGE:?}]\ntrusted_proxies = [\"127.0.0.0/8\"]\n\
         [gateway.forward_auth]\npath = {PATH:?}\n{section}"
    );
    fs::write(&file, config).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    mesh
}

/// The subrequest of nginx's `auth_request` with the settings of docs/gateway.md: GET over HTTP/1.0, without a body.
/// Returns the status and the headers.
async fn nginx(mesh: &Mesh, token: &str) -> (u16, HeaderMap) {
    let authorization = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let request = format!(
        "GET {PATH} HTTP/1.0\r\nHost: trellis\r\nConnection: close\r\n{authorization}x-forwarded-for: 192.0.2.7\r\n\r\n"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", mesh.ports.gateway)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let mut lines = response.split("\r\n\r\n").next().unwrap().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let fields = lines.map(|line| line.split_once(": ").unwrap());
    (status, fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect())
}

async fn ask(mesh: &Mesh, http: Http, method: &str, headers: &[(&str, &str)], body: &'static str) -> Received {
    let port = mesh.ports.gateway;
    let request = web::request(method, port, PATH, headers, Bytes::from_static(body.as_bytes()));
    web::send(port, http, request).await.unwrap()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// The token that auth signs for an account with the role.
fn admin(mesh: &Mesh, person: &Person) -> String {
    let key = AccessKey::from_pkcs8(&super::split::signing_key(&mesh.folder().join("trellis/keys"))).unwrap();
    let now = kit::ClockAndRng::system().now().as_secs();
    let claims = AccessClaims {
        iss: kit::jwt::ISSUER.to_owned(),
        aud: kit::jwt::AUDIENCE.to_owned(),
        sub: person.id().parse().unwrap(),
        principal: PrincipalClaims::User {
            sid: person.tokens.session_id.parse().unwrap(),
            auth_time: now,
            amr: vec!["pwd".to_owned()],
        },
        iat: now,
        exp: now + 600,
        jti: new_id().parse().unwrap(),
        roles: vec!["admin".to_owned(), "on-call".to_owned()],
        scope: String::new(),
    };
    key.sign(&claims).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn proxy_learns_who_sends_a_request() {
    let mut mesh = mesh("").await;
    let ada = mesh.sign_up("ada").await;
    let token = ada.tokens.access_token.clone();
    let (status, headers) = nginx(&mesh, &token).await;
    assert_eq!(status, 200, "{headers:?}");
    let identity = ["x-auth-user", "x-auth-session", "x-auth-roles"].map(|name| text(&headers, name));
    assert_eq!(identity, [ada.id(), &ada.tokens.session_id, "-"]);
    assert_eq!([text(&headers, "cache-control"), text(&headers, "content-length")], ["no-store", "0"]);
    assert!(text(&headers, "vary").contains("authorization") && !headers.contains_key("set-cookie"), "{headers:?}");
    for (token, challenge) in [("", "Bearer"), ("made-up", "Bearer error=\"invalid_token\"")] {
        let (status, headers) = nginx(&mesh, token).await;
        assert_eq!((status, text(&headers, "www-authenticate")), (401, challenge));
        assert_eq!(text(&headers, "cache-control"), "no-store");
        assert!(!headers.keys().any(|name| name.as_str().starts_with("x-auth-")), "{headers:?}");
    }
    // The refresh token, in the cookie or as a bearer, is no access token.
    assert_eq!(nginx(&mesh, &ada.tokens.refresh_token).await.0, 401);
    ada.auth().sign_out(SignOutRequest { refresh_token: ada.tokens.refresh_token.clone() }).await.unwrap();
    assert_eq!(nginx(&mesh, &token).await.0, 401, "the session has ended");

    let metrics = web::get(mesh.ports.admin, "/metrics").await.unwrap();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for (code, count) in [("OK", 1), ("UNAUTHENTICATED", 4)] {
        let label = format!("rpc_method=\"forward_auth\",rpc_response_status_code=\"{code}\"");
        assert!(metrics.contains(&format!("gateway_call_duration_seconds_count{{{label}}} {count}\n")), "{metrics}");
    }
    assert_eq!(mesh.terminate().code(), Some(0));
    let log = mesh.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let asked: Vec<_> = lines.filter(|line| line["fields"]["rpc.method"] == "forward_auth").collect();
    assert_eq!(asked.len(), 5);
    let first = asked[0].to_string();
    assert!(first.contains("192.0.2.7") && first.contains(ada.id()), "{first}");
    assert!(!log.contains(&token) && !log.contains("made-up"), "tokens are not logged");
}

/// A request without a token: its method, headers and body.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

const CASES: [Case; 12] = [
    ("GET", &[], ""),
    ("HEAD", &[], ""),
    ("DELETE", &[], ""),
    ("PROPFIND", &[], ""),
    ("PUT", &[("content-type", "text/plain")], "a body that is not read"),
    ("OPTIONS", &[], ""),
    // A preflight request, which the gateway permits elsewhere.
    ("OPTIONS", &[("origin", PAGE), ("access-control-request-method", "POST")], ""),
    // Protocols that state failures in a successful response.
    ("POST", &[("content-type", "application/grpc"), ("te", "trailers")], "\0\0\0\0\0"),
    ("POST", &[("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")], "\0\0\0\0\0"),
    ("POST", &[("content-type", "application/connect+json")], "\0\0\0\0\u{2}{}"),
    ("POST", &[("content-type", "application/json"), ("connect-protocol-version", "1")], "{}"),
    ("GET", &[("accept", "text/html"), ("x-forwarded-uri", "/livez"), ("x-auth-user", "forged")], ""),
];

/// A proxy takes any successful response for a permission, so none may come from another part of the gateway.
#[tokio::test(flavor = "multi_thread")]
async fn only_an_allowed_request_gets_a_successful_response() {
    let mesh = mesh("").await;
    let ada = mesh.sign_up("ada").await;
    let bearer = format!("Bearer {}", ada.tokens.access_token);
    for (method, headers, body) in CASES {
        for http in [Http::One, Http::Two] {
            let refused = ask(&mesh, http, method, headers, body).await;
            assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"), "{method} {headers:?}");
            let shown = format!("{:?} {}", refused.headers, String::from_utf8_lossy(&refused.body));
            assert!(!shown.contains("forged") && !shown.contains("access-control"), "{shown}");
            let with_token = [headers, &[("authorization", &*bearer)]].concat();
            let allowed = ask(&mesh, http, method, &with_token, body).await;
            assert_eq!((allowed.status, allowed.header("x-auth-user")), (200, ada.id()), "{method} {headers:?}");
            assert!(allowed.body.is_empty());
        }
    }
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
    let upgrade = [&upgrade[..], &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]].concat();
    assert_eq!(ask(&mesh, Http::One, "GET", &upgrade, "").await.status, 401);
    let twice = [("authorization", &*bearer), ("authorization", "Bearer other")];
    assert_eq!(ask(&mesh, Http::One, "GET", &twice, "").await.status, 400);
    for path in ["/forward-auth/", "/Forward-Auth", "/forward%2Dauth", "/forward-auth/x"] {
        assert_eq!(web::get(mesh.ports.gateway, path).await.unwrap().status, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forward_auth_requires_a_role_and_has_a_rate_limit() {
    let mesh = mesh(
        "roles = [\"root\", \"admin\"]\n[gateway.rate_limits.overrides.pages]\nmethods = [\"forward_auth\"]\n\
         limits = [{ requests = 3, period = \"1h\" }]\n",
    )
    .await;
    let ada = mesh.sign_up("ada").await;
    let bearer = format!("Bearer {}", ada.tokens.access_token);
    let refused = ask(&mesh, Http::One, "GET", &[("authorization", &*bearer)], "").await;
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!((refused.status, body["details"][0]["reason"].as_str()), (403, Some("ROLE_REQUIRED")), "{body}");
    assert!(!body.to_string().contains("admin") && !refused.headers.contains_key("x-auth-user"), "{refused:?}");
    let token = admin(&mesh, &ada);
    for _ in 0..3 {
        let (status, headers) = nginx(&mesh, &token).await;
        assert_eq!((status, text(&headers, "x-auth-roles")), (200, "admin,on-call"));
        assert!(headers.contains_key("ratelimit"), "{headers:?}");
    }
    let (status, headers) = nginx(&mesh, &token).await;
    assert_eq!(status, 429);
    assert!(headers.contains_key("retry-after") && !headers.contains_key("x-auth-user"), "{headers:?}");
}
