//! How the body of a response ends.

use std::future::poll_fn;

use futures_util::stream;
use http_body_util::StreamBody;
use kit::{record, trace};

use super::*;
use crate::http::reserved::ClientKind;
use crate::server::{Stalls, Watchdog};

/// The deadline is checked although nothing ever wakes the response.
#[tokio::test]
async fn a_stream_that_is_always_ready_ends_at_its_deadline() {
    let frame = || Ok::<_, Status>(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 0])));
    let endless = StreamBody::new(stream::repeat_with(frame));
    let terms = ResponseTerms {
        encoder: ResponseEncoder::Grpc,
        deadline: Some(Instant::now()),
        heartbeat: Duration::MAX,
        limit: 1,
        header_bytes: 1_024,
        ends: Ends { client: ClientKind::Grpc, is_external: true },
        request_error: RequestBodyError::default(),
        holds: Holds::default(),
        drain_guard: None,
    };
    let span = tracing::Span::none();
    let began = trace::begin_from_outside(&span, &HeaderMap::new());
    let call = Call::begin(record::Meter::new("seconds", "endless"), span, began);
    let mut response = ResponseBody::new(
        ResponseSource::Local(tonic::body::Body::new(endless)),
        &mut HeaderMap::new(),
        terms,
        call,
        Watchdog::new(&Stalls::new(1), true).begin(),
    );
    let mut messages = 0;
    let trailers = loop {
        match poll_fn(|cx| response.poll(cx)).await.unwrap().unwrap().into_trailers() {
            Ok(trailers) => break trailers,
            Err(_) => messages += 1,
        }
        assert!(messages < FRAMES_PER_CHECK, "the stream does not end");
    };
    assert_eq!(code_of(&trailers), Some(Code::DeadlineExceeded));
}
