//! HTTP/2 frames between the gateway and an upstream.

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
/// Ends stream 1 with success: `:status` 200, `content-type` application/grpc, `grpc-status` 0.
const SUCCESS: &[u8] = b"\x00\x00\x23\x01\x05\x00\x00\x00\x01\x88\x0f\x10\x10application/grpc\x00\x0bgrpc-status\x010";
/// HEADERS of a response with an invalid order: `:status` comes last.
const MALFORMED: &[u8] = b"\x00\x00\x14\x01\x04\x00\x00\x00\x01\x0f\x10\x10application/grpc\x88";
/// Response headers; `MESSAGE` is one empty message, and `RESET` resets the stream.
const RESPONSE: &[u8] = b"\x00\x00\x14\x01\x04\x00\x00\x00\x01\x88\x0f\x10\x10application/grpc";
const MESSAGE: &[u8] = &[0, 0, 5, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
const RESET: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0];
/// GOAWAY without an error; stream 1 is the last processed one.
const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];

/// Echoes each request, at most `at_once` at a time on a connection; a call of `Together` waits until `together` of
/// them have arrived.
pub(crate) fn echo(stream: TcpStream, at_once: u32, together: Arc<Barrier>) {
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

async fn call(port: u16, method: &str, words: &str) -> Received {
    let call = web::call(port, &format!("/acme.v1.Shop/{method}"), BINARY, &[], &words.to_owned());
    web::send(port, Http::One, call).await.unwrap()
}

/// An HTTP/2 frame.
struct Http2Frame {
    kind: u8,
    stream: [u8; 4],
    payload: Vec<u8>,
}

/// Completes the HTTP/2 preface; only frames follow.
async fn accept_preface(stream: &mut TcpStream) {
    stream.write_all(SETTINGS).await.unwrap();
    stream.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
}

/// The next frame; `None`: the gateway has closed the connection.
async fn next(from: &mut TcpStream) -> Option<Http2Frame> {
    let mut header = [0; 9];
    from.read_exact(&mut header).await.ok()?;
    let [a, b, c, kind, _, stream @ ..] = header;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    from.read_exact(&mut payload).await.unwrap();
    Some(Http2Frame { kind, stream, payload })
}

/// Refuses the first call, and sends GOAWAY without having processed the second.
async fn refuse_and_go_away(mut stream: TcpStream) {
    accept_preface(&mut stream).await;
    let mut replies = [REFUSAL, GOAWAY].into_iter();
    while let Some(frame) = next(&mut stream).await {
        if frame.kind == HEADERS {
            stream.write_all(replies.next().expect("at most two calls arrive")).await.unwrap();
        }
    }
    assert_eq!(replies.next(), None, "two calls arrived");
}

#[tokio::test(flavor = "multi_thread")]
async fn unprocessed_call_is_retried() {
    let (listener, address) = listen().await;
    let mesh = mesh_with(&address).await;
    let upstream = tokio::spawn(async move {
        let (first, _) = listener.accept().await.unwrap();
        let turning_away = tokio::spawn(refuse_and_go_away(first));
        let (second, _) = listener.accept().await.unwrap();
        echo(second, 100, Arc::new(Barrier::new(1)));
        turning_away.await.unwrap();
    });
    let (messages, trailers) = call(mesh.ports.gateway, "Once", "hello").await.frames();
    assert!(trailers.contains("grpc-status: 0\r\n"), "{trailers}");
    assert_eq!(messages, ["hello".to_owned().encode_to_vec()]);
    upstream.await.unwrap();
}

/// Resets each call with the given error code, before its response has begun or after.
async fn reset_calls(mut stream: TcpStream, how: watch::Receiver<(When, Reason)>) {
    accept_preface(&mut stream).await;
    while let Some(frame) = next(&mut stream).await {
        if frame.kind != HEADERS {
            continue;
        }
        let (when, reason) = *how.borrow();
        let begun = [RESPONSE, MESSAGE].into_iter().filter(|_| when == When::After);
        let mut response = Vec::new();
        for part in begun.chain([RESET]) {
            let start = response.len();
            response.extend_from_slice(part);
            response[start + 5..start + 9].copy_from_slice(&frame.stream);
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

/// The gateway maps HTTP/2 error codes to statuses by gRPC's table, as a client does that calls the upstream itself.
#[tokio::test(flavor = "multi_thread")]
async fn reset_of_an_upstream_maps_to_the_grpc_status_of_its_code() {
    let (listener, address) = listen().await;
    let mesh = mesh_with(&address).await;
    let (how, changes) = watch::channel((When::Before, 0));
    tokio::spawn(async move {
        loop {
            tokio::spawn(reset_calls(listener.accept().await.unwrap().0, changes.clone()));
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
            assert_eq!(response.frames().0.len(), whole, "complete messages are delivered: {context}");
        }
    }
}

/// Responds to each call with invalid headers: a pseudo-header after other fields.
async fn send_malformed_response(mut stream: TcpStream) {
    accept_preface(&mut stream).await;
    while let Some(frame) = next(&mut stream).await {
        if frame.kind == HEADERS {
            let mut response = MALFORMED.to_vec();
            response[5..9].copy_from_slice(&frame.stream);
            stream.write_all(&response).await.unwrap();
        }
    }
}

/// A protocol error in a response counts as a failure of the upstream, not as a cancellation by the client.
#[tokio::test(flavor = "multi_thread")]
async fn upstream_with_protocol_errors_is_ejected() {
    let ((bad, bad_address), (good, good_address)) = (listen().await, listen().await);
    let mesh = mesh_with_all(&[&bad_address, &good_address], &[]).await;
    tokio::spawn(async move {
        loop {
            tokio::spawn(send_malformed_response(bad.accept().await.unwrap().0));
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
        let status = call(mesh.ports.gateway, "Once", "hello").await.grpc_status();
        if status == "0" {
            well_in_a_row += 1;
        } else {
            assert_eq!(status, (Code::Internal as i32).to_string());
            (failed, well_in_a_row) = (failed + 1, 0);
        }
    }
    assert!((1..=5).contains(&failed), "five consecutive failures eject it: {failed}");
}

/// hyper stops reading while bytes are buffered that belong to no call. A disconnect is noticed all the same.
#[tokio::test(flavor = "multi_thread")]
async fn disconnect_of_a_client_with_unread_bytes_is_noticed() {
    let (listener, address) = listen().await;
    let mesh = mesh_with_all(&[&address], &[("LIMITS__REQUEST_HEAD", "2s")]).await;
    let (resets, mut takes_back) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let resets = resets.clone();
            tokio::spawn(async move {
                accept_preface(&mut stream).await;
                while let Some(frame) = next(&mut stream).await {
                    if frame.kind == RST_STREAM {
                        resets.send(frame.payload).await.unwrap();
                    }
                }
            });
        }
    });
    // More than the gateway buffers before the upstream reads.
    let upload = [b"POST /acme.v1.Shop/Silent HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web\r\ncontent-length: 300000\r\n\r\n\0\0\x04\0\0", &[7; 200_000][..]].concat();
    let whole = b"POST /acme.v1.Shop/Silent HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0";
    for frame in [&whole[..], &[&whole[..], b"\r\n"].concat(), &[&whole[..], whole].concat(), &upload] {
        let mut caller = TcpStream::connect(("127.0.0.1", mesh.ports.gateway)).await.unwrap();
        caller.write_all(frame).await.unwrap();
        // Long enough for the upstream to receive the call.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(takes_back.try_recv().is_err(), "the client is still connected");
        drop(caller);
        let reason = tokio::time::timeout(Duration::from_secs(20), takes_back.recv()).await;
        assert_eq!(reason.unwrap_or_else(|_| panic!("after {} bytes", frame.len())), Some(vec![0, 0, 0, 8]));
    }
}

/// Calls beyond the upstream's concurrent stream limit use another connection instead of waiting.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_stream_limit_of_an_upstream_is_kept() {
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
    // The gateway knows the limit from the first response on.
    call(mesh.ports.gateway, "Alone", "hello").await;
    let responses = join_all((0..CALLS).map(|_| call(mesh.ports.gateway, "Together", "hello"))).await;
    assert!(responses.iter().all(|response| response.frames().0.len() == 1), "{responses:?}");
    assert_eq!(connections.load(Ordering::Relaxed), CALLS);
}

/// Responds to every call, and sends the payload of its HEADERS to the test.
async fn record_headers(mut stream: TcpStream, heads: mpsc::Sender<Vec<u8>>) {
    accept_preface(&mut stream).await;
    while let Some(frame) = next(&mut stream).await {
        if frame.kind == HEADERS {
            heads.send(frame.payload).await.unwrap();
            let mut response = SUCCESS.to_vec();
            response[5..9].copy_from_slice(&frame.stream);
            stream.write_all(&response).await.unwrap();
        }
    }
}

/// The representations in a header block (RFC 7541, section 6): how many refer to the table, add a field to it, or carry
/// a field that must never be added.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields {
    indexed: usize,
    added: usize,
    never_indexed: usize,
    others: usize,
}

impl Fields {
    fn of(mut block: &[u8]) -> Self {
        let mut fields = Self::default();
        while let Some(first) = block.first().copied() {
            let (count, prefix, is_literal) = match first {
                0x80.. => (&mut fields.indexed, 7, false),
                0x40.. => (&mut fields.added, 6, true),
                0x20.. => (&mut fields.others, 5, false),
                0x10.. => (&mut fields.never_indexed, 4, true),
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

/// Fields that change with each call would evict the constant fields from the dynamic table.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_change_with_each_call_are_not_indexed() {
    let (listener, address) = listen().await;
    // One connection, whose dynamic table all calls use.
    let mesh = mesh_with_all(&[&address], &[("GATEWAY__THREADS", "0")]).await;
    let (heads, mut received) = mpsc::channel(10);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(record_headers(stream, heads.clone()));
        }
    });
    let mut fields = Vec::new();
    for _ in 0..3 {
        let response = call(mesh.ports.gateway, "Same", "hello").await;
        assert_eq!(response.grpc_status(), "0");
        fields.push(Fields::of(&received.recv().await.unwrap()));
    }
    assert!(fields[0].added > 0, "{fields:?}");
    assert_eq!((fields[1].added, fields[2].added), (0, 0), "{fields:?}");
    // Trace context and deadline.
    assert!(fields.iter().all(|fields| fields.never_indexed == 2), "{fields:?}");
}
