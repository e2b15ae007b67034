//! What passes between the gateway and an upstream, frame by frame.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Barrier,
};

use super::{
    foreign::mesh_with,
    web::{self, Answer, BINARY, Http},
};

const PREFACE_BYTES: usize = 24;
const HEADERS: u8 = 1;
/// An empty SETTINGS.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// REFUSED_STREAM for stream 1.
const REFUSAL: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
/// GOAWAY without an error; stream 1 is the last that was looked at.
const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];

/// Answers each call with what it was sent, at most `at_once` of them on a connection; a call of `Together` waits until
/// `together` of them are there.
fn echo(stream: TcpStream, at_once: u32, together: Arc<Barrier>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let together = Arc::clone(&together);
        async move {
            if request.uri().path().ends_with("/Together") {
                together.wait().await;
            }
            let message = request.into_body().collect().await.unwrap().to_bytes();
            let status = [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
            let frames = [Frame::data(message), Frame::trailers(status)].map(Ok::<_, Infallible>);
            let body = StreamBody::new(futures_util::stream::iter(frames));
            Ok::<_, Infallible>(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    tokio::spawn(builder.max_concurrent_streams(at_once).serve_connection(TokioIo::new(stream), service));
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}

async fn say(port: u16, method: &str, words: &str) -> Answer {
    let call = web::call(port, &format!("/acme.v1.Shop/{method}"), BINARY, &[], &words.to_owned());
    web::send(port, Http::One, call).await.unwrap()
}

/// Refuses the first call, and goes away without having looked at the second.
async fn turn_away(mut stream: TcpStream) {
    stream.write_all(SETTINGS).await.unwrap();
    stream.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
    let mut answers = [REFUSAL, GOAWAY].into_iter();
    let mut header = [0; 9];
    // Until the gateway closes the connection.
    while stream.read_exact(&mut header).await.is_ok() {
        let [a, b, c, kind, ..] = header;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if kind == HEADERS {
            stream.write_all(answers.next().expect("at most two calls come here")).await.unwrap();
        }
    }
    assert_eq!(answers.next(), None, "two calls came here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_has_looked_at_is_sent_again() {
    let (listener, address) = listen().await;
    let mesh = mesh_with(&address).await;
    let upstream = tokio::spawn(async move {
        let (first, _) = listener.accept().await.unwrap();
        let turning_away = tokio::spawn(turn_away(first));
        let (second, _) = listener.accept().await.unwrap();
        echo(second, 100, Arc::new(Barrier::new(1)));
        turning_away.await.unwrap();
    });
    let (messages, trailers) = say(mesh.ports.gateway, "Once", "hello").await.frames();
    assert!(trailers.contains("grpc-status: 0\r\n"), "{trailers}");
    assert_eq!(messages, ["hello".to_owned().encode_to_vec()]);
    upstream.await.unwrap();
}

/// Calls beyond what the upstream takes on a connection would wait there; they get another.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_says_how_many_calls_a_connection_takes() {
    const CALLS: usize = 3;
    let (listener, address) = listen().await;
    let mesh = mesh_with(&address).await;
    let together = Arc::new(Barrier::new(CALLS));
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
            echo(stream, 1, Arc::clone(&together));
        }
    });
    // From the first answer on the gateway knows.
    say(mesh.ports.gateway, "Alone", "hello").await;
    let answers = join_all((0..CALLS).map(|_| say(mesh.ports.gateway, "Together", "hello"))).await;
    assert!(answers.iter().all(|answer| answer.frames().0.len() == 1), "{answers:?}");
    assert_eq!(connections.load(Ordering::Relaxed), CALLS);
}
