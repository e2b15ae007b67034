//! Upstreams outside the mesh, well behaved and not.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
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
    web::{self, BINARY, Http},
};

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
type Answer = Response<Body>;

async fn serve(answer: impl Fn(&str) -> Answer + Clone + Send + 'static) -> (String, Seen) {
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

fn answer(path: &str) -> Answer {
    let message = || Ok(Frame::data(web::frame(b"hello")));
    let frames: Frames = match path.rsplit('/').next().unwrap() {
        "Good" => vec![message(), well()],
        "Cut" => vec![message(), Err(std::io::Error::other("cut"))],
        "NoStatus" => vec![message()],
        _ => {
            let page = body(vec![Ok(Frame::data(Bytes::from_static(b"<html>")))]);
            return Response::builder().status(503).header("content-type", "text/html").body(page).unwrap();
        }
    };
    respond(frames)
}

/// The trailers of a success, with one of the upstream's own.
fn well() -> Result<Frame<Bytes>, std::io::Error> {
    let pairs = [("grpc-status", "0"), ("x-foreign", "yes")];
    Ok(Frame::trailers(pairs.map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).into_iter().collect()))
}

fn respond(frames: Frames) -> Answer {
    let response = Response::builder().header("content-type", "application/grpc").header("set-cookie", "a=b");
    response.body(body(frames)).unwrap()
}

fn body(frames: Frames) -> Body {
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

async fn mesh_with_foreign() -> (Mesh, Seen) {
    let (address, seen) = foreign().await;
    (mesh_with(&address).await, seen)
}

/// A mesh whose gateway opens `acme.v1.Shop`, at this address, to everybody.
pub(crate) async fn mesh_with(address: &str) -> Mesh {
    let mut mesh = Mesh::new(&[], super::harness::Ports::free());
    let file = mesh.folder().join("trellis.toml");
    std::fs::write(
        &file,
        format!("[gateway.foreign]\n\"acme.v1.Shop\" = {{ to = [\"{address}\"], access = \"public\" }}\n"),
    )
    .unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    mesh
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_upstream_learns_nothing_of_the_caller() {
    let (mesh, seen) = mesh_with_foreign().await;
    let port = mesh.ports.gateway;
    let headers = [("authorization", "Bearer secret"), ("cookie", "trellis_refresh=secret"), ("x-kept", "1")];
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_in_the_middle_is_never_a_success() {
    let (mesh, _seen) = mesh_with_foreign().await;
    let port = mesh.ports.gateway;
    let cases = [("Cut", Code::Unavailable), ("NoStatus", Code::Unknown), ("Html", Code::Unavailable)];
    for (method, code) in cases {
        let path = format!("/acme.v1.Shop/{method}");
        let call = web::call(port, &path, BINARY, &[], &GetJwksRequest {});
        let answer = web::send(port, Http::One, call).await.unwrap();
        assert_eq!(answer.grpc_status(), (code as i32).to_string(), "{method}: {answer:?}");
    }
}
