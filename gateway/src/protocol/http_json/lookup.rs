//! Finds the HTTP form of a request.

use std::{collections::BTreeSet, sync::Arc};

use http::{HeaderValue, Method, Request, StatusCode};
use kit::error::status;
use tonic::Code;
use transcode::{
    http_rule::{Allow, Found, Lookup, RouteTable},
    shorten,
};

use super::{HttpForms, HttpJson, HttpRefusal};

/// The path of `OPTIONS *`, which asks about the server as a whole (RFC 9110, section 9.3.7).
const SERVER: &str = "*";

/// What a request is to the HTTP forms.
pub(crate) enum HttpRequest {
    Call(Arc<HttpJson>),
    /// The path has a form, but the request is no call.
    Refused(HttpRefusal),
    /// No method has this path.
    Nothing,
}

impl HttpForms {
    /// Finds the form of a request.
    pub(crate) fn find<B>(self: &Arc<Self>, request: &Request<B>) -> HttpRequest {
        let (method, path) = (request.method(), request.uri().path());
        if *method == Method::OPTIONS && path == SERVER {
            return HttpRequest::Refused(HttpRefusal::options(self, request, self.http_methods.clone()));
        }
        // The response to HEAD is that to GET without its body.
        let is_head = *method == Method::HEAD;
        let method = if is_head { &Method::GET } else { method };
        match self.lookup(method.as_str(), path) {
            Lookup::Found((at, _)) if is_head && self.is_stream(at) => {
                let allow = match self.lookup(Method::OPTIONS.as_str(), path) {
                    Lookup::Options(allow) => self.allowed(path, &allow),
                    _ => HeaderValue::from_static("GET"),
                };
                let message = "the response is a stream, which has no HEAD; use GET".to_owned();
                HttpRequest::Refused(HttpRefusal::method_not_allowed(self, request, message, allow))
            }
            Lookup::Found((at, found)) => HttpRequest::Call(Arc::new(HttpJson::new(self, at, found, request))),
            Lookup::MethodNotAllowed(allow) => {
                let allow = self.allowed(path, &allow);
                let taken = allow.to_str().unwrap_or_default();
                let message = format!("this path does not take {}; it takes {taken}", shorten(method.as_str()));
                HttpRequest::Refused(HttpRefusal::method_not_allowed(self, request, message, allow))
            }
            Lookup::Options(allow) => {
                HttpRequest::Refused(HttpRefusal::options(self, request, self.allowed(path, &allow)))
            }
            Lookup::TooLong => {
                let status = status(
                    Code::InvalidArgument,
                    crate::reason::PATH_TOO_LONG,
                    "the path is longer than that of any method",
                );
                HttpRequest::Refused(HttpRefusal::new(self, request, status, StatusCode::URI_TOO_LONG))
            }
            Lookup::NotFound => HttpRequest::Nothing,
        }
    }

    /// The result of the first table that has the path, and the position of the binding.
    fn lookup<'a>(&'a self, method: &str, path: &'a str) -> Lookup<(usize, Found<'a>)> {
        let mut before = 0;
        for table in &self.tables {
            match table.find(method, path) {
                Lookup::NotFound => before += table.bindings().len(),
                Lookup::Found(found) => return Lookup::Found((before + found.index, found)),
                Lookup::MethodNotAllowed(allow) => return Lookup::MethodNotAllowed(allow),
                Lookup::Options(allow) => return Lookup::Options(allow),
                Lookup::TooLong => return Lookup::TooLong,
            }
        }
        Lookup::NotFound
    }

    fn is_stream(&self, position: usize) -> bool {
        self.binding(position).method().is_server_streaming()
    }

    /// The value of `allow`. A path whose GET is a stream has no HEAD.
    fn allowed(&self, path: &str, allow: &Allow) -> HeaderValue {
        let get = self.lookup(Method::GET.as_str(), path);
        let has_head = !matches!(get, Lookup::Found((at, _)) if self.is_stream(at));
        listed(allow.methods().filter(|method| has_head || *method != Method::HEAD.as_str()))
    }
}

/// The methods of HTTP of all tables, and those of the gateway's own paths.
pub(super) fn http_methods(tables: &[Arc<RouteTable>]) -> HeaderValue {
    let bindings = tables.iter().flat_map(|table| table.bindings());
    let of_bindings = bindings.map(|binding| binding.http_method()).filter(|method| *method != "*");
    let all: BTreeSet<&str> = of_bindings.chain(["GET", "HEAD", "OPTIONS", "POST"]).collect();
    listed(all.into_iter())
}

fn listed<'a>(methods: impl Iterator<Item = &'a str>) -> HeaderValue {
    // The names are those of HTTP methods, so they fit into a header.
    HeaderValue::try_from(methods.collect::<Vec<_>>().join(", ")).unwrap_or(HeaderValue::from_static(""))
}
