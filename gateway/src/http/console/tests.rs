use http::header::{ACCEPT_ENCODING, IF_NONE_MATCH, RANGE, VARY};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use super::*;
use crate::http::compression::tests::decompress;

/// The name of the script of the page.
fn script() -> String {
    ConsoleFiles::iter().find(|name| name.ends_with(".js")).expect("the page has a script").into_owned()
}

fn plain_file(name: &str) -> Vec<u8> {
    ConsoleFiles::get(name).unwrap().data.into_owned()
}

fn get(name: &str, headers: &[(http::HeaderName, &'static str)]) -> Response<Full<Bytes>> {
    let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
    serve(&Method::GET, &format!("/{name}"), &headers, true).expect("a file")
}

#[test]
fn compressed_files_are_those_of_the_page() {
    check_compressed::<ConsoleFiles>();
}

/// The files are compressed by another tool than the gateway: this replaces a comparison of bytes.
pub(in crate::http) fn check_compressed<Files: RustEmbed>() {
    let names: Vec<String> = Files::iter().map(|name| name.into_owned()).collect();
    let plain_file = |name: &str| Files::get(name).unwrap().data.into_owned();
    let is_coded = |name: &str| CODED.iter().any(|(_, end)| name.ends_with(end));
    for name in names.iter().filter(|name| !is_coded(name)) {
        let plain = plain_file(name);
        for (coding, end) in CODED {
            let Some(coded) = Files::get(&format!("{name}{end}")) else {
                assert!(
                    plain.len() < 1024 || !media_type(name).starts_with("text/"),
                    "{name}{end}: run cargo xtask gen"
                );
                continue;
            };
            assert!(decompress(coding, &coded.data) == plain, "{name}{end} is stale: run cargo xtask gen");
            assert!(coded.data.len() < plain.len(), "{name}{end}");
        }
    }
    for name in names.iter().filter(|name| is_coded(name)) {
        let (original, _) = name.rsplit_once('.').unwrap();
        assert!(names.iter().any(|name| name == original), "{name} belongs to no file: run cargo xtask gen");
    }
}

#[tokio::test]
async fn script_is_sent_in_the_coding_of_the_client() {
    let name = script();
    let plain = plain_file(&name);
    let mut tags = Vec::new();
    for (accepted, expected) in [
        ("gzip, deflate, br, zstd", Some(ContentCoding::Brotli)),
        ("gzip", Some(ContentCoding::Gzip)),
        ("br;q=0.5, gzip", Some(ContentCoding::Gzip)),
        ("identity", None),
        ("br;q=0, gzip;q=0", None),
        ("zstd", None),
    ] {
        let response = get(&name, &[(ACCEPT_ENCODING, accepted)]);
        let headers = response.headers().clone();
        assert_eq!(response.status(), StatusCode::OK, "{accepted}");
        assert_eq!(headers.get(CONTENT_ENCODING), expected.map(ContentCoding::header).as_ref(), "{accepted}");
        assert_eq!(headers[VARY], "accept-encoding");
        assert_eq!(headers[CONTENT_TYPE], "text/javascript; charset=utf-8");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        match expected {
            None => assert_eq!(body, plain),
            Some(coding) => {
                // 187 kB became 55.
                assert!(body.len() * 3 < plain.len(), "{accepted}: {} of {} bytes", body.len(), plain.len());
                assert!(decompress(coding, &body) == plain, "{accepted}");
            }
        }
        tags.push((expected, headers[ETAG].clone()));
    }
    for (one, tag) in &tags {
        for (other, others) in &tags {
            assert_eq!(one == other, tag == others, "{one:?} {other:?}: a tag for each coding");
        }
    }
}

#[test]
fn stored_file_is_not_sent_again() {
    let name = script();
    for accepted in ["br", "gzip", "identity"] {
        let accept = (ACCEPT_ENCODING, accepted);
        let tag = get(&name, std::slice::from_ref(&accept)).headers()[ETAG].clone();
        let list: &'static str = format!("\"other\", W/{}", tag.to_str().unwrap()).leak();
        let again = get(&name, &[accept, (IF_NONE_MATCH, list)]);
        assert_eq!((again.status(), &again.headers()[ETAG]), (StatusCode::NOT_MODIFIED, &tag));
        assert!(again.headers().get(CONTENT_ENCODING).is_none() && again.body().size_hint().exact() == Some(0));
        let other = if accepted == "br" { "gzip" } else { "br" };
        let changed = get(&name, &[(ACCEPT_ENCODING, other), (IF_NONE_MATCH, list)]);
        assert_eq!(changed.status(), StatusCode::OK, "the tag of another coding");
    }
}

#[test]
fn ranges_and_compressed_names_are_not_offered() {
    let name = script();
    let whole = get(&name, &[(RANGE, "bytes=0-9")]);
    assert_eq!((whole.status(), whole.headers().get("accept-ranges")), (StatusCode::OK, None));
    assert!(serve(&Method::GET, &format!("/{name}.br"), &HeaderMap::new(), true).is_none());
    let off: HeaderMap = [(ACCEPT_ENCODING, HeaderValue::from_static("br"))].into_iter().collect();
    let response = serve(&Method::GET, &format!("/{name}"), &off, false).expect("a file");
    assert!(response.headers().get(CONTENT_ENCODING).is_none(), "gateway.compression.enabled = false");
}
