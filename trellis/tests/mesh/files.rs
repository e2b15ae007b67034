//! An external upstream whose methods have all kinds of streams, and bodies that are no JSON.

use std::{
    convert::Infallible,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _, stream};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::TcpListener, time::sleep};

use super::{
    external_upstream::{trailers, well},
    harness::{Mesh, Ports},
    web,
};

const WAIT: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(50);
/// The size of the pieces of a download.
pub(crate) const PIECE: usize = 64 * 1024;
/// Without an end of a download.
pub(crate) const ENDLESS: usize = 1_000_000;
const CONTRACT: &str = r#"
    syntax = "proto3";
    package acme.v1;
    import "google/api/annotations.proto";
    import "google/api/httpbody.proto";
    import "trellis/policy/v1/policy.proto";
    message Part { string name = 1; google.api.HttpBody content = 2; }
    message Order { string content_type = 1; int32 pieces = 2; }
    message Note { string text = 1; int32 count = 2; }
    message Position { string after = 1 [(trellis.policy.v1.event_cursor) = true]; }
    message Tick { string cursor = 1 [(trellis.policy.v1.event_cursor) = true]; }
    service Shop {
      rpc Echo(Part) returns (google.api.HttpBody) {
        option (google.api.http) = { post: "/shop/{name}:echo" body: "content" };
      }
      rpc Upload(stream Part) returns (Note) {
        option (google.api.http) = { post: "/shop/{name}:upload" body: "content" };
      }
      rpc Download(Order) returns (stream google.api.HttpBody) {
        option (google.api.http) = { get: "/shop/download" };
      }
      rpc Ticks(Position) returns (stream Tick) { option (google.api.http) = { get: "/shop/ticks" }; }
      rpc Say(Note) returns (Note);
      rpc Repeat(Note) returns (stream Note);
      rpc Collect(stream Note) returns (Note);
      rpc Chat(stream Note) returns (stream Note);
    }
"#;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HttpBody {
    #[prost(string, tag = "1")]
    pub(crate) content_type: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Part {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    content: Option<HttpBody>,
}

/// A text, and a number beside it: `Order` and `Note`.
#[derive(Clone, PartialEq, Message)]
struct Note {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(int32, tag = "2")]
    count: i32,
}

/// What the upstream has done.
#[derive(Default)]
pub(crate) struct Seen {
    /// The pieces of downloads that it has sent.
    pub(crate) pieces: AtomicUsize,
    /// The messages of requests that it has received.
    pub(crate) messages: AtomicUsize,
    /// The downloads that have begun and have not ended.
    pub(crate) downloads: AtomicUsize,
}

impl Seen {
    /// Waits until the downloads in progress are `count`.
    pub(crate) async fn has_downloads(&self, count: usize) {
        let started = Instant::now();
        while self.downloads.load(Ordering::SeqCst) != count {
            assert!(started.elapsed() < WAIT, "the downloads do not become {count}");
            sleep(INTERVAL).await;
        }
    }

    /// Waits until the upstream sends no more pieces, and returns how many it has sent.
    pub(crate) async fn sent_at_rest(&self) -> usize {
        let (started, mut before, mut same) = (Instant::now(), usize::MAX, 0);
        while same < 10 {
            assert!(started.elapsed() < WAIT, "the upstream still sends");
            sleep(INTERVAL).await;
            let now = self.pieces.load(Ordering::SeqCst);
            same = if now == before { same + 1 } else { 0 };
            before = now;
        }
        before
    }
}

/// A download in progress.
struct Download(Arc<Seen>);

impl Download {
    fn begin(seen: Arc<Seen>) -> Self {
        seen.downloads.fetch_add(1, Ordering::SeqCst);
        Self(seen)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.0.downloads.fetch_sub(1, Ordering::SeqCst);
    }
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;
type Piece = Result<Frame<Bytes>, std::io::Error>;

/// Starts the upstream.
async fn serve(seen: &Arc<Seen>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::clone(seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let seen = Arc::clone(&seen);
            let service = service_fn(move |request| {
                let seen = Arc::clone(&seen);
                async move { Ok::<_, Infallible>(handle(request, seen).await) }
            });
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

async fn handle(request: Request<Incoming>, seen: Arc<Seen>) -> Response<Body> {
    let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
    let mut messages = Messages { body: request.into_body(), buffer: BytesMut::new(), seen: Arc::clone(&seen) };
    match method.as_str() {
        "Echo" => {
            let part: Part = messages.next().await.unwrap();
            let content = part.content.unwrap();
            let content_type = if part.name == "as" { content.content_type.clone() } else { part.name };
            one(&HttpBody { content_type, ..content })
        }
        "Upload" => {
            let (mut text, mut bytes) = (String::new(), 0);
            while let Some(part) = messages.next::<Part>().await {
                let content = part.content.unwrap_or_default();
                text += &format!("{}{}", part.name, content.content_type);
                bytes += content.data.len();
            }
            one(&Note { text, count: i32::try_from(bytes).unwrap() })
        }
        "Download" => {
            let order: Note = messages.next().await.unwrap();
            let count = usize::try_from(order.count).unwrap();
            let download = Download::begin(seen);
            let pieces = stream::iter(0..count).map(move |at| {
                download.0.pieces.fetch_add(1, Ordering::SeqCst);
                let content_type = if at == 0 { order.text.clone() } else { String::new() };
                data(&HttpBody { content_type, data: vec![7; PIECE].into() })
            });
            let end = if count == 3 { trailers(&[("grpc-status", "14")]) } else { well() };
            with_body(pieces.chain(stream::iter([end])))
        }
        "Ticks" => {
            // Both messages hold one text: the cursor.
            let after: Note = messages.next().await.unwrap();
            let first = after.text.parse::<i32>().map_or(0, |after| after + 1);
            // Two events, and then the stream breaks.
            let ticks = (first..first + 2).map(|at| data(&Note { text: at.to_string(), count: 0 }));
            respond(ticks.chain([trailers(&[("grpc-status", "14"), ("x-reason", "cut")])]).collect())
        }
        "Say" => one(&messages.next::<Note>().await.unwrap()),
        "Repeat" => {
            let note: Note = messages.next().await.unwrap();
            let notes = (0..note.count).map(|count| data(&Note { text: note.text.clone(), count }));
            respond(notes.chain([well()]).collect())
        }
        "Collect" => {
            let mut all = Note::default();
            while let Some(note) = messages.next::<Note>().await {
                all.text += &note.text;
                all.count += 1;
            }
            one(&all)
        }
        "Chat" => {
            let notes = stream::unfold(Some(messages), |messages| async {
                let mut messages = messages?;
                Some(match messages.next::<Note>().await {
                    Some(note) => (data(&note), Some(messages)),
                    None => (well(), None),
                })
            });
            with_body(notes)
        }
        _ => respond(vec![trailers(&[("grpc-status", "12")])]),
    }
}

fn data(message: &impl Message) -> Piece {
    Ok(Frame::data(web::frame(&message.encode_to_vec())))
}

fn one(message: &impl Message) -> Response<Body> {
    respond(vec![data(message), well()])
}

fn with_body(frames: impl Stream<Item = Piece> + Send + 'static) -> Response<Body> {
    let body = StreamBody::new(frames).boxed_unsync();
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

fn respond(frames: Vec<Piece>) -> Response<Body> {
    with_body(stream::iter(frames))
}

/// The messages of a request.
struct Messages {
    body: Incoming,
    buffer: BytesMut,
    seen: Arc<Seen>,
}

impl Messages {
    async fn next<M: Message + Default>(&mut self) -> Option<M> {
        loop {
            if let Some(head) = self.buffer.get(..5) {
                let length = usize::try_from(u32::from_be_bytes(head[1..].try_into().unwrap())).unwrap();
                if self.buffer.len() >= 5 + length {
                    self.buffer.advance(5);
                    self.seen.messages.fetch_add(1, Ordering::SeqCst);
                    return Some(M::decode(self.buffer.split_to(length)).unwrap());
                }
            }
            let frame = self.body.frame().await?.ok()?;
            self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }
}

/// The encoded descriptors of a contract. The compiler reads it from `folder`.
pub(crate) fn descriptors(contract: &str, folder: &Path) -> Vec<u8> {
    let source = folder.join("shop.proto");
    std::fs::write(&source, contract).unwrap();
    let proto = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");
    let includes = [folder.to_str().unwrap().to_owned(), proto.to_owned(), format!("{proto}/third_party")];
    let mut compiler = protox::Compiler::new(includes).unwrap();
    compiler.include_imports(true).open_file(&source).unwrap();
    compiler.encode_file_descriptor_set()
}

/// A mesh whose gateway makes the upstream public.
pub(crate) async fn mesh(settings: &[(&str, &str)]) -> (Mesh, Arc<Seen>) {
    let seen = Arc::default();
    let address = serve(&seen).await;
    let mut mesh = Mesh::new(&[], Ports::free());
    let (file, set) = (mesh.folder().join("trellis.toml"), mesh.folder().join("shop.bin"));
    std::fs::write(&set, descriptors(CONTRACT, mesh.folder())).unwrap();
    let config = format!(
        "[gateway]\ndefault_rate_requests = 10_000\n[gateway.external]\n\
         \"acme.v1.Shop\" = {{ to = {address:?}, access = \"public\", descriptors = {set:?}, graphql = true }}\n"
    );
    std::fs::write(&file, config).unwrap();
    mesh.set("CONFIG", file.to_str().unwrap());
    settings.iter().for_each(|(name, value)| mesh.set(name, value));
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    (mesh, seen)
}
