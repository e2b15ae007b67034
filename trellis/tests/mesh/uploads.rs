//! Requests that continue after their response has begun.

use bytes::Bytes;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
};

use super::{
    external_upstream::mesh_with_all,
    raw::{self, DATA, END, HEADERS, PING, RST_STREAM},
    web,
};

/// How far the response of an upstream gets.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Response {
    Begins,
    Ends,
}

/// An upstream that responds at once, and reads no more of the request than its small window takes.
pub(crate) async fn upstream(to: Response) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(respond(stream, to));
        }
    });
    address
}

async fn respond(stream: TcpStream, to: Response) {
    let handshake = h2::server::Builder::new().initial_window_size(1_000).handshake::<_, Bytes>(stream).await;
    let Ok(mut connection) = handshake else { return };
    let mut open = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let head = hyper::Response::builder().header("content-type", "application/grpc");
        if request.uri().path().starts_with("/grpc.health") {
            respond.send_response(head.header("grpc-status", "12").body(()).unwrap(), true).unwrap();
            continue;
        }
        let mut response = respond.send_response(head.body(()).unwrap(), false).unwrap();
        response.send_data(web::frame(b"begun"), false).unwrap();
        if to == Response::Ends {
            let trailers = [("grpc-status", "0"), ("x-upstream", "yes")];
            let trailers = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            response.send_trailers(trailers.into_iter().collect()).unwrap();
        }
        open.push((request, response));
    }
}

/// h2 keeps hundreds of bytes beside each frame that waits in it. The gateway joins small frames as they arrive, also
/// while neither the client reads its response nor the upstream its request.
#[tokio::test(flavor = "multi_thread")]
async fn small_frames_after_the_response_began_are_joined() {
    const STREAMS: u32 = 4;
    /// As many frames of one byte as fit into a stream's window, roughly.
    const FRAMES: usize = 60_000;
    /// About a fifth of what the frames of all streams would take in h2, at 250 bytes each.
    const MOST_KIB: u64 = 12 * 1024;
    /// Frames that the client sends before it waits until the gateway has read them. Without a pause, all frames would
    /// wait in h2 before the gateway joins them, and the allocator would keep that peak: 12 to 28 MiB.
    const BATCH: usize = 1_000;
    let address = upstream(Response::Begins).await;
    let mesh = mesh_with_all(&[&address], &[("GATEWAY__DEFAULT_RATE_REQUESTS", "1000000")]).await;
    let mut client = TcpStream::connect(("127.0.0.1", mesh.ports.gateway)).await.unwrap();
    // The response has no window: its message waits in the gateway.
    client.write_all(&raw::hello(0)).await.unwrap();
    let streams = || (1..).step_by(2).take(STREAMS as usize);
    let prefix = [&[0][..], &u32::try_from(FRAMES).unwrap().to_be_bytes()].concat();
    for stream in streams() {
        client.write_all(&raw::head(stream, "/acme.v1.Shop/Upload")).await.unwrap();
        client.write_all(&raw::frame(DATA, 0, stream, &prefix)).await.unwrap();
    }
    let mut begun = 0;
    while begun < STREAMS {
        begun += u32::from(raw::read(&mut client).await.0 == HEADERS);
    }
    let before = mesh.resident_kib();
    for _ in 0..FRAMES / BATCH {
        for stream in streams() {
            let frames = raw::frame(DATA, 0, stream, &[7]).repeat(BATCH);
            client.write_all(&frames).await.unwrap();
        }
        // The reply to a PING shows that the gateway has read all frames before it.
        client.write_all(&raw::frame(PING, 0, 0, b"arrived?")).await.unwrap();
        loop {
            let (kind, flags) = raw::read(&mut client).await;
            assert!(kind != RST_STREAM, "the calls continue");
            if (kind, flags) == (PING, END) {
                break;
            }
        }
    }
    let held = mesh.resident_kib().saturating_sub(before);
    println!("{held} KiB for {STREAMS} requests of {FRAMES} frames");
    assert!(held < MOST_KIB, "{held} KiB");
}
