use std::io::Read as _;

use http::header::{ACCEPT_ENCODING, IF_NONE_MATCH};
use http_body_util::BodyExt as _;

use super::*;

pub(in crate::http) fn decompress(coding: ContentCoding, body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        ContentCoding::Gzip => flate2::read::GzDecoder::new(body).read_to_end(&mut plain).map(drop).unwrap(),
        ContentCoding::Brotli => brotli::BrotliDecompress(&mut &*body, &mut plain).unwrap(),
        ContentCoding::Zstd => plain = zstd::stream::decode_all(body).unwrap(),
    }
    plain
}

fn json() -> Bytes {
    Bytes::from(serde_json::json!({ "users": vec!["an entry of a list"; 200] }).to_string())
}

fn typed(content_type: &'static str) -> HeaderMap {
    [(CONTENT_TYPE, HeaderValue::from_static(content_type))].into_iter().collect()
}

#[test]
fn compressed_body_is_the_body() {
    for size in [1, 1_000, 100_000, 1_000_000] {
        let body: Vec<u8> = (0..size).map(|at: u32| u8::try_from(at / 7 % 251).unwrap()).collect();
        for coding in ContentCoding::ALL {
            for level in [1, 4, 9] {
                // The largest body takes long without optimisation.
                if size > 100_000 && level > 1 {
                    continue;
                }
                match compress(coding, level, &body) {
                    Some(compressed) => assert_eq!(decompress(coding, &compressed), body, "{coding:?} {level} {size}"),
                    None => assert_eq!(size, 1, "{coding:?} {level}"),
                }
            }
        }
    }
}

#[test]
fn bodies_within_the_bounds_are_compressed() {
    let body = json();
    let within = |least_bytes, most_bytes| {
        let config = Compression { least_bytes, most_bytes, ..Compression::default() };
        let mut headers = typed("application/json");
        let sent = apply(&config, Some(ContentCoding::Zstd), &mut headers, body.clone());
        assert_eq!(headers.get(CONTENT_ENCODING).is_some(), sent != body);
        sent != body
    };
    let size = body.len();
    assert!(within(size, size));
    assert!(!within(size + 1, usize::MAX), "smaller than the minimum");
    assert!(!within(0, size - 1), "larger than the maximum");
    let off = Compression { enabled: false, ..Compression::default() };
    assert_eq!(apply(&off, Some(ContentCoding::Gzip), &mut typed("application/json"), body.clone()), body);
    assert_eq!(apply(&Compression::default(), None, &mut typed("application/json"), body.clone()), body);
}

#[test]
fn response_that_excludes_compression_is_sent_as_it_is() {
    let mut fixed = typed("application/json");
    fixed.insert(CACHE_CONTROL, HeaderValue::from_static("private, No-Transform"));
    let mut coded = typed("application/json");
    coded.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    for mut headers in [fixed, coded, typed("image/png"), typed("application/octet-stream"), HeaderMap::new()] {
        let before = headers.clone();
        let sent = apply(&Compression::default(), Some(ContentCoding::Gzip), &mut headers, json());
        assert_eq!((sent, headers), (json(), before));
    }
    for content_type in ["Application/JSON; charset=utf-8", "application/problem+json", "text/html", "image/svg+xml"] {
        let mut headers = typed(content_type);
        apply(&Compression::default(), Some(ContentCoding::Gzip), &mut headers, json());
        assert_eq!(headers[CONTENT_ENCODING], "gzip", "{content_type}");
    }
}

#[test]
fn random_body_is_not_compressed() {
    let random: Vec<u8> =
        (0..64_u8).flat_map(|n| ring::digest::digest(&ring::digest::SHA256, &[n]).as_ref().to_vec()).collect();
    let mut headers = typed("application/proto");
    let sent = apply(&Compression::default(), Some(ContentCoding::Gzip), &mut headers, random.clone().into());
    assert_eq!((sent, headers.get(CONTENT_ENCODING)), (random.into(), None));
}

#[tokio::test]
async fn each_coding_of_a_shared_body_has_its_tag() {
    let shared = SharedBody::new("application/json", json());
    let config = Compression::default();
    let mut tags: Vec<HeaderValue> = Vec::new();
    for name in ["identity", "gzip", "br", "zstd"] {
        let accept = (ACCEPT_ENCODING, HeaderValue::from_static(name));
        let request: HeaderMap = [accept.clone()].into_iter().collect();
        let response = shared.respond(&request, &config);
        let (status, headers) = (response.status(), response.headers().clone());
        assert_eq!((status, &headers[VARY]), (StatusCode::OK, &HeaderValue::from_static("accept-encoding")));
        assert_eq!(headers[CONTENT_TYPE], "application/json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        match ContentCoding::ALL.into_iter().find(|coding| coding.name() == name) {
            Some(coding) => {
                assert_eq!(headers[CONTENT_ENCODING], name);
                assert_eq!(decompress(coding, &body), json());
            }
            None => assert_eq!((headers.get(CONTENT_ENCODING), body), (None, json())),
        }
        let tag = headers[ETAG].clone();
        assert!(!tags.contains(&tag), "{name}: another coding has the same tag");
        let stored = (IF_NONE_MATCH, tag.clone());
        let again = shared.respond(&[accept, stored].into_iter().collect(), &config);
        assert_eq!((again.status(), &again.headers()[ETAG]), (StatusCode::NOT_MODIFIED, &tag), "{name}");
        assert!(again.headers().get(CONTENT_ENCODING).is_none());
        tags.push(tag);
    }
}
