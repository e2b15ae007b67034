use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body::{Body, Frame};
use http_body_util::StreamBody;
use tokio::{
    io::{AsyncReadExt as _, DuplexStream, duplex},
    time::sleep,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::protocol::{CloseFrame, Role},
};

use super::*;

const KEEPALIVE: Duration = Duration::from_secs(10);
/// How many bytes the connection between the two ends holds.
const CAPACITY: usize = 1024;
/// The bytes of a message's frame beside its text: the frame's head, and the JSON.
const OVERHEAD: usize = 4 + "{\"result\":\"\"}".len();

/// The gateway's end of a WebSocket, and the client's connection.
async fn ends() -> (WebSocketStream<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(CAPACITY);
    (WebSocketStream::from_raw_socket(server, Role::Server, None).await, client)
}

/// A response with messages of so many bytes, each after a wait, which then stays open.
fn open_response(messages: Vec<(Duration, usize)>) -> Response<impl Body<Data = Bytes, Error = Infallible> + Unpin> {
    let pieces = stream::iter(messages).then(async |(wait, bytes)| {
        sleep(wait).await;
        Ok(Frame::data(framing::frame(format!("\"{}\"", "a".repeat(bytes - OVERHEAD)).as_bytes())))
    });
    Response::new(StreamBody::new(Box::pin(pieces.chain(stream::pending()))))
}

#[tokio::test(start_paused = true)]
async fn close_of_the_client_gets_a_reply_with_its_code() {
    for waits in [false, true] {
        let (server, client) = ends().await;
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let (mut sink, mut stream) = server.split();
        let sent = Some(CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() });
        client.send(Message::Close(sent.clone())).await.unwrap();
        assert!(matches!(next_text(&mut SocketReader::default(), &mut stream).await, Err(Ending::Left)));
        if waits {
            sink.feed(Message::text("the frame that waits")).await.unwrap();
        }
        reply_to_close(&mut sink).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Close(sent), "waits: {waits}");
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_reads_slowly_is_not_cut_off() {
    let (server, mut client) = ends().await;
    let (mut sink, frames) = server.split();
    let activity = Activity::default();
    let responses = Responses::new(&mut sink, &activity, KEEPALIVE);
    // A PING is between the two messages, and the second one does not fit behind it.
    let response = open_response(vec![(Duration::ZERO, 600), (KEEPALIVE * 3 / 2, 600)]);
    let reading = frames.for_each(async |_| activity.has_arrived.store(true, Ordering::Relaxed));
    let slow = async {
        sleep(KEEPALIVE * 4).await;
        // The second message now fits, but the client has not reached the PING.
        let mut begin = vec![0; 400];
        client.read_exact(&mut begin).await.unwrap();
        sleep(KEEPALIVE / 2).await;
        let mut client = WebSocketStream::from_partially_read(client, begin, Role::Client, None).await;
        let mut kinds = String::new();
        while kinds.len() < 6 {
            kinds.push(match timeout(KEEPALIVE * 2, client.next()).await {
                Ok(Some(Ok(Message::Text(_)))) => 'm',
                Ok(Some(Ok(Message::Ping(_)))) => 'p',
                other => panic!("{kinds}: {other:?}"),
            });
        }
        assert_eq!(kinds, "mpmppp");
    };
    tokio::select! {
        _ = responses.write(async { response }) => panic!("the response has ended"),
        () = reading => panic!("the client has left"),
        () = slow => {}
    }
}

#[tokio::test(start_paused = true)]
async fn ping_that_the_client_does_not_take_ends_the_socket() {
    let (mut server, _client) = ends().await;
    let activity = Activity::default();
    let responses = Responses::new(&mut server, &activity, KEEPALIVE);
    let response = open_response(vec![(Duration::ZERO, CAPACITY)]);
    let ending = timeout(KEEPALIVE * 4, responses.write(async { response })).await;
    assert!(matches!(ending, Ok(Ending::Left)));
}

#[tokio::test(start_paused = true)]
async fn flood_of_pings_is_refused() {
    let pings = |count: u32| stream::iter((0..count).map(|_| Ok(Message::Ping(Bytes::new()))));
    let text = || stream::iter([Ok(Message::text("x"))]);
    assert!(next_text(&mut SocketReader::default(), &mut pings(MOST_PINGS).chain(text())).await.is_ok());
    let Err(Ending::Refused(status, CloseCode::Policy)) =
        next_text(&mut SocketReader::default(), &mut pings(MOST_PINGS + 1).chain(text())).await
    else {
        panic!("not refused")
    };
    assert_eq!(error::reason(&status).unwrap(), "TOO_MANY_PINGS");
    // Those of a long wait are not many at once.
    let slow = pings(10 * MOST_PINGS).then(async |ping| {
        sleep(Duration::from_secs(1)).await;
        ping
    });
    assert!(next_text(&mut SocketReader::default(), &mut Box::pin(slow.chain(text()))).await.is_ok());
}
