//! External upstreams with correct and incorrect responses.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto::auth::v1::GetJwksRequest;
use tokio::net::TcpListener;
use tonic::Code;

use super::{
    harness::Mesh,
    web::{self, BINARY, Http, TEXT},
};

/// The variants of gRPC-Web.
const WEB: [(Http, &str); 4] = [(Http::One, BINARY), (Http::One, TEXT), (Http::Two, BINARY), (Http::Two, TEXT)];

type Seen = Arc<Mutex<Vec<HeaderMap>>>;
type Frames = Vec<Result<Frame<Bytes>, std::io::Error>>;

/// Starts a server whose response depends on the method name, and which records the request headers.
async fn scripted_upstream() -> (String, Seen) {
    serve(scripted_response).await
}

/// Starts a server that responds to every call with one message.
pub(crate) async fn serve_message(message: Vec<u8>) -> String {
    let (address, _) = serve(move |_| respond(vec![Ok(Frame::data(web::frame(&message))), well()])).await;
    address
}

type Body = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;
type Received = Response<Body>;

pub(crate) async fn serve(handler: impl Fn(&str) -> Received + Clone + Send + 'static) -> (String, Seen) {
    serve_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), handler)
}

pub(crate) fn serve_on(
    listener: TcpListener,
    handler: impl Fn(&str) -> Received + Clone + Send + 'static,
) -> (String, Seen) {
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let remembered = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (seen, handler) = (Arc::clone(&remembered), handler.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                seen.lock().unwrap().push(request.headers().clone());
                let response = handler(request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            let io = TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service));
        }
    });
    (address, seen)
}

fn scripted_response(path: &str) -> Received {
    let message = || Ok(Frame::data(web::frame(b"hello")));
    let half = |cut: &str| Ok(Frame::data(web::frame(b"hello").slice(..cut.parse::<usize>().unwrap())));
    let broken = || Err(std::io::Error::other("cut"));
    // A small message and the prefix of one that is too large, in one frame.
    let large = || Ok(Frame::data([&web::frame(b"hello")[..], &[0, 0xff, 0xff, 0xff, 0xff]].concat().into()));
    let method = path.rsplit('/').next().unwrap();
    // `CutAfter_3`: after three bytes of a second message.
    let (name, cut) = method.split_once('_').unwrap_or((method, ""));
    let frames: Frames = match name {
        "Good" => vec![message(), well()],
        "Cut" => vec![message(), broken()],
        "NoStatus" => vec![message()],
        "Large" => vec![large()],
        "CutAfter" => vec![message(), half(cut), broken()],
        "WellAfter" => vec![message(), half(cut), well()],
        "NothingAfter" => vec![message(), half(cut)],
        "EarlyStatus" => return early(200, "0", vec![message(), half(cut)]),
        // The status is in the response headers, although a message follows.
        "StatusAhead" => return early(200, "0", vec![message()]),
        "StatusAlone" => return early(200, "5", Vec::new()),
        "NotFoundByGrpc" => return early(404, "7", Vec::new()),
        "TrailersBeyond" => vec![message(), trailers(&[("x-large", &"x".repeat(17_000)), ("grpc-status", "0")])],
        "TrailersWithin" => vec![message(), trailers(&[("x-large", &"x".repeat(15_000)), ("grpc-status", "0")])],
        "StrangeTrailers" => vec![message(), trailers(&[("set-cookie", "a=b"), ("grpc-status", "0"), ("x-kept", "1")])],
        "NoNumber" => vec![message(), trailers(&[("grpc-status", "fine")])],
        // A frame that a gRPC-Web client would read as trailers.
        "Pretends" => vec![message(), Ok(Frame::data(Bytes::from_static(b"\x80\0\0\0\x0fgrpc-status: 0\r\n"))), well()],
        _ => {
            let page = body(vec![Ok(Frame::data(Bytes::from_static(b"<html>")))]);
            return Response::builder()
                .status(if name == "Html431" { 431 } else { 503 })
                .header("content-type", "text/html")
                .body(page)
                .unwrap();
        }
    };
    respond(frames)
}

/// The trailers of a success, with one custom trailer.
pub(crate) fn well() -> Result<Frame<Bytes>, std::io::Error> {
    trailers(&[("grpc-status", "0"), ("x-upstream", "yes")])
}

pub(crate) fn trailers(pairs: &[(&'static str, &str)]) -> Result<Frame<Bytes>, std::io::Error> {
    let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    Ok(Frame::trailers(pairs.collect()))
}

/// A response with `grpc-status` in its headers that does not end there.
fn early(status: u16, grpc_status: &str, frames: Frames) -> Received {
    let response = Response::builder().status(status).header("content-type", "application/grpc");
    response.header("grpc-status", grpc_status).body(body(frames)).unwrap()
}

pub(crate) fn respond(frames: Frames) -> Received {
    let response = Response::builder().header("content-type", "application/grpc").header("set-cookie", "a=b");
    response.body(body(frames)).unwrap()
}

fn body(frames: Frames) -> Body {
    let after_a_while = |frame: Result<Frame<Bytes>, _>| async {
        if frame.is_err() {
            // Otherwise hyper would discard the frames that it has not written.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        frame
    };
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames).then(after_a_while)))
}

async fn mesh_with_scripted_upstream() -> (Mesh, Seen) {
    let (address, seen) = scripted_upstream().await;
    (mesh_with(&address).await, seen)
}

/// A mesh whose gateway makes `acme.v1.Shop`, at this address, public.
pub(crate) async fn mesh_with(address: &str) -> Mesh {
    mesh_with_all(&[address], &[]).await
}

/// Like [`mesh_with`], with several addresses.
pub(crate) async fn mesh_with_all(addresses: &[&str], settings: &[(&str, &str)]) -> Mesh {
    let mut mesh = Mesh::new(&[], super::harness::Ports::free());
    settings.iter().for_each(|(name, value)| mesh.set(name, value));
    let file = mesh.folder().join("trellis.toml");
    let toml = format!("[gateway.external]\n\"acme.v1.Shop\" = {{ to = {addresses:?}, access = \"public\" }}\n");
    std::fs::write(&file, toml).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    mesh
}

#[tokio::test(flavor = "multi_thread")]
async fn external_upstream_gets_no_caller_identity() {
    let (mesh, seen) = mesh_with_scripted_upstream().await;
    let port = mesh.ports.gateway;
    let headers = [("authorization", "Bearer secret"), ("cookie", "__Host-trellis_session_a1=secret"), ("x-kept", "1")];
    let call = web::call(port, "/acme.v1.Shop/Good", BINARY, &headers, &GetJwksRequest {});
    let response = web::send(port, Http::One, call).await.unwrap();
    let (messages, trailers) = response.frames();
    assert_eq!(messages, [Bytes::from_static(b"hello")]);
    assert!(trailers.contains("x-upstream: yes\r\n"), "{trailers}");
    assert_eq!(response.header("set-cookie"), "");
    let sent = seen.lock().unwrap().pop().unwrap();
    assert_eq!(sent["x-kept"], "1");
    assert!(!format!("{sent:?}").contains("secret"), "{sent:?}");
    assert!(!sent.keys().any(|name| name.as_str().starts_with("x-trellis")), "{sent:?}");
    let strange = web::call(port, "/acme.v1.Shop/StrangeTrailers", BINARY, &[], &GetJwksRequest {});
    let (_, trailers) = web::send(port, Http::One, strange).await.unwrap().frames();
    let mut trailers: Vec<_> = trailers.lines().collect();
    trailers.sort_unstable();
    assert_eq!(trailers, ["grpc-status: 0", "x-kept: 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failure_within_a_response_is_never_a_success() {
    let (mesh, _seen) = mesh_with_scripted_upstream().await;
    let port = mesh.ports.gateway;
    let cases = [
        ("Cut", Code::Internal),
        ("NoStatus", Code::Unknown),
        ("Html", Code::Unavailable),
        ("Html431", Code::Internal),
        ("Large", Code::ResourceExhausted),
        ("StatusAhead", Code::Unknown),
        ("StatusAlone", Code::NotFound),
        ("NotFoundByGrpc", Code::PermissionDenied),
        ("TrailersBeyond", Code::ResourceExhausted),
        ("TrailersWithin", Code::Ok),
        ("NoNumber", Code::Unknown),
        ("Pretends", Code::Internal),
    ];
    let has_no_message = ["Html", "Html431", "StatusAlone", "NotFoundByGrpc"];
    for ((method, code), (http, content_type)) in cases.into_iter().flat_map(|case| WEB.map(|way| (case, way))) {
        let path = format!("/acme.v1.Shop/{method}");
        let call = web::call(port, &path, content_type, &[], &GetJwksRequest {});
        let response = web::send(port, http, call).await.unwrap();
        assert_eq!(response.grpc_status(), (code as i32).to_string(), "{method} {http:?} {content_type}: {response:?}");
        // A message that was complete before the failure is delivered.
        if !has_no_message.contains(&method) {
            assert_eq!(response.frames().0, [Bytes::from_static(b"hello")], "{method} {http:?} {content_type}");
        }
    }
}

/// A client would read gRPC-Web's trailers as the rest of the message.
#[tokio::test(flavor = "multi_thread")]
async fn truncated_message_is_never_taken_for_a_whole_one() {
    let (mesh, _seen) = mesh_with_scripted_upstream().await;
    let port = mesh.ports.gateway;
    let ways = WEB.into_iter().chain([(Http::Two, "application/grpc")]);
    for ((http, content_type), end) in
        ways.flat_map(|way| ["CutAfter", "WellAfter", "NothingAfter", "EarlyStatus"].map(|end| (way, end)))
    {
        for cut in [1, 5, 9] {
            let path = format!("/acme.v1.Shop/{end}_{cut}");
            let call = web::call(port, &path, content_type, &[], &GetJwksRequest {});
            // Part of the response always arrives: a browser retries a call whose connection closes before a response.
            let begun = web::begin(port, http, call).await;
            let result = begun.unwrap_or_else(|e| panic!("{end} {cut} {http:?} {content_type}: {e}"));
            let result = result.into_body().collect().await;
            if content_type == "application/grpc" {
                let status = result.unwrap().trailers().unwrap()["grpc-status"].clone();
                assert_ne!(status, "0", "{end} {cut}");
            } else {
                assert!(result.is_err(), "{end} {cut} {http:?} {content_type}: {result:?}");
            }
        }
    }
}

/// The gateway refuses an invalid request with a status, and does not forward it.
#[tokio::test(flavor = "multi_thread")]
async fn invalid_request_is_refused_before_the_upstream() {
    let (mesh, seen) = mesh_with_scripted_upstream().await;
    let port = mesh.ports.gateway;
    let cases = [
        ("grpc-timeout", "1x", Code::InvalidArgument),
        ("grpc-timeout", "", Code::InvalidArgument),
        ("grpc-timeout", "-1S", Code::InvalidArgument),
        ("grpc-timeout", "123456789m", Code::InvalidArgument),
        ("grpc-timeout", "0S", Code::DeadlineExceeded),
        ("x-any", "1", Code::Ok),
    ];
    for (name, value, code) in cases {
        let before = seen.lock().unwrap().len();
        let call = web::call(port, "/acme.v1.Shop/Good", BINARY, &[(name, value)], &GetJwksRequest {});
        let response = web::send(port, Http::One, call).await.unwrap();
        assert_eq!(response.grpc_status(), (code as i32).to_string(), "{name}: {value:?}");
        let calls = seen.lock().unwrap().len() - before;
        assert_eq!(calls, usize::from(code == Code::Ok), "{name}: {value:?}");
    }
    // Only responses have trailer frames.
    let headers = [("content-type", BINARY)];
    for body in [&b"\x80\0\0\0\0"[..], b"\0\0\0\0\0\x80\0\0\0\0", b"\x02\0\0\0\0"] {
        let request = web::request("POST", port, "/acme.v1.Shop/Good", &headers, Bytes::from_static(body));
        let status = web::send(port, Http::One, request).await.unwrap().grpc_status();
        assert_eq!(status, (Code::InvalidArgument as i32).to_string(), "{body:?}");
    }
}
