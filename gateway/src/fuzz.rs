//! Properties of the gateway's parsers for arbitrary bytes. `cargo xtask soak fuzz` generates bytes; the tests
//! replay those of `fuzz/corpus`, which holds every earlier finding.

mod graphql;
mod websocket;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, COOKIE, TE},
};

use crate::{
    config::{ClientAddressHeader, Config},
    http::{
        client_address::{Client, Proxies},
        headers,
    },
    protocol::{
        ClientProtocol, base64,
        framing::{FrameMeter, Refused},
        trailer_frame,
    },
    server::proxy_protocol,
};

/// A parser's property and its name, which is also the folder of its corpus.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All properties.
pub const FUZZ_TARGETS: [FuzzTarget; 10] = [
    ("framing", framing),
    ("text", base64_text),
    ("headers", header_translation),
    ("address", client_address),
    ("proxy", proxy_header),
    ("configuration", configuration),
    ("websocket", websocket::frames),
    ("websocket_text", websocket::text_frame),
    ("graphql", graphql::operation),
    ("graphql_socket", graphql::socket_message),
];

/// Splits bytes into pieces whose sizes derive from the bytes themselves.
fn pieces(data: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let Some((seed, rest)) = data.split_first() else { return (data, Vec::new()) };
    let mut pieces = Vec::new();
    let (mut left, mut size) = (rest, usize::from(*seed));
    while !left.is_empty() {
        size = (size * 31 + 7) % 61 + 1;
        let (piece, others) = left.split_at(size.min(left.len()));
        pieces.push(piece);
        left = others;
    }
    (rest, pieces)
}

/// The verdict on a stream of frames does not depend on how it is split.
fn framing(data: &[u8]) {
    const LIMIT: usize = 1 << 16;
    let (whole, pieces) = pieces(data);
    let mut at_once = FrameMeter::new(LIMIT);
    let verdict = at_once.pass(whole);
    let mut by_pieces = FrameMeter::new(LIMIT);
    let mut passed = 0;
    let cut = pieces.iter().try_for_each(|piece| {
        by_pieces.pass(piece).map_err(|Refused { before, why }| (passed + before, why))?;
        passed += piece.len();
        Ok(())
    });
    // Bytes that have passed cannot be taken back.
    assert_eq!(cut, verdict.as_ref().map_err(|Refused { before, why }| (passed.max(*before), *why)).copied());
    if verdict.is_ok() {
        assert_eq!(by_pieces.is_whole(), at_once.is_whole());
    }
}

/// The decoded bytes do not depend on how a text is split, and encoding is reversible.
fn base64_text(data: &[u8]) {
    let (whole, pieces) = pieces(data);
    let decode = |pieces: &[&[u8]]| {
        let mut decoder = base64::Decoder::default();
        let decoded = pieces.iter().map(|piece| decoder.decode(piece)).collect::<Result<Vec<Bytes>, _>>();
        decoded.and_then(|decoded| decoder.finish().map(|()| decoded.concat()))
    };
    assert_eq!(decode(&pieces), decode(&[whole]));
    let encoded: Vec<u8> = pieces.iter().flat_map(|piece| base64::encode(piece)).collect();
    assert_eq!(decode(&[&encoded]).as_deref(), Ok(whole));
}

/// Reads lines of `name: value`, and ignores invalid ones.
fn header_map(data: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(200) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts.next().and_then(|value| HeaderValue::from_bytes(value.trim_ascii()).ok());
        if let Some((name, value)) = name.zip(value) {
            map.append(name, value);
        }
    }
    map
}

/// Whatever a caller sends, an upstream receives only headers of a call, and none that only the mesh may set; trailers
/// cannot add lines.
fn header_translation(data: &[u8]) {
    let mut map = header_map(data);
    let frame = trailer_frame(&map);
    assert_eq!(frame[5..].split(|byte| *byte == b'\n').count(), map.len() + 1);
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.headers_mut() = map.clone();
    let kind = ClientProtocol::detect(&request)
        .map_or(HeaderValue::from_static("application/grpc"), |client_protocol| client_protocol.upstream_type());
    headers::sanitize_request(&mut map, kind.clone());
    assert!(!map.keys().any(|name| name.as_str().starts_with("x-trellis-")));
    assert!(!map.contains_key(CONNECTION));
    assert_eq!((map.get(TE), map.get(CONTENT_TYPE)), (Some(&HeaderValue::from_static("trailers")), Some(&kind)));
    headers::hide_identity(&mut map, "x-api-key");
    headers::set_client_address(&mut map, HeaderValue::from_static("192.0.2.9"));
    assert!(!map.contains_key(AUTHORIZATION) && !map.contains_key(COOKIE) && !map.contains_key("forwarded"));
    assert!(!map.contains_key("x-api-key"));
    assert_eq!(map.keys().filter(|name| name.as_str().starts_with("x-forwarded-")).count(), 1);
    assert_eq!(map.get_all("x-forwarded-for").iter().count(), 1);
}

/// Only the header of a trusted proxy is read, and only the proxy's own entry counts.
fn client_address(data: &[u8]) {
    let map = header_map(data);
    let stranger = [192, 0, 2, 1].into();
    for header in [ClientAddressHeader::XForwardedFor, ClientAddressHeader::Forwarded] {
        let proxies = Proxies::new(&["10.0.0.0/8".to_owned()], header).expect("a network");
        assert_eq!(proxies.client(stranger, &map), Client::Known(stranger));
        proxies.client([10, 0, 0, 1].into(), &map);
        let mut named = map.clone();
        named.append("x-forwarded-for", HeaderValue::from_static("198.51.100.7"));
        named.append("forwarded", HeaderValue::from_static("for=198.51.100.7"));
        assert_eq!(proxies.client([10, 0, 0, 1].into(), &named), Client::Known([198, 51, 100, 7].into()));
    }
}

/// A PROXY header is read to its end and no further, or refused.
fn proxy_header(data: &[u8]) {
    let mut left = data;
    let read = proxy_protocol::read(&mut left).now_or_never().expect("a slice is always ready");
    if read.is_ok() {
        let taken = data.len() - left.len();
        assert_eq!(taken, 16 + usize::from(u16::from_be_bytes([data[14], data[15]])));
    }
}

/// A configuration is refused, or the output of `trellis config` reads as the same configuration.
fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(config) = kit::config::read::<Config>(text) else { return };
    let printed = kit::config::print(&config).expect("a valid configuration can be printed");
    assert_eq!(kit::config::read::<Config>(&printed).expect("a printed configuration can be read"), config);
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn all_inputs_of_the_corpus_satisfy_their_property() {
        for (name, target) in FUZZ_TARGETS {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(name);
            let mut checked = 0;
            for file in fs::read_dir(&folder).unwrap() {
                target(&fs::read(file.unwrap().path()).unwrap());
                checked += 1;
            }
            assert!(checked > 0, "{} is empty", folder.display());
            target(&[]);
        }
    }
}
