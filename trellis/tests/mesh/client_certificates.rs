//! Client certificates at the gateway's listener: which clients connect, and what upstreams and authorization services
//! receive about them.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Request, body::Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kit::time::{Clock as _, SystemClock};
use rcgen::{ExtendedKeyUsagePurpose, SerialNumber, date_time_ymd};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, HandshakeKind, RootCertStore, pki_types::PrivateKeyDer},
};

use super::{
    authority::{Authority, Pair},
    cli::{error_line, run},
    external_upstream::{respond, serve, well},
    files,
    harness::{Mesh, Ports, free_port},
    wait::until,
    web::{self, BINARY, Error, Http, Received, TEXT},
};

const READ: &str = "/acme.v1.Shop/Read";
/// A method that needs a certificate.
const PAY: &str = "/acme.v1.Shop/Pay";
const CONTRACT: &str = r#"
    syntax = "proto3";
    package acme.v1;
    import "google/api/annotations.proto";
    message Note { string text = 1; }
    service Shop {
      rpc Read(Note) returns (Note) {
        option idempotency_level = NO_SIDE_EFFECTS;
        option (google.api.http) = { get: "/shop/note" };
      }
      rpc Pay(Note) returns (Note);
    }
"#;
/// Headers in which clients could state a certificate.
const FORGED: [(&str, &str); 6] = [
    ("x-forwarded-client-cert", "Hash=forged"),
    ("x_forwarded_client_cert", "Hash=forged"),
    ("client-cert", ":forged:"),
    ("ssl-client-verify", "forged"),
    ("x-ssl-client-s-dn", "CN=forged"),
    ("x-forwarded-tls-client-cert-info", "forged"),
];

/// A gateway with a TLS listener that requests certificates.
struct Gateway {
    mesh: Mesh,
    secure: u16,
    server: Authority,
    seen: Arc<std::sync::Mutex<Vec<HeaderMap>>>,
}

impl Gateway {
    async fn start(mode: &str, clients: &Authority, rest: &str) -> Self {
        let (upstream, seen) = serve(|_| respond(vec![Ok(Frame::data(web::frame(b""))), well()])).await;
        let (server, secure) = (Authority::new(), free_port());
        let mut gateway = Self { mesh: Mesh::new(&["gateway"], Ports::free()), secure, server, seen };
        let (certificate, key) = gateway.server.server();
        gateway.write("tls.crt", &certificate);
        gateway.write("tls.key", &key);
        gateway.write("clients.crt", &clients.pem());
        gateway.write("revoked.crl", &clients.revocations(&[]));
        let set = gateway.path("shop.bin");
        fs::write(&set, files::descriptors(CONTRACT, gateway.mesh.folder())).unwrap();
        let of = |name: &str| gateway.path(name);
        let config = format!(
            "log.format = \"json\"\n[gateway]\ndescriptors_refresh = \"200ms\"\n\
             [gateway.external.\"acme.v1.Shop\"]\nto = {upstream:?}\naccess = \"public\"\ndescriptors = {set:?}\n\
             graphql = true\nforward_client_certificate = true\n\
             [gateway.tls]\nlisten = [\"127.0.0.1:{secure}\"]\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\n\
             client_certificates = {mode:?}\nclient_certificate_methods = [\"acme.v1.Shop/Pay\"]\n{rest}",
            of("tls.crt"),
            of("tls.key"),
            of("clients.crt"),
        );
        gateway.write("trellis.toml", &config.replace("CRL_FILE", of("revoked.crl").to_str().unwrap()));
        gateway.mesh.set("CONFIG", gateway.path("trellis.toml").to_str().unwrap());
        gateway.mesh.launch();
        gateway.mesh.ready(gateway.mesh.ports.gateway).await;
        gateway
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mesh.folder().join(name)
    }

    /// Replaces a file at once.
    fn write(&self, name: &str, content: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let unfinished = self.path("unfinished");
        fs::write(&unfinished, content).unwrap();
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(unfinished, self.path(name)).unwrap();
    }

    /// The TLS of a client.
    fn client(&self, pair: Option<&Pair>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.server.der()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let key = PrivateKeyDer::Pkcs8(pair.key.serialize_der().into());
                builder.with_client_auth_cert(vec![pair.certificate.clone()], key).unwrap()
            }
        })
    }

    async fn connect(&self, client: &Arc<ClientConfig>, http: Http) -> Result<TlsStream<TcpStream>, Error> {
        let mut client = ClientConfig::clone(client);
        client.alpn_protocols = vec![if http == Http::Two { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        let stream = TcpStream::connect(("127.0.0.1", self.secure)).await?;
        Ok(TlsConnector::from(Arc::new(client)).connect("localhost".try_into().unwrap(), stream).await?)
    }

    /// Sends a request on its own connection. With TLS 1.3, a refused certificate shows only then.
    async fn send(&self, pair: Option<&Pair>, http: Http, request: Request<Full<Bytes>>) -> Result<Received, Error> {
        let stream = self.connect(&self.client(pair), http).await?;
        web::send_on(stream, http, request).await
    }

    async fn connects(&self, pair: Option<&Pair>) -> bool {
        for http in [Http::One, Http::Two] {
            let request = web::request("GET", self.secure, "/livez", &[], Bytes::new());
            let response = self.send(pair, http, request).await;
            if !response.is_ok_and(|response| response.status == 200) {
                return false;
            }
        }
        true
    }

    /// The header that the upstream has received with its only request since the last one.
    fn forwarded(&self) -> Option<String> {
        let mut seen = self.seen.lock().unwrap();
        assert_eq!(seen.len(), 1, "{seen:?}");
        let headers = seen.pop().unwrap();
        for (name, _) in &FORGED[1..] {
            assert!(!headers.contains_key(*name), "{headers:?}");
        }
        let all: Vec<_> = headers.get_all("x-forwarded-client-cert").iter().collect();
        assert!(all.len() < 2, "{headers:?}");
        all.first().map(|value| value.to_str().unwrap().to_owned())
    }
}

fn grpc(port: u16, path: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let headers = [&[("content-type", "application/grpc"), ("te", "trailers")], headers].concat();
    web::request("POST", port, path, &headers, web::frame(b""))
}

/// The same call in every protocol but WebSocket.
fn calls(port: u16, headers: &[(&str, &str)]) -> Vec<(&'static str, Http, Request<Full<Bytes>>)> {
    let json = |body: &'static str| (vec![("content-type", "application/json")], Bytes::from_static(body.as_bytes()));
    let request = |method: &str, path: &str, (own, body): (Vec<(&'static str, &'static str)>, Bytes)| {
        web::request(method, port, path, &[&own[..], headers].concat(), body)
    };
    let web = |kind: &'static str| {
        let body = if kind == TEXT { Bytes::from_static(b"AAAAAAA=") } else { web::frame(b"") };
        request("POST", READ, (vec![("content-type", kind), ("x-grpc-web", "1")], body))
    };
    let query = format!("{READ}?encoding=json&message=%7B%7D");
    vec![
        ("gRPC", Http::Two, grpc(port, READ, headers)),
        ("gRPC-Web over HTTP/1.1", Http::One, web(BINARY)),
        ("gRPC-Web text", Http::Two, web(TEXT)),
        ("Connect", Http::One, request("POST", READ, json("{}"))),
        ("Connect over HTTP/2", Http::Two, request("POST", READ, json("{}"))),
        ("Connect GET", Http::One, request("GET", &query, (Vec::new(), Bytes::new()))),
        ("JSON over HTTP", Http::One, request("GET", "/shop/note", (Vec::new(), Bytes::new()))),
        ("GraphQL", Http::One, request("POST", "/graphql", json(r#"{"query":"{ acmeV1ShopRead { text } }"}"#))),
    ]
}

/// Makes a call by WebSocket, and returns everything that the gateway sends.
async fn socket(stream: TlsStream<TcpStream>, path: &str, headers: &[(&str, &str)]) -> String {
    let frames = [json!({ "metadata": object(headers) }), json!({ "message": {} })];
    socket_with(stream, (path, "trellis.json.v1"), headers, &frames).await
}

/// Executes an operation by WebSocket, and returns everything that the gateway sends.
async fn graphql_socket(stream: TlsStream<TcpStream>, query: &str, headers: &[(&str, &str)]) -> String {
    let frames = [
        json!({ "type": "connection_init", "payload": { "headers": object(headers) } }),
        json!({ "type": "subscribe", "id": "1", "payload": { "query": query } }),
    ];
    socket_with(stream, ("/graphql", "graphql-transport-ws"), headers, &frames).await
}

fn object(headers: &[(&str, &str)]) -> serde_json::Map<String, serde_json::Value> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

async fn socket_with(
    mut stream: TlsStream<TcpStream>,
    (path, subprotocol): (&str, &str),
    headers: &[(&str, &str)],
    frames: &[serde_json::Value],
) -> String {
    let handshake = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-protocol: {subprotocol}\r\n"
    );
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    stream.write_all(format!("{handshake}{lines}\r\n").as_bytes()).await.unwrap();
    for frame in frames {
        let text = frame.to_string();
        let length = u16::try_from(text.len()).unwrap();
        // A text frame with a mask of zeros.
        let head = if length < 126 {
            vec![0x81, 0x80 | u8::try_from(length).unwrap(), 0, 0, 0, 0]
        } else {
            [&[0x81, 0x80 | 126][..], &length.to_be_bytes(), &[0; 4]].concat()
        };
        stream.write_all(&[&head[..], text.as_bytes()].concat()).await.unwrap();
    }
    let mut received = Vec::new();
    // The gateway ends the connection without an alert of TLS, or waits for the client's own Close frame.
    timeout(Duration::from_secs(3), stream.read_to_end(&mut received)).await.ok();
    String::from_utf8_lossy(&received).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_with_a_valid_certificate_connect() {
    let (clients, other) = (Authority::new(), Authority::new());
    let gateway = Gateway::start("required", &clients, "").await;
    let valid = clients.issue(|params| params.serial_number = Some(SerialNumber::from(7_u64)));
    let expired = clients.issue(|params| {
        (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(2020, 1, 1));
    });
    let of_server = clients.issue(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let stranger = other.issue(|_| {});
    assert!(gateway.connects(Some(&valid)).await);
    let refused =
        [("none", None), ("expired", Some(&expired)), ("server", Some(&of_server)), ("stranger", Some(&stranger))];
    for (name, pair) in refused {
        assert!(!gateway.connects(pair).await, "{name}");
    }
    // No session is resumed: it would bring its certificate along without a verification.
    let client = gateway.client(Some(&valid));
    for _ in 0..2 {
        let mut stream = gateway.connect(&client, Http::One).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.ok();
        assert!(response.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&response));
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
    // Files that cannot be read change nothing.
    gateway.write("clients.crt", "no certificate");
    gateway.mesh.until_logged(|line| line.contains("clients.crt") && line.contains("last good content")).await;
    assert!(gateway.connects(Some(&valid)).await);
    assert!(!gateway.connects(Some(&stranger)).await);
}

/// A connection over HTTP/2 that stays open.
struct Open(hyper::client::conn::http2::SendRequest<Full<Bytes>>, u16);

impl Open {
    async fn new(gateway: &Gateway, pair: Option<&Pair>) -> Self {
        let stream = gateway.connect(&gateway.client(pair), Http::Two).await.unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self(sender, gateway.secure)
    }

    /// The reason of a refusal; empty: the call has succeeded.
    async fn call(&self, path: &str) -> String {
        let response = self.0.clone().send_request(grpc(self.1, path, &[])).await.unwrap();
        let received = web::whole(response).await.unwrap();
        if received.grpc_status() == "0" { String::new() } else { received.reason() }
    }
}

const INVALID: &str = "CLIENT_CERTIFICATE_INVALID";
const REQUIRED: &str = "CLIENT_CERTIFICATE_REQUIRED";

/// The handshake has verified these connections once. Each call checks them again.
#[tokio::test(flavor = "multi_thread")]
async fn renewed_trust_applies_to_open_connections() {
    let (clients, other) = (Authority::new(), Authority::new());
    let gateway = Gateway::start("optional", &clients, "client_crl = \"CRL_FILE\"\n").await;
    let with_serial = |serial: u64| clients.issue(|params| params.serial_number = Some(SerialNumber::from(serial)));
    let [revoked, kept] = [with_serial(7), with_serial(8)];
    let stranger = other.issue(|_| {});
    let (open_revoked, open_kept, none) = (
        Open::new(&gateway, Some(&revoked)).await,
        Open::new(&gateway, Some(&kept)).await,
        Open::new(&gateway, None).await,
    );
    for open in [&open_revoked, &open_kept] {
        assert_eq!(open.call(PAY).await, "");
    }
    assert_eq!((none.call(READ).await, none.call(PAY).await), (String::new(), REQUIRED.to_owned()));
    // Revocation.
    gateway.write("revoked.crl", &clients.revocations(&[7]));
    until("the certificate is revoked", async || open_revoked.call(READ).await == INVALID).await;
    assert_eq!(open_kept.call(PAY).await, "");
    assert!(!gateway.connects(Some(&revoked)).await && gateway.connects(Some(&kept)).await);
    // Another authority. Its list of revocations is missing, so that nothing is trusted until it is there.
    gateway.write("clients.crt", &other.pem());
    until("the authority is replaced", async || open_kept.call(READ).await == INVALID).await;
    assert!(!gateway.connects(Some(&stranger)).await);
    gateway.write("revoked.crl", &other.revocations(&[]));
    until("the new authority counts", async || gateway.connects(Some(&stranger)).await).await;
    assert!(!gateway.connects(Some(&kept)).await);
    assert_eq!((open_kept.call(PAY).await.as_str(), none.call(READ).await.as_str()), (INVALID, ""));
    // All clients need one: also those that are connected without.
    let config = fs::read_to_string(gateway.path("trellis.toml")).unwrap();
    gateway.write("trellis.toml", &config.replace("\"optional\"", "\"required\""));
    until("a certificate is required", async || none.call(READ).await == REQUIRED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_certificate_of_an_open_connection_is_refused() {
    let clients = Authority::new();
    let gateway = Gateway::start("optional", &clients, "").await;
    let now = u64::try_from(SystemClock.now().as_secs()).unwrap();
    let short = clients.issue(|params| params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(now + 10));
    let open = Open::new(&gateway, Some(&short)).await;
    assert_eq!(open.call(PAY).await, "");
    until("it has expired", async || open.call(READ).await == INVALID).await;
    assert_eq!(open.call(PAY).await, INVALID);
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_receives_only_a_verified_certificate() {
    let clients = Authority::new();
    let gateway = Gateway::start("optional", &clients, "").await;
    let pair = clients.issue(|_| {});
    let subject = ";Subject=\"CN=robot\";URI=spiffe://acme.test/robot";
    let is_robot = |value: &str| value.starts_with("Hash=") && value.ends_with(subject) && !value.contains("forged");
    for pair in [None, Some(&pair)] {
        for (name, http, request) in calls(gateway.secure, &FORGED) {
            let response = gateway.send(pair, http, request).await.unwrap();
            assert_eq!(response.status, 200, "{name}: {response:?}");
            match (pair, gateway.forwarded()) {
                (None, None) => {}
                (Some(_), Some(value)) if is_robot(&value) => {}
                (pair, value) => panic!("{name}, {}: {value:?}", pair.is_some()),
            }
        }
        let stream = gateway.connect(&gateway.client(pair), Http::One).await.unwrap();
        let received = socket(stream, READ, &FORGED).await;
        assert!(received.contains("\"result\""), "{received}");
        assert_eq!(gateway.forwarded().map(|value| is_robot(&value)), pair.map(|_| true));
        let stream = gateway.connect(&gateway.client(pair), Http::One).await.unwrap();
        let received = socket(stream, PAY, &FORGED).await;
        assert_eq!((received.contains("\"result\""), received.contains(REQUIRED)), (pair.is_some(), pair.is_none()));
        let stream = gateway.connect(&gateway.client(pair), Http::One).await.unwrap();
        gateway.seen.lock().unwrap().clear();
        let received = graphql_socket(stream, "{ acmeV1ShopRead { text } }", &FORGED).await;
        assert!(received.contains("{\"acmeV1ShopRead\":{\"text\""), "{received}");
        assert_eq!(gateway.forwarded().map(|value| is_robot(&value)), pair.map(|_| true));
        let stream = gateway.connect(&gateway.client(pair), Http::One).await.unwrap();
        let received = graphql_socket(stream, "mutation { acmeV1ShopPay { text } }", &FORGED).await;
        assert_eq!((received.contains("\"text\""), received.contains(REQUIRED)), (pair.is_some(), pair.is_none()));
        gateway.seen.lock().unwrap().clear();
        let query = r#"{"query":"mutation { acmeV1ShopPay { text } }"}"#;
        let json = [("content-type", "application/json")];
        let request = web::request("POST", gateway.secure, "/graphql", &json, Bytes::from_static(query.as_bytes()));
        let received = gateway.send(pair, Http::One, request).await.unwrap();
        let received = String::from_utf8_lossy(&received.body);
        assert_eq!((received.contains("\"text\""), received.contains(REQUIRED)), (pair.is_some(), pair.is_none()));
    }
    // A listener without TLS has no certificate, whatever a header states.
    gateway.seen.lock().unwrap().clear();
    let port = gateway.mesh.ports.gateway;
    assert_eq!(web::send(port, Http::Two, grpc(port, PAY, &FORGED)).await.unwrap().reason(), REQUIRED);
    assert_eq!(web::send(port, Http::Two, grpc(port, READ, &FORGED)).await.unwrap().grpc_status(), "0");
    assert_eq!(gateway.forwarded(), None);
    gateway
        .mesh
        .until_logged(|line| {
            line.contains("\"tls.client.subject\":\"CN=robot\"") && line.contains("tls.client.hash.sha256")
        })
        .await;
}

#[test]
fn incomplete_client_certificate_settings_name_the_key() {
    let mesh = Mesh::new(&[], Ports::free());
    for (setting, expected) in [
        ("client_certificates=optional", "client_certificates has no effect without gateway.tls.listen"),
        ("client_ca=ca.pem", "client_ca has no effect without gateway.tls.client_certificates"),
        ("client_crl=ca.pem", "client_crl has no effect without gateway.tls.client_certificates"),
    ] {
        let line = error_line(&run(&mesh, &["--set", &format!("gateway.tls.{setting}")]));
        assert!(line.contains(&format!("gateway.tls.{expected}")), "{setting}: {line}");
    }
}
