//! The upstream of the pipeline.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, HeaderName, Response, header::CONTENT_TYPE};
use parking_lot::Mutex;
use tokio::{net::TcpListener, time::sleep};

use super::{DECIDE, GRPC, MESSAGE, header};
use crate::protocol::framing;

/// The request to an authorization service.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A message whose first field is `text/plain` and whose second field is a text: an `HttpBody`, for example.
const TYPED: &str =
    concat!("\0\0\0\0\x4c\x0a\x0atext/plain\x12\x3e", "ababababababababababababababababababababababababababababababab");

/// Serves calls, and requests to an authorization service. `seen` receives the headers of calls.
pub(super) async fn serve(listener: TcpListener, seen: Arc<Mutex<Vec<HeaderMap>>>, cancelled: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (seen, cancelled) = (Arc::clone(&seen), Arc::clone(&cancelled));
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut requests = Vec::new();
            while let Some(Ok((request, response))) = connection.accept().await {
                let (head, body) = request.into_parts();
                if head.uri.path() == CHECK {
                    tokio::spawn(decide(body, response));
                    continue;
                }
                let kind = head.headers.get("x-reply").map_or("", |kind| kind.to_str().unwrap());
                tokio::spawn(reply(kind.to_owned(), controls(&head.headers), response, Arc::clone(&cancelled)));
                seen.lock().push(head.headers);
                requests.push(body);
            }
        });
    }
}

/// Responds as the authorization service.
async fn decide(mut body: RecvStream, mut response: SendResponse<Bytes>) {
    let mut check = Vec::new();
    while let Some(Ok(piece)) = body.data().await {
        check.extend(piece);
    }
    if !check.windows(DECIDE.len()).any(|window| window == DECIDE.as_bytes()) {
        poll_fn(|cx| response.poll_reset(cx)).await.ok();
        return;
    }
    let field = |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8], content].concat();
    let removed = ["x-forwarded-for", "authorization", "x-secret"].map(|name| field(5, name.as_bytes())).concat();
    let decision = [field(1, b""), field(3, &removed)].concat();
    let head = Response::builder().header(CONTENT_TYPE, GRPC).body(()).unwrap();
    let mut body = response.send_response(head, false).unwrap();
    body.send_data(framing::frame(&decision), false).unwrap();
    body.send_trailers([("grpc-status", "0")].map(header).into_iter().collect()).unwrap();
}

/// The HTTP controls that a request asks for: `x-set-status`, and `x-set-header-` before the name of a header.
fn controls(request: &HeaderMap) -> HeaderMap {
    let asked = |name: &HeaderName| Some(format!("x-http-{}", name.as_str().strip_prefix("x-set-")?).parse().unwrap());
    request.iter().filter_map(|(name, value)| Some((asked(name)?, value.clone()))).collect()
}

async fn reply(kind: String, controls: HeaderMap, mut response: SendResponse<Bytes>, cancelled: Arc<AtomicUsize>) {
    let head = |content_type| Response::builder().header(CONTENT_TYPE, content_type).header("x-head", "1");
    match &*kind {
        "silence" => {
            poll_fn(|cx| response.poll_reset(cx)).await.ok();
            cancelled.fetch_add(1, SeqCst);
        }
        "reset" => response.send_reset(Reason::CANCEL),
        "html" => drop(response.send_response(head("text/html").status(503).body(()).unwrap(), true)),
        "trailers-only" => {
            let head = head(GRPC).header("grpc-status", "5").header("grpc-message", "no shop");
            let head = head.header("x-why", "closed").header("retry-after", "7").header("grpc-made-up", "1");
            response.send_response(head.body(()).unwrap(), true).unwrap();
        }
        "text" | "nothing" | "failure" => {
            let mut head = head(GRPC).body(()).unwrap();
            head.headers_mut().extend(controls);
            let mut body = response.send_response(head, false).unwrap();
            if kind == "text" {
                body.send_data(TYPED.into(), false).unwrap();
            }
            let code = if kind == "failure" { "5" } else { "0" };
            body.send_trailers([("grpc-status", code)].map(header).into_iter().collect()).unwrap();
        }
        _ => {
            let head = if kind == "cookie" { head(GRPC).header("set-cookie", "a=1") } else { head(GRPC) };
            let mut body = response.send_response(head.body(()).unwrap(), false).unwrap();
            let message = if kind == "truncated" { &MESSAGE[..5] } else { &MESSAGE[..] };
            body.send_data(Bytes::copy_from_slice(message), false).unwrap();
            if kind == "reset-later" {
                sleep(Duration::from_millis(50)).await;
                body.send_reset(Reason::CANCEL);
            } else {
                let trailers = [("grpc-status", "0"), ("x-trailer", "1"), ("content-length", "9")];
                body.send_trailers(trailers.map(header).into_iter().collect()).unwrap();
            }
        }
    }
}
