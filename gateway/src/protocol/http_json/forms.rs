//! The table of the HTTP forms.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, uri::PathAndQuery};
use kit::policy::path_of;
use prost_reflect::MethodDescriptor;
use transcode::{
    Limits, PrintOptions, Registry,
    http_rule::{Binding, QueryOptions, RequestOptions, RouteTable},
};

use super::{HeaderFields, lookup};
use crate::config::Json;

/// The HTTP forms of all methods. The position of a binding counts the bindings of all tables.
#[derive(Debug)]
pub(crate) struct HttpForms {
    /// In the order in which they are asked. The first one that has a path decides.
    pub(super) tables: Vec<Arc<RouteTable>>,
    /// The table of each binding, and its position there.
    pub(super) places: Vec<(usize, usize)>,
    /// The path of each binding's method in gRPC, and the fields that headers state.
    pub(super) methods: Vec<(PathAndQuery, HeaderFields)>,
    /// The messages of the details of errors outside of calls.
    pub(super) registry: Registry,
    pub(super) request: RequestOptions,
    pub(super) print: PrintOptions,
    pub(super) limits: Limits,
    /// After how long a client of server-sent events reconnects; zero: it decides.
    pub(super) retry: Duration,
    /// The methods of HTTP that any path has, for `OPTIONS *`.
    pub(super) http_methods: HeaderValue,
}

impl HttpForms {
    /// `tables` are asked in their order.
    pub(crate) fn new(tables: Vec<Arc<RouteTable>>, registry: Registry, config: &Json) -> Arc<Self> {
        let (parse, print, limits) = config.conversion();
        let query = QueryOptions { ignore_unknown: config.ignore_unknown_fields, ..QueryOptions::default() };
        let request = RequestOptions { query, body: parse, limits };
        let bindings = tables.iter().flat_map(|table| table.bindings());
        let methods = bindings.map(|of| (path(of.method()), HeaderFields::of(of))).collect();
        let numbered = tables.iter().enumerate();
        let places = numbered.flat_map(|(at, table)| (0..table.bindings().len()).map(move |of| (at, of))).collect();
        let (retry, http_methods) = (config.retry.0, lookup::http_methods(&tables));
        Arc::new(Self { tables, places, methods, registry, request, print, limits, retry, http_methods })
    }

    /// The binding at a position.
    pub(super) fn binding(&self, position: usize) -> &Binding {
        let (table, at) = self.places[position];
        &self.tables[table].bindings()[at]
    }
}

fn path(method: &MethodDescriptor) -> PathAndQuery {
    // Names in descriptors are identifiers, so they fit into a path.
    PathAndQuery::try_from(path_of(method)).unwrap_or(PathAndQuery::from_static("/"))
}
