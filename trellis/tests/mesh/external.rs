//! The gateway in front of external upstreams: it adds nothing specific to Trellis to their gRPC responses.

use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use h2::Reason;
use hyper::{Request, Response, body::Frame};
use proto::auth::v1::GetJwksRequest;
use tokio::net::{TcpListener, TcpStream};

use super::{
    cancel,
    external_upstream::{mesh_with_all, respond, serve_message, serve_on, well},
    faulty_upstream::{self, Behavior, Upstream},
    harness::{Mesh, Ports, free_port},
    replicas::sample,
    web::{self, BINARY, Http, Received},
};

/// An upstream that never responds before the deadline. Then it resets the stream with CANCEL, as gRPC's servers do,
/// or returns CANCELLED, as tonic does.
async fn upstream_at_deadline() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let came = Instant::now();
                    let timeout = request.headers()["grpc-timeout"].as_bytes();
                    let end = came + kit::grpc::parse_timeout(timeout).unwrap();
                    let resets = request.uri().path().ends_with("Reset");
                    tokio::spawn(async move {
                        tokio::time::sleep_until(end.into()).await;
                        if resets {
                            respond.send_reset(Reason::CANCEL);
                        } else {
                            let head = Response::builder().header("content-type", "application/grpc");
                            respond.send_response(head.header("grpc-status", "1").body(()).unwrap(), true).ok();
                        }
                    });
                }
            });
        }
    });
    address
}

async fn call(port: u16, path: &str, headers: &[(&str, &str)]) -> Received {
    web::send(port, Http::One, web::call(port, path, BINARY, headers, &GetJwksRequest {})).await.unwrap()
}

fn assert_bare(response: &Received, status: &str) {
    let (_, trailers) = response.frames();
    assert_eq!(response.grpc_status(), status, "{response:?}");
    assert!(!response.headers.contains_key("grpc-status-details-bin"), "{response:?}");
    assert!(!trailers.contains("grpc-status-details-bin"), "{trailers}");
}

/// Either deadline may pass first: the gateway's or the upstream's.
#[tokio::test(flavor = "multi_thread")]
async fn expired_deadline_is_never_reported_as_cancelled() {
    let address = upstream_at_deadline().await;
    let mesh = mesh_with_all(&[&address], &[("GATEWAY__DEFAULT_RATE_REQUESTS", "1000000")]).await;
    let port = mesh.ports.gateway;
    for path in ["/acme.v1.Shop/Reset", "/acme.v1.Shop/Cancelled"] {
        let calls = stream::iter(0..200).map(|_| call(port, path, &[("grpc-timeout", "30m")]));
        let responses: Vec<_> = calls.buffer_unordered(4).collect().await;
        let expired = responses.iter().filter(|response| response.grpc_status() == "4").count();
        assert_eq!(expired, responses.len(), "{path}");
        responses.iter().for_each(|response| assert_bare(response, "4"));
    }
}

/// Small messages may fill both flow-control windows without an error, whatever memory h2 uses for each frame.
#[tokio::test(flavor = "multi_thread")]
async fn small_messages_may_fill_both_windows() {
    /// One fewer than fills the connection's window of 1 MiB, so that another call still makes progress.
    const STREAMS: usize = 15;
    const STREAM_WINDOW: usize = 64 * 1024;
    let address = cancel::upstream();
    let mesh = mesh_with_all(&[&address], &[("GATEWAY__DEFAULT_RATE_REQUESTS", "1000000")]).await;
    let port = mesh.ports.gateway;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (sender, connection) =
        h2::client::Builder::new().max_send_buffer_size(1024 * 1024).handshake::<_, Bytes>(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let mut open = |path: &str| {
        let request = Request::post(format!("http://127.0.0.1:{port}/acme.v1.Shop/{path}"));
        let request = request.header("content-type", "application/grpc").body(()).unwrap();
        sender.send_request(request, false).unwrap()
    };
    let message = web::frame(b"7 bytes");
    let mut uploads = Vec::new();
    for _ in 0..STREAMS {
        let (response, mut body) = open("Hang");
        for _ in 0..STREAM_WINDOW / message.len() {
            body.send_data(message.clone(), false).unwrap();
        }
        uploads.push((response, body));
    }
    let (response, mut body) = open("Tick");
    body.send_data(message, true).unwrap();
    let mut ticks = response.await.expect("the connection stays open").into_body();
    for _ in 0..20 {
        let tick = ticks.data().await.expect("a tick").expect("the connection stays open");
        ticks.flow_control().release_capacity(tick.len()).unwrap();
    }
    assert!(!driver.is_finished());
    drop(uploads);
}

/// Starts only a gateway, with only external upstreams.
async fn alone(prefix: &str, address: &str) -> Mesh {
    let mut mesh = Mesh::new(&["gateway"], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    let config = format!("[gateway.external]\n\"{prefix}\" = {{ to = \"{address}\", access = \"public\" }}\n");
    std::fs::write(&file, config).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    mesh
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_with_only_external_upstreams_needs_no_keys() {
    let address = serve_message(b"hello".to_vec()).await;
    let mesh = alone("grpc.testing", &address).await;
    let port = mesh.ports.gateway;
    let response = call(port, "/grpc.testing.TestService/EmptyCall", &[]).await;
    assert_eq!((response.grpc_status().as_str(), &response.frames().0[0][..]), ("0", &b"hello"[..]));
    // The gateway itself implements health and reflection.
    let health = call(port, "/grpc.health.v1.Health/Check", &[]).await;
    assert_eq!(health.grpc_status(), "0");
    // Sign-in on the page needs auth.
    let page = web::get(port, "/").await.unwrap();
    assert_eq!(page.status, 404);
    assert!(String::from_utf8_lossy(&page.body).contains("external upstreams only"), "{page:?}");
    // No mesh service is configured.
    assert_eq!(call(port, "/trellis.auth.v1.AuthService/GetJwks", &[]).await.grpc_status(), "12");
    let token = [("authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.e30.x")];
    assert_eq!(call(port, "/grpc.testing.TestService/EmptyCall", &token).await.grpc_status(), "0");
}

/// Calls show that the only endpoint is down, and a check that it is up again.
#[tokio::test(flavor = "multi_thread")]
async fn log_states_when_an_upstream_is_down_and_up() {
    let upstream = free_port();
    let mesh = alone("acme", &format!("http://127.0.0.1:{upstream}")).await;
    let endpoints =
        async |state: &str| sample(&mesh, &format!("balance_endpoints{{upstream=\"acme\",state=\"{state}\"}}")).await;
    assert_eq!((endpoints("serving").await, endpoints("failing").await), (1.0, 0.0), "nothing is known yet");
    for _ in 0..3 {
        assert_eq!(call(mesh.ports.gateway, "/acme.Shop/Buy", &[]).await.grpc_status(), "14");
    }
    mesh.until_logged(|line| line.contains("WARN") && line.contains("upstream acme is down")).await;
    assert_eq!((endpoints("serving").await, endpoints("failing").await), (0.0, 1.0));
    let listener = TcpListener::bind(("127.0.0.1", upstream)).await.unwrap();
    serve_on(listener, |_| respond(vec![Ok(Frame::data(web::frame(b"hello"))), well()]));
    mesh.until_logged(|line| line.contains("upstream acme is up again")).await;
    assert_eq!((endpoints("serving").await, endpoints("failing").await), (1.0, 0.0));
    assert_eq!(call(mesh.ports.gateway, "/acme.Shop/Buy", &[]).await.grpc_status(), "0");
    assert_eq!(mesh.log().matches("upstream acme is down").count(), 1);
}

/// A signed-in caller can exist only where a mesh or another issuer is known.
#[test]
fn signed_in_without_users_or_issuers_is_refused_at_start() {
    let mesh = Mesh::new(&[], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    let upstream = "[gateway.external.\"acme.shop\"]\nto = \"http://127.0.0.1:1\"\naccess = \"signed_in\"\n";
    std::fs::write(&file, upstream).unwrap();
    for arguments in [&["gateway"][..], &["config", "--check", "gateway"]] {
        let output = mesh.command().arg("--config").arg(&file).args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains("gateway.external.\"acme.shop\".access"), "{error}");
        assert!(error.contains("set token_issuers"), "{error}");
    }
}

/// A status that the gateway generates for an external method has a code and a message, but no details.
#[tokio::test(flavor = "multi_thread")]
async fn gateway_statuses_for_external_methods_have_no_details() {
    let upstream = Upstream::start(Behavior::Slow).await;
    let mesh = faulty_upstream::mesh(&[upstream], &[]).await;
    let port = mesh.ports.gateway;
    assert_bare(&call(port, "/acme.v1.Shop/Undeclared", &[]).await, "12");
    assert_bare(&call(port, faulty_upstream::WRITE, &[("grpc-timeout", "20m")]).await, "4");
    assert_bare(&call(port, faulty_upstream::WRITE, &[("grpc-timeout", "0m")]).await, "4");
    // For methods of the mesh the status has a reason.
    let own = call(port, "/trellis.auth.v1.AuthService/Nothing", &[]).await;
    assert_eq!(own.grpc_status(), "12");
    assert!(own.headers.contains_key("grpc-status-details-bin"), "{own:?}");
}
