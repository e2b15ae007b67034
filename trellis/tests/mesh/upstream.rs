//! What passes between the gateway and an upstream, frame by frame.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
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
    sync::{Barrier, mpsc, watch},
};
use tonic::Code;

use super::{
    external_upstream::{mesh_with, mesh_with_all},
    web::{self, BINARY, Http, Received, TEXT},
};

const PREFACE_BYTES: usize = 24;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
/// An empty SETTINGS.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// REFUSED_STREAM for stream 1.
const REFUSAL: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
/// Ends stream 1, over HTTP and over gRPC: `:status` 200, `content-type` application/grpc, `grpc-status` 0.
const FINE: &[u8] = b"\x00\x00\x23\x01\x05\x00\x00\x00\x01\x88\x0f\x10\x10application/grpc\x00\x0bgrpc-status\x010";
/// HEADERS of a response whose `:status` comes last, where it may not be.
const NONSENSE: &[u8] = b"\x00\x00\x14\x01\x04\x00\x00\x00\x01\x0f\x10\x10application/grpc\x88";
/// Begins a response, brings one message of nothing, and breaks the stream off.
const BEGUN: &[u8] = b"\x00\x00\x14\x01\x04\x00\x00\x00\x01\x88\x0f\x10\x10application/grpc";
const MESSAGE: &[u8] = &[0, 0, 5, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
const BREAK: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0];
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

async fn say(port: u16, method: &str, words: &str) -> Received {
    let call = web::call(port, &format!("/acme.v1.Shop/{method}"), BINARY, &[], &words.to_owned());
    web::send(port, Http::One, call).await.unwrap()
}

/// A frame of HTTP/2.
struct Said {
    kind: u8,
    stream: [u8; 4],
    payload: Vec<u8>,
}

/// Begins to serve; what comes then is frames.
async fn greet(stream: &mut TcpStream) {
    stream.write_all(SETTINGS).await.unwrap();
    stream.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
}

/// The next frame, until the gateway closes the connection.
async fn next(from: &mut TcpStream) -> Option<Said> {
    let mut header = [0; 9];
    from.read_exact(&mut header).await.ok()?;
    let [a, b, c, kind, _, stream @ ..] = header;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    from.read_exact(&mut payload).await.unwrap();
    Some(Said { kind, stream, payload })
}

/// Refuses the first call, and goes away without having looked at the second.
async fn turn_away(mut stream: TcpStream) {
    greet(&mut stream).await;
    let mut answers = [REFUSAL, GOAWAY].into_iter();
    while let Some(said) = next(&mut stream).await {
        if said.kind == HEADERS {
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

/// Breaks each call off for the given reason, after its response has begun or before.
async fn break_off(mut stream: TcpStream, how: watch::Receiver<(When, Reason)>) {
    greet(&mut stream).await;
    while let Some(said) = next(&mut stream).await {
        if said.kind != HEADERS {
            continue;
        }
        let (when, reason) = *how.borrow();
        let begun = [BEGUN, MESSAGE].into_iter().filter(|_| when == When::After);
        let mut response = Vec::new();
        for frame in begun.chain([BREAK]) {
            let start = response.len();
            response.extend_from_slice(frame);
            response[start + 5..start + 9].copy_from_slice(&said.stream);
        }
        *response.last_mut().unwrap() = reason;
        stream.write_all(&response).await.unwrap();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    After,
}

/// An error code of HTTP/2.
type Reason = u8;

/// gRPC's table for the error codes of HTTP/2: a caller hears what it would hear without a gateway.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_breaks_off_is_told_by_its_code() {
    let (listener, address) = listen().await;
    let mesh = mesh_with(&address).await;
    let (how, told) = watch::channel((When::Before, 0));
    tokio::spawn(async move {
        loop {
            tokio::spawn(break_off(listener.accept().await.unwrap().0, told.clone()));
        }
    });
    let codes = [
        (0, Code::Internal),
        (1, Code::Internal),
        (2, Code::Internal),
        (8, Code::Cancelled),
        (11, Code::ResourceExhausted),
        (12, Code::PermissionDenied),
    ];
    let ways = [(Http::One, BINARY), (Http::One, TEXT), (Http::Two, BINARY), (Http::Two, "application/grpc")];
    for (http, content_type) in ways {
        for ((reason, code), when) in codes.into_iter().flat_map(|code| [When::Before, When::After].map(|w| (code, w)))
        {
            how.send((when, reason)).unwrap();
            let call = web::call(mesh.ports.gateway, "/acme.v1.Shop/Once", content_type, &[], &String::new());
            let response = web::send(mesh.ports.gateway, http, call).await.unwrap();
            let context = format!("{reason} {when:?} {http:?} {content_type}: {response:?}");
            assert_eq!(response.grpc_status(), (code as i32).to_string(), "{context}");
            let whole = usize::from(when == When::After);
            assert_eq!(response.frames().0.len(), whole, "what was whole has come: {context}");
        }
    }
}

/// Answers each call with a head that is none: a pseudo-header after others.
async fn babble(mut stream: TcpStream) {
    greet(&mut stream).await;
    while let Some(said) = next(&mut stream).await {
        if said.kind == HEADERS {
            let mut response = NONSENSE.to_vec();
            response[5..9].copy_from_slice(&said.stream);
            stream.write_all(&response).await.unwrap();
        }
    }
}

/// What h2 finds wrong with a response is the server's mistake and no whim of the caller's.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_breaks_the_protocol_is_taken_out() {
    let ((bad, bad_address), (good, good_address)) = (listen().await, listen().await);
    let mesh = mesh_with_all(&[&bad_address, &good_address], &[]).await;
    tokio::spawn(async move {
        loop {
            tokio::spawn(babble(bad.accept().await.unwrap().0));
        }
    });
    tokio::spawn(async move {
        loop {
            echo(good.accept().await.unwrap().0, 100, Arc::new(Barrier::new(1)));
        }
    });
    let mut failed = 0;
    let mut well_in_a_row = 0;
    while well_in_a_row < 50 {
        let status = say(mesh.ports.gateway, "Once", "hello").await.grpc_status();
        if status == "0" {
            well_in_a_row += 1;
        } else {
            assert_eq!(status, (Code::Internal as i32).to_string());
            (failed, well_in_a_row) = (failed + 1, 0);
        }
    }
    assert!((1..=5).contains(&failed), "five failures in a row take it out: {failed}");
}

/// hyper does not read on while bytes wait that belong to no call: that their sender has gone is seen all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_is_noticed_whatever_it_has_sent_before() {
    let (listener, address) = listen().await;
    let mesh = mesh_with_all(&[&address], &[("LIMITS__REQUEST_HEAD", "2s")]).await;
    let (told, mut takes_back) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let told = told.clone();
            tokio::spawn(async move {
                greet(&mut stream).await;
                while let Some(said) = next(&mut stream).await {
                    if said.kind == RST_STREAM {
                        told.send(said.payload).await.unwrap();
                    }
                }
            });
        }
    });
    // More than the gateway reads before the upstream takes some of it.
    let upload = [b"POST /acme.v1.Shop/Silent HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web\r\ncontent-length: 300000\r\n\r\n\0\0\x04\0\0", &[7; 200_000][..]].concat();
    let whole = b"POST /acme.v1.Shop/Silent HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0";
    for said in [&whole[..], &[&whole[..], b"\r\n"].concat(), &[&whole[..], whole].concat(), &upload] {
        let mut caller = TcpStream::connect(("127.0.0.1", mesh.ports.gateway)).await.unwrap();
        caller.write_all(said).await.unwrap();
        // Long enough for the upstream to have the call.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(takes_back.try_recv().is_err(), "the caller is there");
        drop(caller);
        let reason = tokio::time::timeout(Duration::from_secs(20), takes_back.recv()).await;
        assert_eq!(reason.unwrap_or_else(|_| panic!("after {} bytes", said.len())), Some(vec![0, 0, 0, 8]));
    }
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
    // From the first response on the gateway knows.
    say(mesh.ports.gateway, "Alone", "hello").await;
    let answers = join_all((0..CALLS).map(|_| say(mesh.ports.gateway, "Together", "hello"))).await;
    assert!(answers.iter().all(|response| response.frames().0.len() == 1), "{answers:?}");
    assert_eq!(connections.load(Ordering::Relaxed), CALLS);
}

/// Answers every call, and passes on what its HEADERS said.
async fn overhear(mut stream: TcpStream, heads: mpsc::Sender<Vec<u8>>) {
    greet(&mut stream).await;
    while let Some(said) = next(&mut stream).await {
        if said.kind == HEADERS {
            heads.send(said.payload).await.unwrap();
            let mut response = FINE.to_vec();
            response[5..9].copy_from_slice(&said.stream);
            stream.write_all(&response).await.unwrap();
        }
    }
}

/// How the fields of a header block are written (RFC 7541, section 6): how many are in the table, are put there, and
/// are kept out of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields {
    known: usize,
    remembered: usize,
    never_remembered: usize,
    others: usize,
}

impl Fields {
    fn of(mut block: &[u8]) -> Self {
        let mut fields = Self::default();
        while let Some(first) = block.first().copied() {
            let (count, prefix, is_literal) = match first {
                0x80.. => (&mut fields.known, 7, false),
                0x40.. => (&mut fields.remembered, 6, true),
                0x20.. => (&mut fields.others, 5, false),
                0x10.. => (&mut fields.never_remembered, 4, true),
                _ => (&mut fields.others, 4, true),
            };
            *count += 1;
            let name = integer(&mut block, prefix);
            if is_literal {
                for _ in 0..if name == 0 { 2 } else { 1 } {
                    let length = integer(&mut block, 7);
                    block = &block[length..];
                }
            }
        }
        fields
    }
}

/// RFC 7541, section 5.1.
fn integer(block: &mut &[u8], prefix: u32) -> usize {
    let mut next = || block.split_off_first().copied().map(usize::from).expect("the block is whole");
    let most = (1 << prefix) - 1;
    let mut value = next() & most;
    if value == most {
        for shift in (0..).step_by(7) {
            let byte = next();
            value += (byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
    }
    value
}

/// A table that changes with each call costs more than it saves, and forgets what comes with every call.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_with_each_call_stays_out_of_the_table_of_headers() {
    let (listener, address) = listen().await;
    let mesh = mesh_with(&address).await;
    let (heads, mut heard) = mpsc::channel(10);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(overhear(stream, heads.clone()));
        }
    });
    let mut fields = Vec::new();
    for _ in 0..3 {
        let response = say(mesh.ports.gateway, "Same", "hello").await;
        assert_eq!(response.grpc_status(), "0");
        fields.push(Fields::of(&heard.recv().await.unwrap()));
    }
    assert!(fields[0].remembered > 0, "{fields:?}");
    assert_eq!((fields[1].remembered, fields[2].remembered), (0, 0), "{fields:?}");
    // Trace context and deadline.
    assert!(fields.iter().all(|fields| fields.never_remembered == 2), "{fields:?}");
}
