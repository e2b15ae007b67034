//! The OpenAPI documents of the HTTP forms that clients may call.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL},
};
use http_body_util::Full;
use kit::policy::{Access, path_of};
use serde_json::{Value, json};
use transcode::{
    http_rule::{Binding, RouteTable},
    openapi::{Form, Options, Terms, document},
};

use crate::{
    config::{Compression, Config},
    http::{compression::SharedBody, console, explorer},
    protocol::HeaderFields,
    routes::{FormTable, Found, Routes},
};

/// The path of the list of documents.
const INDEX: &str = "/openapi";

/// What the descriptors do not say, in Markdown.
const DESCRIPTION: &str = include_str!("openapi/description.md");

/// The documents, by path. A document is made when it is first requested.
#[derive(Default)]
pub(crate) struct OpenApi {
    documents: BTreeMap<String, Document>,
    /// The list of documents, made when it is first requested.
    index: OnceLock<SharedBody>,
    /// Whether the list links to the GraphQL explorer.
    has_explorer: bool,
}

struct Document {
    options: Options,
    table: Arc<RouteTable>,
    /// The positions of the bindings that it describes, with what the gateway adds to them.
    forms: Vec<(usize, Terms)>,
    body: OnceLock<SharedBody>,
}

impl OpenApi {
    /// The documents of the HTTP forms that requests reach. `title` is that of the first one.
    pub(crate) fn new(routes: &Routes, title: &str, message_bytes: usize, config: &Config) -> Self {
        let mut all = Self { has_explorer: config.graphql.has_explorer(), ..Self::default() };
        for FormTable { prefix, table, routed } in &routes.tables {
            let (path, title) = match prefix {
                None => ("/openapi.json".to_owned(), title),
                Some(prefix) => (format!("/openapi/{prefix}.json"), &**prefix),
            };
            let options = Options {
                title: title.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                description: DESCRIPTION.to_owned(),
                servers: Vec::new(),
                message_bytes: Some(message_bytes),
                refuses_unknown: !config.json.ignore_unknown_fields,
            };
            let terms = |at: usize| (at, terms(&table.bindings()[at], routes, prefix.is_some()));
            all.add(path, options, table, routed.iter().map(|&at| terms(at)).collect());
        }
        all
    }

    /// Adds the document at `path` of bindings of `table`, unless there are none.
    fn add(&mut self, path: String, options: Options, table: &Arc<RouteTable>, forms: Vec<(usize, Terms)>) {
        if !forms.is_empty() {
            self.documents.insert(path, Document { options, table: Arc::clone(table), forms, body: OnceLock::new() });
        }
    }

    /// Whether there is no document.
    pub(crate) fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// The list of documents.
    fn list(&self) -> SharedBody {
        let all: Vec<_> = self
            .documents
            .iter()
            .map(|(path, document)| json!({"title": document.options.title, "path": path}))
            .collect();
        let mut list = json!({"documents": all});
        if self.has_explorer {
            list["explorer"] = explorer::PATH.into();
        }
        body(&list)
    }

    /// The response to a request for the document at `path`; `None`: there is none.
    pub(crate) fn respond(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        compression: &Compression,
    ) -> Option<Response<Full<Bytes>>> {
        let found = self.documents.get(path);
        if found.is_none() && (path != INDEX || self.is_empty()) {
            return None;
        }
        if method != Method::GET && method != Method::HEAD {
            return Some(console::not_allowed("use GET or HEAD\n", "GET, HEAD"));
        }
        let mut response = match found {
            Some(document) => document.body.get_or_init(|| document.make()).respond(headers, compression),
            None => self.index.get_or_init(|| self.list()).respond(headers, compression),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // The document is the same for everyone.
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        Some(response)
    }
}

impl Document {
    fn make(&self) -> SharedBody {
        let form = |(at, terms): &(usize, Terms)| Form { binding: &self.table.bindings()[*at], terms: terms.clone() };
        body(&document(&self.forms.iter().map(form).collect::<Vec<_>>(), &self.options))
    }
}

fn body(document: &Value) -> SharedBody {
    SharedBody::new("application/json", document.to_string())
}

/// What the gateway adds to a form.
fn terms(binding: &Binding, routes: &Routes, is_external: bool) -> Terms {
    let mut terms = Terms { is_open: is_external, ..Terms::default() };
    HeaderFields::of(binding).describe(&mut terms);
    if let Found::Method(method) = routes.find(&path_of(binding.method())) {
        terms.needs_user = Some(!matches!(method.access, Access::Public));
        terms.reads_cookie = method.reads_session_cookie;
        terms.states_status = method.rules.http_controls;
    }
    terms
}

#[cfg(test)]
mod tests;
