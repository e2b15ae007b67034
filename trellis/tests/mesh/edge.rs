//! The gateway's behavior towards clients.

use bytes::Bytes;
use proto::{
    auth::v1::{GetJwksRequest, GetJwksResponse, RefreshTokenRequest, SignInRequest, SignInResponse},
    messaging::v1::{CreateConversationRequest, SubscribeRequest, SubscribeResponse},
    users::v1::{CreateUserRequest, GetUserRequest, users_service_client::UsersServiceClient},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use super::{
    harness::{Mesh, PASSWORD, Store, bearing, new_id, reason},
    web::{self, BINARY, Http, TEXT},
};

const JWKS: &str = "/trellis.auth.v1.AuthService/GetJwks";
const SIGN_UP: &str = "/trellis.auth.v1.AuthService/SignUp";
const SIGN_IN: &str = "/trellis.auth.v1.AuthService/SignIn";
const REFRESH: &str = "/trellis.auth.v1.AuthService/RefreshToken";

#[tokio::test(flavor = "multi_thread")]
async fn method_is_reachable_over_every_protocol() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let port = mesh.ports.gateway;
    for http in [Http::One, Http::Two] {
        for content_type in [BINARY, TEXT] {
            let call = web::call(port, JWKS, content_type, &[], &GetJwksRequest {});
            let response = web::send(port, http, call).await.unwrap();
            assert_eq!((response.status, response.header("content-type")), (200, content_type));
            let protected = ["cache-control", "x-content-type-options"].map(|name| response.header(name));
            assert_eq!((protected, response.header("strict-transport-security")), (["no-store", "nosniff"], ""));
            assert_eq!(response.grpc_status(), "0");
            assert_eq!(response.message::<GetJwksResponse>().keys.len(), 1);
        }
    }
    // HTTP/1.1 would lose the trailers of plain gRPC.
    let refused = web::send(port, Http::One, web::call(port, JWKS, "application/grpc", &[], &GetJwksRequest {}));
    assert_eq!(refused.await.unwrap().grpc_status(), (Code::Unimplemented as i32).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_messages_are_forwarded_as_they_arrive() {
    use http_body_util::BodyExt as _;
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let port = mesh.ports.gateway;
    let bearer = format!("Bearer {}", ada.tokens.access_token);
    let path = "/trellis.messaging.v1.MessagingService/Subscribe";
    let call = web::call(port, path, BINARY, &[("authorization", &bearer)], &SubscribeRequest::default());
    let mut stream = web::begin(port, Http::One, call).await.unwrap().into_body();
    let caught_up = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    let event = <SubscribeResponse as prost::Message>::decode(&caught_up[5..]).unwrap();
    assert!(event.event.is_some());
    let new = CreateConversationRequest {
        request_id: new_id(),
        member_ids: vec![ada.id().to_owned()],
        title: "tea".to_owned(),
    };
    bob.messaging().create_conversation(bob.request(new)).await.unwrap();
    let announced = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(announced.windows(3).any(|part| part == b"tea"));
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_and_unknown_methods_are_unreachable() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let ada = mesh.sign_up("ada").await;
    let new =
        CreateUserRequest { user_id: new_id(), handle: "eve".to_owned(), display_name: "Eve".to_owned(), attempt: 0 };
    let refused = ada.users().create_user(ada.request(new.clone())).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unimplemented, "UNKNOWN_METHOD"));
    // Directly to the service, with a forged identity.
    let mut direct = UsersServiceClient::new(mesh.channel(mesh.ports.users).await);
    let mut made_up = bearing(new, &ada.tokens.access_token);
    made_up.metadata_mut().insert("x-trellis-service-token", "made-up".parse().unwrap());
    let refused = direct.create_user(made_up).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "SERVICE_TOKEN_INVALID"));
    for path in ["/trellis.users.v1.UsersService/Nothing", "/a.B/C"] {
        let call = web::call(mesh.ports.gateway, path, BINARY, &[], &GetJwksRequest {});
        let response = web::send(mesh.ports.gateway, Http::Two, call).await.unwrap();
        assert_eq!(response.grpc_status(), (Code::Unimplemented as i32).to_string(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_header_is_refused_by_gateway_and_services() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let repeated = [
        ("grpc-timeout", ["5S", "10S"]),
        ("grpc-encoding", ["identity", "identity"]),
        ("authorization", ["Bearer one", "Bearer two"]),
        ("origin", ["https://one.example", "https://two.example"]),
        ("x-api-key", ["one", "two"]),
    ];
    for (name, values) in repeated {
        for port in [mesh.ports.gateway, mesh.ports.auth] {
            // The service does not read the API key.
            if port == mesh.ports.auth && name == "x-api-key" {
                continue;
            }
            let call = web::call(port, JWKS, "application/grpc", &values.map(|v| (name, v)), &GetJwksRequest {});
            let response = web::send(port, Http::Two, call).await.unwrap();
            assert_eq!(response.grpc_status(), (Code::InvalidArgument as i32).to_string(), "{name} {port}");
            let message = response.header("grpc-message");
            assert!(message.contains(name), "{name} {port}: {message}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_path_has_no_metric_of_its_own() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let ports = [mesh.ports.gateway, mesh.ports.users, mesh.ports.auth, mesh.ports.messaging];
    for (port, path) in
        ports.into_iter().flat_map(|port| ["/made.Up/Path", "/grpc.health.v1.Health/MadeUp"].map(|p| (port, p)))
    {
        // Some calls fail before the path is looked up: their deadline has passed or is invalid.
        for timeout in ["1n", "1S", "soon"] {
            let call = web::call(port, path, "application/grpc", &[("grpc-timeout", timeout)], &GetJwksRequest {});
            let response = web::send(port, Http::Two, call).await.unwrap();
            assert_ne!(response.grpc_status(), "0", "{path}");
        }
    }
    let metrics = web::get(mesh.ports.admin, "/metrics").await.unwrap();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let unknown = metrics.lines().filter(|line| line.contains("rpc_method=\"unknown\"")).count();
    assert!(unknown > 0 && !metrics.contains("made.Up") && !metrics.contains("MadeUp"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn profile_never_shows_the_email_address() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let port = mesh.ports.gateway;
    let bearer = format!("Bearer {}", bob.tokens.access_token);
    let get = GetUserRequest { user_id: ada.id().to_owned() };
    let path = "/trellis.users.v1.UsersService/GetUser";
    let call = web::call(port, path, BINARY, &[("authorization", &bearer)], &get);
    let response = web::send(port, Http::One, call).await.unwrap();
    assert_eq!(response.grpc_status(), "0");
    let text = String::from_utf8_lossy(&response.body);
    assert!(text.contains("ADA") && !text.contains("example.org"), "{text}");
}

/// Signs ada in for a page of `origin`. Returns the cookie.
async fn cookie_of(port: u16, origin: &str) -> String {
    let message =
        SignInRequest { email: "ada@example.org".to_owned(), password: PASSWORD.to_owned(), refresh_delivery: 1 };
    let call = web::call(port, SIGN_IN, BINARY, &[("origin", origin)], &message);
    let response = web::send(port, Http::One, call).await.unwrap();
    let tokens = response.message::<SignInResponse>().tokens.unwrap();
    assert_eq!(tokens.refresh_token, "");
    response.header("set-cookie").to_owned()
}

/// Calls RefreshToken with these cookies for a page of `origin`. Returns the code, the reason and the cookies set.
async fn refresh_with(port: u16, origin: &str, cookies: &str) -> (String, String, Vec<String>) {
    let headers = [("cookie", cookies), ("origin", origin)];
    let call = web::call(port, REFRESH, BINARY, &headers, &RefreshTokenRequest::default());
    let response = web::send(port, Http::One, call).await.unwrap();
    let set = response.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
    (response.grpc_status(), response.reason(), set)
}

#[tokio::test(flavor = "multi_thread")]
async fn refresh_cookie_is_accepted_from_the_own_origin_only() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    mesh.sign_up("ada").await;
    let port = mesh.ports.gateway;
    let own = format!("http://localhost:{port}");
    let cookie = cookie_of(port, &own).await;
    for part in ["HttpOnly", "Secure", "SameSite=Strict", "Path=/trellis.auth.v1.AuthService/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let pair = cookie.split(';').next().unwrap();
    let (denied, ..) = refresh_with(port, "http://evil.example", pair).await;
    assert_eq!(denied, (Code::PermissionDenied as i32).to_string());
    assert_eq!(refresh_with(port, &own, &format!("theme=dark; {pair}")).await.0, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn second_session_cookie_is_refused_and_removed() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    mesh.sign_up("ada").await;
    mesh.sign_up("mallory").await;
    let port = mesh.ports.gateway;
    let [http, https] = ["http", "https"].map(|scheme| format!("{scheme}://localhost:{port}"));
    let refused = (Code::Unauthenticated as i32).to_string();
    for origin in [&http, &https] {
        let pairs = [cookie_of(port, origin).await, cookie_of(port, origin).await];
        let pairs = pairs.map(|cookie| cookie.split(';').next().unwrap().to_owned());
        let (status, reason, set) = refresh_with(port, origin, &pairs.join("; ")).await;
        assert_eq!((&status, reason.as_str()), (&refused, "SESSION_COOKIE_DUPLICATED"));
        assert!(set.iter().all(|cookie| cookie.contains("Max-Age=0")), "{set:?}");
        let removed = |path: &str| set.iter().any(|cookie| cookie.contains(&format!("Path={path};")));
        assert!(removed("/") && (origin == &https || removed("/trellis.auth.v1.AuthService/")), "{set:?}");
        // The refusal has not consumed the tokens.
        assert_eq!(refresh_with(port, origin, &pairs[0]).await.0, "0");
    }
    // Another host of the site, or plain http, can set a cookie without the prefix. Over https it is ignored.
    let planted = cookie_of(port, &http).await.split(';').next().unwrap().to_owned();
    let own = cookie_of(port, &https).await;
    assert!(
        own.starts_with("__Host-trellis_session_") && own.contains("; Path=/;") && !own.contains("Domain"),
        "{own}"
    );
    let own = own.split(';').next().unwrap();
    assert_eq!(refresh_with(port, &https, &format!("{planted}; {own}")).await.0, "0");
    let (status, reason, _) = refresh_with(port, &https, &planted).await;
    assert_eq!((&status, reason.as_str()), (&refused, "REFRESH_TOKEN_INVALID"));
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_on_one_host_keep_their_own_cookies() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let other = Mesh::start(Store::Sqlite, &[]).await;
    let mut cookies = Vec::new();
    for mesh in [&mesh, &other] {
        mesh.sign_up("ada").await;
        let origin = format!("http://localhost:{}", mesh.ports.gateway);
        cookies.push(cookie_of(mesh.ports.gateway, &origin).await.split(';').next().unwrap().to_owned());
    }
    let name = |cookie: &str| cookie.split('=').next().unwrap().to_owned();
    assert_ne!(name(&cookies[0]), name(&cookies[1]));
    // The browser sends both cookies to both instances.
    for mesh in [&mesh, &other] {
        let origin = format!("http://localhost:{}", mesh.ports.gateway);
        let (status, _, set) = refresh_with(mesh.ports.gateway, &origin, &cookies.join("; ")).await;
        // One for gRPC-Web, and one for each HTTP form that reads it.
        assert_eq!((status.as_str(), set.len()), ("0", 3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_cors_origins_may_call() {
    let mesh = Mesh::start(Store::Sqlite, &[("GATEWAY__CORS_ORIGINS", "https://app.example.org")]).await;
    let port = mesh.ports.gateway;
    let preflight = async |origin: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-grpc-web"),
        ];
        web::send(port, Http::One, web::request("OPTIONS", port, JWKS, &headers, Bytes::new())).await.unwrap()
    };
    let allowed = preflight("https://app.example.org").await;
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, "https://app.example.org"));
    assert_eq!(allowed.header("access-control-allow-credentials"), "true");
    assert_eq!(allowed.header("access-control-allow-headers"), "content-type,x-grpc-web");
    // Chromium caches a preflight for at most two hours.
    assert_eq!(allowed.header("access-control-max-age"), "7200");
    let refused = preflight("https://evil.example").await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (403, ""));
    let headers = [("origin", "https://app.example.org")];
    let call = web::call(port, JWKS, BINARY, &headers, &GetJwksRequest {});
    let response = web::send(port, Http::One, call).await.unwrap();
    assert!(response.header("access-control-expose-headers").contains("grpc-status"));
    assert_eq!(response.header("access-control-allow-credentials"), "true");
    let headers = [("origin", "https://evil.example")];
    // The developer of an allowed page can read the error.
    let mistaken = [("origin", "https://app.example.org"), ("content-type", "application/xml")];
    let mistaken = web::request("POST", port, JWKS, &mistaken, Bytes::new());
    let mistaken = web::send(port, Http::One, mistaken).await.unwrap();
    assert_eq!((mistaken.status, mistaken.header("access-control-allow-origin")), (415, "https://app.example.org"));
    let other_page = web::call(port, JWKS, BINARY, &headers, &GetJwksRequest {});
    let other_page = web::send(port, Http::One, other_page).await.unwrap();
    assert_eq!(other_page.header("access-control-allow-credentials"), "");
    assert_eq!(response.header("vary"), "origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limited_calls_get_a_retry_delay() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let port = mesh.ports.gateway;
    let call = async |number: usize| {
        // A different account each time, because auth also limits by account.
        let email = format!("x{number}@example.org");
        let message = SignInRequest { email, password: "wrong".to_owned(), ..Default::default() };
        web::send(port, Http::One, web::call(port, SIGN_IN, BINARY, &[], &message)).await.unwrap()
    };
    // The contract allows 30 a minute and address; a slowly used bucket admits a few more.
    let mut codes = Vec::new();
    let last = loop {
        let response = call(codes.len()).await;
        codes.push(response.grpc_status());
        if !response.header("retry-after").is_empty() {
            break response;
        }
        assert!(codes.len() <= 40, "{codes:?}");
    };
    assert!(codes.len() > 30, "{codes:?}");
    assert_eq!(last.grpc_status(), (Code::ResourceExhausted as i32).to_string());
    let seconds: u64 = last.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    let status = tonic::Status::from_header_map(&last.headers).unwrap();
    let details = tonic_types::StatusExt::get_error_details(&status);
    assert_eq!(details.error_info().unwrap().reason, "RATE_LIMITED");
    assert!(details.retry_info().unwrap().retry_delay.unwrap().as_secs() <= seconds);
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_serves_the_page_and_probes() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let port = mesh.ports.gateway;
    let page = web::get(port, "/").await.unwrap();
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let again = web::request("GET", port, "/", &[("if-none-match", page.header("etag"))], Bytes::new());
    assert_eq!(web::send(port, Http::One, again).await.unwrap().status, 304);
    for (path, status) in [("/livez", 200), ("/readyz", 200), ("/nothing", 404), ("/../Cargo.toml", 404)] {
        assert_eq!(web::get(port, path).await.unwrap().status, status, "{path}");
    }
    let keys = web::get(port, "/.well-known/jwks.json").await.unwrap();
    let keys: serde_json::Value = serde_json::from_slice(&keys.body).unwrap();
    assert_eq!((&keys["keys"][0]["alg"], &keys["keys"][0]["d"]), (&"ES256".into(), &serde_json::Value::Null));
    // The public port exposes no internal endpoint.
    assert_eq!(web::get(port, "/metrics").await.unwrap().status, 404);
    let metrics = web::get(mesh.ports.admin, "/metrics").await.unwrap();
    assert!(String::from_utf8_lossy(&metrics.body).contains("rpc_server_call_duration_seconds"));
    let posted = web::request("POST", port, JWKS, &[("content-type", "application/xml")], Bytes::from_static(b"<a/>"));
    assert_eq!(web::send(port, Http::One, posted).await.unwrap().status, 415);
    let got = web::get(port, JWKS).await.unwrap();
    assert_eq!((got.status, got.header("allow")), (405, "OPTIONS, POST"), "GET needs a query");
    for (method, path, status, allow) in [
        ("PUT", JWKS, 405, "GET, HEAD, OPTIONS, POST"),
        ("OPTIONS", JWKS, 204, "GET, HEAD, OPTIONS, POST"),
        ("OPTIONS", SIGN_UP, 204, "OPTIONS, POST"),
        ("GET", SIGN_UP, 405, "OPTIONS, POST"),
    ] {
        let received = web::send(port, Http::One, web::request(method, port, path, &[], Bytes::new())).await.unwrap();
        assert_eq!((received.status, received.header("allow")), (status, allow), "{method} {path}");
    }
}

/// hyper drops the body over HTTP/1.1, but h2 sends the body that it gets.
#[tokio::test(flavor = "multi_thread")]
async fn response_to_head_has_no_body() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let port = mesh.ports.gateway;
    for (http, path) in
        [Http::One, Http::Two].into_iter().flat_map(|http| ["/", "/livez", "/nothing"].map(|p| (http, p)))
    {
        let send = async |method: &str| {
            web::send(port, http, web::request(method, port, path, &[], Bytes::new())).await.unwrap()
        };
        let (head, whole) = (send("HEAD").await, send("GET").await);
        assert_eq!((head.status, head.body.len()), (whole.status, 0), "{http:?} {path}");
        assert_eq!(head.header("content-length"), whole.body.len().to_string(), "{http:?} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_that_violates_http_is_refused() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let cases = [
        ("host: a\r\n", 200),
        ("", 400),
        ("host: a\r\nhost: b\r\n", 400),
        ("host: a b\r\n", 400),
        ("host: me@a\r\n", 400),
        ("host: a\r\ntransfer-encoding: gzip, chunked\r\n", 501),
    ];
    for (headers, status) in cases {
        let mut stream = TcpStream::connect(("127.0.0.1", mesh.ports.gateway)).await.unwrap();
        let request = format!("GET /livez HTTP/1.1\r\n{headers}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&line), format!("HTTP/1.1 {status}"), "{headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_base64_body_is_an_invalid_argument() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let port = mesh.ports.gateway;
    let body = Bytes::from_static(b"!!!!");
    let call = web::request("POST", port, JWKS, &[("content-type", TEXT)], body);
    let response = web::send(port, Http::One, call).await.unwrap();
    assert_eq!(response.grpc_status(), (Code::InvalidArgument as i32).to_string());
}
