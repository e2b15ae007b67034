//! Upstreams outside the mesh, well behaved and not.

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

/// The ways to speak gRPC-Web.
const WEB: [(Http, &str); 4] = [(Http::One, BINARY), (Http::One, TEXT), (Http::Two, BINARY), (Http::Two, TEXT)];

type Seen = Arc<Mutex<Vec<HeaderMap>>>;
type Frames = Vec<Result<Frame<Bytes>, std::io::Error>>;

/// A server that answers as the path's method says, and remembers what it was sent.
async fn foreign() -> (String, Seen) {
    serve(answer).await
}

/// A server that answers everything with one message.
pub(crate) async fn serve_message(message: Vec<u8>) -> String {
    let (address, _) = serve(move |_| respond(vec![Ok(Frame::data(web::frame(&message))), well()])).await;
    address
}

type Body = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;
type Received = Response<Body>;

async fn serve(answer: impl Fn(&str) -> Received + Clone + Send + 'static) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Seen::default();
    let remembered = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (seen, answer) = (Arc::clone(&remembered), answer.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                seen.lock().unwrap().push(request.headers().clone());
                let response = answer(request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            let io = TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service));
        }
    });
    (address, seen)
}

fn answer(path: &str) -> Received {
    let message = || Ok(Frame::data(web::frame(b"hello")));
    let half = |cut: &str| Ok(Frame::data(web::frame(b"hello").slice(..cut.parse::<usize>().unwrap())));
    let broken = || Err(std::io::Error::other("cut"));
    // A small message, and the head of one that is too large, in one piece.
    let large = || Ok(Frame::data([&web::frame(b"hello")[..], &[0, 0xff, 0xff, 0xff, 0xff]].concat().into()));
    let method = path.rsplit('/').next().unwrap();
    // `CutAfter_3`: when three bytes of a second message have been said.
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
        // The status stands where only a response without messages may have it.
        "StatusAhead" => return early(200, "0", vec![message()]),
        "StatusAlone" => return early(200, "5", Vec::new()),
        "NotFoundByGrpc" => return early(404, "7", Vec::new()),
        "TrailersBeyond" => vec![message(), trailers(&[("x-large", &"x".repeat(17_000)), ("grpc-status", "0")])],
        "TrailersWithin" => vec![message(), trailers(&[("x-large", &"x".repeat(15_000)), ("grpc-status", "0")])],
        "StrangeTrailers" => vec![message(), trailers(&[("set-cookie", "a=b"), ("grpc-status", "0"), ("x-kept", "1")])],
        "NoNumber" => vec![message(), trailers(&[("grpc-status", "fine")])],
        // A frame that a caller of gRPC-Web would take for the end.
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

/// The trailers of a success, with one of the upstream's own.
fn well() -> Result<Frame<Bytes>, std::io::Error> {
    trailers(&[("grpc-status", "0"), ("x-foreign", "yes")])
}

fn trailers(pairs: &[(&'static str, &str)]) -> Result<Frame<Bytes>, std::io::Error> {
    let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    Ok(Frame::trailers(pairs.collect()))
}

/// A response with a status in its head, which is not its end.
fn early(status: u16, grpc_status: &str, frames: Frames) -> Received {
    let response = Response::builder().status(status).header("content-type", "application/grpc");
    response.header("grpc-status", grpc_status).body(body(frames)).unwrap()
}

fn respond(frames: Frames) -> Received {
    let response = Response::builder().header("content-type", "application/grpc").header("set-cookie", "a=b");
    response.body(body(frames)).unwrap()
}

fn body(frames: Frames) -> Body {
    let after_a_while = |frame: Result<Frame<Bytes>, _>| async {
        if frame.is_err() {
            // hyper would take back what it has not written.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        frame
    };
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames).then(after_a_while)))
}

async fn mesh_with_foreign() -> (Mesh, Seen) {
    let (address, seen) = foreign().await;
    (mesh_with(&address).await, seen)
}

/// A mesh whose gateway opens `acme.v1.Shop`, at this address, to everybody.
pub(crate) async fn mesh_with(address: &str) -> Mesh {
    mesh_with_all(&[address], &[]).await
}

/// As [`mesh_with`], at several addresses.
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
async fn an_external_upstream_learns_nothing_of_the_caller() {
    let (mesh, seen) = mesh_with_foreign().await;
    let port = mesh.ports.gateway;
    let headers = [("authorization", "Bearer secret"), ("cookie", "__Host-trellis_session_a1=secret"), ("x-kept", "1")];
    let call = web::call(port, "/acme.v1.Shop/Good", BINARY, &headers, &GetJwksRequest {});
    let answer = web::send(port, Http::One, call).await.unwrap();
    let (messages, trailers) = answer.frames();
    assert_eq!(messages, [Bytes::from_static(b"hello")]);
    assert!(trailers.contains("x-foreign: yes\r\n"), "{trailers}");
    assert_eq!(answer.header("set-cookie"), "");
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
async fn a_failure_in_the_middle_is_never_a_success() {
    let (mesh, _seen) = mesh_with_foreign().await;
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
        let answer = web::send(port, http, call).await.unwrap();
        assert_eq!(answer.grpc_status(), (code as i32).to_string(), "{method} {http:?} {content_type}: {answer:?}");
        // What was whole before it has come.
        if !has_no_message.contains(&method) {
            assert_eq!(answer.frames().0, [Bytes::from_static(b"hello")], "{method} {http:?} {content_type}");
        }
    }
}

/// gRPC-Web's trailers would be taken for the rest of the message.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_message_is_never_taken_for_a_whole_one() {
    let (mesh, _seen) = mesh_with_foreign().await;
    let port = mesh.ports.gateway;
    let ways = WEB.into_iter().chain([(Http::Two, "application/grpc")]);
    for ((http, content_type), end) in
        ways.flat_map(|way| ["CutAfter", "WellAfter", "NothingAfter", "EarlyStatus"].map(|end| (way, end)))
    {
        for cut in [1, 5, 9] {
            let path = format!("/acme.v1.Shop/{end}_{cut}");
            let call = web::call(port, &path, content_type, &[], &GetJwksRequest {});
            // Something of it always comes: a browser repeats a call whose connection was closed without a word.
            let begun = web::begin(port, http, call).await;
            let answered = begun.unwrap_or_else(|e| panic!("{end} {cut} {http:?} {content_type}: {e}"));
            let answered = answered.into_body().collect().await;
            if content_type == "application/grpc" {
                let status = answered.unwrap().trailers().unwrap()["grpc-status"].clone();
                assert_ne!(status, "0", "{end} {cut}");
            } else {
                assert!(answered.is_err(), "{end} {cut} {http:?} {content_type}: {answered:?}");
            }
        }
    }
}

/// What a caller sends wrongly is told to be so, and never gets to the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_wrong_is_its_callers_mistake() {
    let (mesh, seen) = mesh_with_foreign().await;
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
        let answer = web::send(port, Http::One, call).await.unwrap();
        assert_eq!(answer.grpc_status(), (code as i32).to_string(), "{name}: {value:?}");
        let calls = seen.lock().unwrap().len() - before;
        assert_eq!(calls, usize::from(code == Code::Ok), "{name}: {value:?}");
    }
    // Trailers are the response's: nobody asks with them.
    let headers = [("content-type", BINARY)];
    for body in [&b"\x80\0\0\0\0"[..], b"\0\0\0\0\0\x80\0\0\0\0", b"\x02\0\0\0\0"] {
        let request = web::request("POST", port, "/acme.v1.Shop/Good", &headers, Bytes::from_static(body));
        let status = web::send(port, Http::One, request).await.unwrap().grpc_status();
        assert_eq!(status, (Code::InvalidArgument as i32).to_string(), "{body:?}");
    }
}
