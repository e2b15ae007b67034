//! The OpenAPI documents of the methods that clients may call.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE},
};
use http_body_util::Full;
use prost_reflect::MethodDescriptor;
use transcode::openapi::{Options, document};

use super::console;

/// The documents, by path. A document is made when it is first requested.
#[derive(Default)]
pub(crate) struct OpenApi(BTreeMap<String, Document>);

struct Document {
    title: String,
    methods: Vec<MethodDescriptor>,
    text: OnceLock<Result<Bytes, Arc<str>>>,
}

impl OpenApi {
    /// Adds the document at `path`, unless there are no methods.
    pub(crate) fn add(&mut self, path: String, title: &str, methods: Vec<MethodDescriptor>) {
        if !methods.is_empty() {
            self.0.insert(path, Document { title: title.to_owned(), methods, text: OnceLock::new() });
        }
    }

    /// The response with the document at `path`; `None`: there is none.
    pub(crate) fn respond(&self, path: &str) -> Option<Response<Full<Bytes>>> {
        let found = self.0.get(path)?;
        Some(match found.text.get_or_init(|| found.make()) {
            Ok(text) => {
                let mut response = Response::new(Full::new(text.clone()));
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
                // The document is the same for everyone.
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
                response
            }
            Err(why) => console::plain(StatusCode::NOT_FOUND, format!("the methods have no OpenAPI document: {why}\n")),
        })
    }
}

impl Document {
    fn make(&self) -> Result<Bytes, Arc<str>> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let options = Options { title: self.title.clone(), version, ..Options::default() };
        let document = document(&self.methods, &options).map_err(|errors| errors.to_string())?;
        Ok(Bytes::from(document.to_string()))
    }
}
