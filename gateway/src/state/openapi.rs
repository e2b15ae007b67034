//! The OpenAPI documents of the HTTP forms that clients may call.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
};
use http_body_util::Full;
use ring::digest::{SHA256, digest};
use transcode::{
    http_rule::{Binding, RouteTable},
    openapi::{Options, document},
};

use crate::http::console;

/// The documents, by path. A document is made when it is first requested.
#[derive(Default)]
pub(crate) struct OpenApi(BTreeMap<String, Document>);

struct Document {
    title: String,
    table: Arc<RouteTable>,
    /// The positions of the bindings that it describes.
    routed: Vec<usize>,
    text: OnceLock<Text>,
}

struct Text {
    json: Bytes,
    tag: HeaderValue,
}

impl OpenApi {
    /// Adds the document at `path` of the bindings of `table` at the positions `routed`, unless there are none.
    pub(crate) fn add(&mut self, path: String, title: &str, table: &Arc<RouteTable>, routed: &[usize]) {
        if !routed.is_empty() {
            let (title, table, routed) = (title.to_owned(), Arc::clone(table), routed.to_vec());
            self.0.insert(path, Document { title, table, routed, text: OnceLock::new() });
        }
    }

    /// The response to a request for the document at `path`; `None`: there is none.
    pub(crate) fn respond(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
        let found = self.0.get(path)?;
        if method != Method::GET && method != Method::HEAD {
            return Some(console::not_allowed("use GET or HEAD\n", "GET, HEAD"));
        }
        let Text { json, tag } = found.text.get_or_init(|| found.make());
        let mut response = if has_stored(headers, tag) {
            let mut unchanged = Response::new(Full::default());
            *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
            unchanged
        } else {
            let mut whole = Response::new(Full::new(json.clone()));
            whole.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            whole
        };
        let headers = response.headers_mut();
        headers.insert(ETAG, tag.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // The document is the same for everyone.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        Some(response)
    }
}

impl Document {
    fn make(&self) -> Text {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let options = Options { title: self.title.clone(), version, ..Options::default() };
        let bindings: Vec<&Binding> = self.routed.iter().map(|&at| &self.table.bindings()[at]).collect();
        let json = Bytes::from(document(&bindings, &options).to_string());
        let hash = URL_SAFE_NO_PAD.encode(&digest(&SHA256, &json).as_ref()[..16]);
        // Base64 fits into a header.
        let tag = HeaderValue::try_from(format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Text { json, tag }
    }
}

/// Whether the client has stored the document with this tag (RFC 9110, section 13.1.2).
fn has_stored(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let lines = headers.get_all(IF_NONE_MATCH).iter().map(HeaderValue::as_bytes);
    let mut tags = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    tags.any(|stored| stored == b"*" || stored.strip_prefix(b"W/").unwrap_or(stored) == tag.as_bytes())
}

#[cfg(test)]
mod tests;
