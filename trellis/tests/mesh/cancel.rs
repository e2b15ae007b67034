//! Clients that disconnect do not end the streams of others: their calls share the connections to an upstream.

use std::{convert::Infallible, future::pending, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proto::{
    auth::v1::GetJwksRequest,
    messaging::v1::{CreateConversationRequest, SendMessageRequest, SubscribeRequest},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::{
    external_upstream::mesh_with_all,
    harness::{Mesh, Ports, new_id},
    web::{self, BINARY, Http},
};

/// Calls that one client opens before it disconnects, and how many clients do.
const CALLS: usize = 100;
const CLIENTS: usize = 30;
const PATIENCE: Duration = Duration::from_secs(20);

/// When a client disconnects.
#[derive(Clone, Copy, PartialEq)]
enum When {
    /// Its requests have just been sent.
    Sent,
    /// Its requests have begun and not ended.
    Unfinished,
    /// All its calls have a response.
    Responded,
}

/// Opens calls on one connection, and closes it.
async fn disconnect(port: u16, path: &str, token: Option<&str>, when: When) {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut sender = sender.ready().await.unwrap();
    let (mut bodies, mut responses) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        let request =
            Request::post(format!("http://127.0.0.1:{port}{path}")).header("content-type", "application/grpc");
        let request = match token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        };
        let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(web::frame(&[]), when != When::Unfinished).unwrap();
        bodies.push(body);
        responses.push(response);
    }
    match when {
        // Long enough for the calls to be sent, and no longer.
        When::Sent | When::Unfinished => sleep(Duration::from_millis(3)).await,
        When::Responded => {
            let mut responses = responses.into_iter().map(tokio::spawn).collect::<stream::FuturesUnordered<_>>();
            while let Some(response) = timeout(PATIENCE, responses.next()).await.expect("the upstream responds") {
                response.unwrap().unwrap();
            }
        }
    }
    driver.abort();
}

/// A service limits resets per client, but the gateway is trusted. On one core the service reads many resets at once.
#[tokio::test(flavor = "multi_thread")]
async fn disconnects_do_not_cut_streams_of_a_service() {
    const STREAMS: usize = 20;
    const TEXT: &str = "still here";
    let mut mesh = Mesh::new(&[], Ports::free());
    let file = mesh.folder().join("trellis.toml");
    let many = "[gateway.rate_limits.overrides.many]\nmethods = [\"trellis.messaging.v1.MessagingService\"]\n\
                limits = [{ requests = 1_000_000, period = \"60s\" }]\nstreams = 100\n";
    std::fs::write(&file, many).unwrap();
    mesh.set("MESSAGING__STREAMS_PER_SESSION", "50");
    mesh.set("MESSAGING__STREAMS_PER_USER", "50");
    mesh.set("CONFIG", file.to_str().unwrap());
    mesh.on_one_core();
    mesh.launch();
    mesh.ready(mesh.ports.gateway).await;
    let (ada, eve) = (mesh.sign_up("ada").await, mesh.sign_up("eve").await);
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let subscribed = ada.messaging().subscribe(ada.request(SubscribeRequest::default())).await.unwrap();
        streams.push(subscribed.into_inner());
    }
    let path = "/trellis.messaging.v1.MessagingService/ListConversations";
    for _ in 0..CLIENTS {
        disconnect(mesh.ports.gateway, path, Some(&eve.tokens.access_token), When::Sent).await;
    }
    let create = CreateConversationRequest {
        request_id: new_id(),
        member_ids: vec![eve.id().to_owned()],
        title: "news".to_owned(),
    };
    let conversation = ada.messaging().create_conversation(ada.request(create)).await.unwrap().into_inner();
    let conversation_id = conversation.conversation.unwrap().conversation_id;
    let send = SendMessageRequest { conversation_id, client_message_id: new_id(), text: TEXT.to_owned() };
    ada.messaging().send_message(ada.request(send)).await.unwrap();
    for (at, stream) in streams.iter_mut().enumerate() {
        let received = async {
            loop {
                let message = stream.message().await.unwrap_or_else(|cut| panic!("stream {at} was cut: {cut}"));
                // `Debug` does not show texts.
                let message = prost::Message::encode_to_vec(&message.expect("an open stream"));
                if message.windows(TEXT.len()).any(|part| part == TEXT.as_bytes()) {
                    return;
                }
            }
        };
        timeout(PATIENCE, received).await.expect("each stream receives the message");
    }
}

type Body = BoxBody<Bytes, Infallible>;

/// The upstream never responds (`Hang`), sends as fast as the client reads (`Flow`), or sends a message every 50 ms.
async fn respond(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let piece = |bytes: usize| Ok(Frame::data(web::frame(&vec![7; bytes])));
    let body = match request.uri().path().rsplit('/').next().unwrap_or_default() {
        "Hang" => pending().await,
        "Flow" => BodyExt::boxed(StreamBody::new(stream::repeat_with(move || piece(16 * 1024)))),
        _ => {
            let ticks = stream::unfold((), move |()| async move {
                sleep(Duration::from_millis(50)).await;
                Some((piece(4), ()))
            });
            BodyExt::boxed(StreamBody::new(ticks))
        }
    };
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

/// A hyper server with its own limits on resets, like tonic's. It blocks now and then, and then reads all that has
/// arrived at once.
pub(crate) fn upstream() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            listener.set_nonblocking(true).unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            tokio::spawn(async {
                loop {
                    std::thread::sleep(Duration::from_millis(15));
                    sleep(Duration::from_millis(5)).await;
                }
            });
            while let Ok((stream, _)) = listener.accept().await {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(stream), service_fn(respond)));
            }
        });
    });
    address
}

/// The gateway bounds the rate of resets, and h2 does not treat late frames of cancelled calls as errors.
#[tokio::test(flavor = "multi_thread")]
async fn disconnects_do_not_cut_streams_of_external_upstreams() {
    const STREAMS: usize = 5;
    let address = upstream();
    let mesh = mesh_with_all(&[&address], &[("GATEWAY__DEFAULT_RATE_REQUESTS", "1000000")]).await;
    let port = mesh.ports.gateway;
    let mut ticking = Vec::new();
    for _ in 0..STREAMS {
        let call = web::call(port, "/acme.v1.Shop/Tick", BINARY, &[], &GetJwksRequest {});
        ticking.push(web::begin(port, Http::Two, call).await.unwrap());
    }
    for _ in 0..CLIENTS {
        disconnect(port, "/acme.v1.Shop/Hang", None, When::Sent).await;
        disconnect(port, "/acme.v1.Shop/Hang", None, When::Unfinished).await;
        disconnect(port, "/acme.v1.Shop/Flow", None, When::Responded).await;
    }
    for ticks in &mut ticking {
        // More than what was buffered meanwhile: the stream makes progress now.
        let mut count = 0;
        while count < 20 {
            let tick = timeout(PATIENCE, ticks.body_mut().frame()).await.expect("a tick").expect("an open stream");
            let data = tick.expect("an open connection").into_data().expect("a message, not a status");
            assert_eq!(data[0], 0);
            count += 1;
        }
    }
}
