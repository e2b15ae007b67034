//! The frames of a WebSocket.

use std::sync::{Arc, LazyLock};

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, COOKIE, HOST, ORIGIN},
};
use kit::policy::Table;
use prost_reflect::DescriptorPool;
use tonic::Code;

use super::pieces;
use crate::{
    config::Config,
    front::transcript,
    protocol::{
        ClientProtocol, MethodCodec,
        framing::{FrameMeter, frame},
        registry,
        websocket::{ClientFrame, WebSocket},
    },
};

/// The size of the largest message.
const LIMIT: usize = 1 << 16;
/// The longest refusal of a frame.
const REFUSAL_BYTES: usize = 500;
/// A method whose request has fields of many types.
const METHOD: &str = "/trellis.users.v1.UsersService/UpdateUser";

static CODEC: LazyLock<Arc<MethodCodec>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).expect("the contracts");
    let policies = Table::from_descriptors(proto::DESCRIPTORS).expect("the policies");
    let method = policies.descriptor(METHOD).expect("the method");
    Arc::new(MethodCodec::new(method, &registry(&pool), &Config::default().json).expect("its messages"))
});

/// The text frames of a client, and the end of its socket, do not depend on how its bytes are split.
pub(super) fn frames(data: &[u8]) {
    let (whole, pieces) = pieces(data);
    let at_once = transcript(vec![whole], LIMIT);
    assert_eq!(transcript(pieces, LIMIT), at_once);
    for text in &at_once.texts {
        text_frame(text.as_bytes());
    }
}

/// A text frame is a message, which becomes one gRPC frame; metadata, which leave the headers of the handshake; the end;
/// or it is refused with a short message.
pub(super) fn text_frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match ClientFrame::parse(text) {
        Ok(ClientFrame::Message(json)) => message(json),
        Ok(ClientFrame::Metadata(metadata)) => {
            let of_handshake = [HOST, COOKIE, ORIGIN, CONTENT_LENGTH];
            let mut headers: HeaderMap =
                of_handshake.iter().map(|name| (name.clone(), HeaderValue::from_static("kept"))).collect();
            metadata.replace(&mut headers);
            assert!(
                of_handshake.iter().all(|name| headers[name] == "kept" && headers.get_all(name).iter().count() == 1)
            );
        }
        Ok(ClientFrame::End) => {}
        Err(refusal) => {
            assert_eq!(refusal.code(), Code::InvalidArgument);
            assert!(refusal.message().len() <= REFUSAL_BYTES, "{} bytes", refusal.message().len());
        }
    }
}

fn message(json: &str) {
    let codec = Some(Arc::clone(&CODEC));
    let protocol = ClientProtocol::WebSocket(WebSocket::new(codec.clone()));
    let mut decoder = protocol.decoder(codec.as_ref(), LIMIT);
    let converted = decoder.decode(frame(json.as_bytes()));
    if let Ok(frames) = converted {
        let mut meter = FrameMeter::new(LIMIT);
        assert!(meter.pass(&frames).is_ok() && meter.is_whole());
    }
}
