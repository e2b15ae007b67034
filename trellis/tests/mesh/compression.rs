//! Compressed messages and responses: services accept and send gzip and zstd, a decompression bomb stays within the limit,
//! and the gateway compresses what holds no secret.

use std::io::Read as _;

use bytes::Bytes;
use proto::auth::v1::{GetJwksRequest, SignInRequest, auth_service_client::AuthServiceClient};
use tonic::{Code, codec::CompressionEncoding};

use super::{
    harness::{Mesh, PASSWORD, Person, Store, new_id},
    web::{self, Http, Received},
};

const ENCODINGS: [(CompressionEncoding, &str); 2] =
    [(CompressionEncoding::Gzip, "gzip"), (CompressionEncoding::Zstd, "zstd")];

/// Through the gateway and at the service's own port.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_requests_are_accepted_and_responses_negotiated() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    for port in [mesh.ports.gateway, mesh.ports.auth] {
        for (encoding, name) in ENCODINGS {
            let channel = mesh.channel(port).await;
            let client = || AuthServiceClient::new(channel.clone()).send_compressed(encoding);
            let response = client().accept_compressed(encoding).get_jwks(GetJwksRequest {}).await.unwrap();
            assert_eq!(response.metadata().get("grpc-encoding").unwrap(), name);
            assert!(!response.into_inner().keys.is_empty());
            // A client that does not accept the encoding gets an uncompressed response.
            let response = client().get_jwks(GetJwksRequest {}).await.unwrap();
            assert!(response.metadata().get("grpc-encoding").is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decompression_bomb_is_refused_within_the_message_limit() {
    // Its compression takes a part of the call's deadline.
    const BOMB: usize = 128 * 1024 * 1024;
    const SLACK_KIB: u64 = 96 * 1024;
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let before = mesh.status("VmHWM");
    for (encoding, name) in ENCODINGS {
        for port in [mesh.ports.gateway, mesh.ports.auth] {
            let mut client = AuthServiceClient::new(mesh.channel(port).await).send_compressed(encoding);
            let bomb = SignInRequest { password: "0".repeat(BOMB), ..SignInRequest::default() };
            let refused = client.sign_in(bomb).await.unwrap_err();
            assert_eq!(refused.code(), Code::ResourceExhausted, "{name}: {refused}");
        }
    }
    let grown = mesh.status("VmHWM") - before;
    assert!(grown < SLACK_KIB, "{grown} KiB for bombs of {} KiB", BOMB / 1024);
}

/// Decompresses the body of a response.
fn plain(response: &Received) -> Vec<u8> {
    let body = &response.body[..];
    let mut plain = Vec::new();
    match response.header("content-encoding") {
        "" => plain.extend_from_slice(body),
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut plain).map(drop).unwrap(),
        "br" => brotli::BrotliDecompress(&mut &*body, &mut plain).unwrap(),
        "zstd" => plain = zstd::stream::decode_all(body).unwrap(),
        other => panic!("{other}"),
    }
    plain
}

/// The tests compress small bodies, so that they need few users.
const SMALL: (&str, &str) = ("GATEWAY__COMPRESSION__LEAST_BYTES", "32");
const LIST_USERS: &str = "/trellis.users.v1.UsersService/ListUsers";

async fn send(
    mesh: &Mesh,
    person: &Person,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Received {
    let bearer = format!("Bearer {}", person.tokens.access_token);
    let headers = [&[("authorization", bearer.as_str())], headers].concat();
    let port = mesh.ports.gateway;
    web::send(port, Http::One, web::request(method, port, path, &headers, body)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn public_responses_are_compressed_as_clients_prefer() {
    let mesh = Mesh::start(Store::Sqlite, &[SMALL]).await;
    let ada = mesh.sign_up("ada").await;
    for handle in ["bob", "cleo", "dora"] {
        mesh.sign_up(handle).await;
    }
    let jwks = "/trellis.auth.v1.AuthService/GetJwks?connect=v1&encoding=json&message=%7B%7D";
    let forms: [(&str, &str, &str, &[u8]); 5] = [
        ("GET", "/v1/users", "", b""),
        ("POST", LIST_USERS, "application/json", b"{}"),
        ("POST", LIST_USERS, "application/proto", b""),
        ("GET", jwks, "", b""),
        ("GET", "/openapi.json", "", b""),
    ];
    for (method, path, content_type, body) in forms {
        let call = async |accepted| {
            let mut headers = vec![("accept-encoding", accepted)];
            if !content_type.is_empty() {
                headers.push(("content-type", content_type));
            }
            send(&mesh, &ada, method, path, &headers, Bytes::from_static(body)).await
        };
        let whole = call("identity").await;
        assert_eq!((whole.status, whole.header("content-encoding")), (200, ""), "{path}");
        for (accepted, coding) in [("gzip", "gzip"), ("br", "br"), ("gzip, deflate, br, zstd", "zstd"), ("br;q=0", "")]
        {
            let response = call(accepted).await;
            let what = format!("{path} {content_type} {accepted}");
            assert_eq!((response.status, response.header("content-encoding")), (200, coding), "{what}");
            assert_eq!(plain(&response), whole.body, "{what}");
            assert_eq!(response.header("content-length"), response.body.len().to_string(), "{what}");
            let varies = response.headers.get_all("vary").iter().any(|value| value == "accept-encoding");
            assert!(varies, "{what}: {:?}", response.headers);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_coding_of_a_response_has_its_tag() {
    let mesh = Mesh::start(Store::Sqlite, &[SMALL]).await;
    let ada = mesh.sign_up("ada").await;
    let path = format!("/v1/users/{}", ada.id());
    let get =
        async |method: &str, headers: &[(&str, &str)]| send(&mesh, &ada, method, &path, headers, Bytes::new()).await;
    let (whole, coded) = (get("GET", &[]).await, get("GET", &[("accept-encoding", "gzip")]).await);
    assert_eq!((coded.header("content-encoding"), coded.status), ("gzip", 200));
    let tag = coded.header("etag").to_owned();
    assert_ne!(whole.header("etag"), tag);
    let again = get("GET", &[("accept-encoding", "gzip"), ("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.header("etag"), again.header("content-encoding")), (304, &*tag, ""));
    let head = get("HEAD", &[("accept-encoding", "gzip")]).await;
    assert_eq!((head.header("content-length"), head.body.len()), (&*coded.body.len().to_string(), 0));
    // The tag of a coding still states the etag of the resource.
    let body = Bytes::from_static(br#"{"displayName": "Ada L."}"#);
    let headers = [("content-type", "application/json"), ("if-match", tag.as_str())];
    let changed = send(&mesh, &ada, "PATCH", &format!("{path}?update_mask=displayName"), &headers, body).await;
    assert_eq!(changed.status, 200, "{changed:?}");
}

/// Tokens and texts of users, and what the cookie of the session authorizes.
#[tokio::test(flavor = "multi_thread")]
async fn private_responses_are_never_compressed() {
    let mesh = Mesh::start(Store::Sqlite, &[SMALL]).await;
    let (ada, bob) = (mesh.sign_up("ada").await, mesh.sign_up("bob").await);
    let json = |text: serde_json::Value| Bytes::from(text.to_string());
    let new = json(serde_json::json!({ "requestId": new_id(), "memberIds": [bob.id()], "title": "title".repeat(8) }));
    let sign_in = json(serde_json::json!({ "email": "ada@example.org", "password": PASSWORD }));
    let refresh = json(serde_json::json!({ "refreshToken": ada.tokens.refresh_token }));
    for (method, path, body) in [
        ("POST", "/v1/conversations", new),
        ("GET", "/v1/conversations", Bytes::new()),
        ("GET", "/v1/auth/sessions", Bytes::new()),
        ("POST", "/v1/auth:signIn", sign_in.clone()),
        ("POST", "/trellis.auth.v1.AuthService/SignIn", sign_in),
        ("POST", "/v1/auth:refresh", refresh),
    ] {
        let headers = [("content-type", "application/json"), ("accept-encoding", "gzip, br, zstd")];
        let response = send(&mesh, &ada, method, path, &headers, body).await;
        let text = String::from_utf8_lossy(&response.body).into_owned();
        assert_eq!((response.status, response.header("content-encoding")), (200, ""), "{path}: {text}");
        assert!(response.body.len() > 64, "{path}: {text}");
    }
}

/// gRPC-Web has its own compression, and a browser must not decompress a part of its body.
#[tokio::test(flavor = "multi_thread")]
async fn grpc_web_and_errors_are_sent_as_they_are() {
    let mesh = Mesh::start(Store::Sqlite, &[SMALL]).await;
    let ada = mesh.sign_up("ada").await;
    let accept = [("accept-encoding", "gzip, br, zstd")];
    let port = mesh.ports.gateway;
    let request = web::call(port, "/trellis.auth.v1.AuthService/GetJwks", web::BINARY, &accept, &GetJwksRequest {});
    let response = web::send(port, Http::One, request).await.unwrap();
    assert_eq!((response.grpc_status().as_str(), response.header("content-encoding")), ("0", ""));
    let missing = send(&mesh, &ada, "GET", &format!("/v1/users/{}", new_id()), &accept, Bytes::new()).await;
    assert_eq!((missing.status, missing.header("content-encoding")), (404, ""));
    let off = Mesh::start(Store::Sqlite, &[SMALL, ("GATEWAY__COMPRESSION__ENABLED", "false")]).await;
    for path in ["/openapi.json", "/v1/auth/jwks", "/"] {
        let request = web::request("GET", off.ports.gateway, path, &accept, Bytes::new());
        let response = web::send(off.ports.gateway, Http::One, request).await.unwrap();
        assert_eq!((response.status, response.header("content-encoding")), (200, ""), "{path}");
    }
}
