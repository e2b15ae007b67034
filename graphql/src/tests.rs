//! Tests of whole schemas: their text, and operations against a caller that records its calls.

mod budgets;
mod inputs;
mod introspections;
mod merging;
mod mesh;
mod operations;
mod responses;
mod shop;
mod upstreams;

use std::sync::Arc;

use prost_reflect::DescriptorPool;
use serde_json::Value as Json;
use transcode::{Limits, ParseOptions, Registry};

use crate::{Api, Caller, Method, Options, QueryLimits, Reply, Request, Source};

const LIMITS: QueryLimits =
    QueryLimits { depth: 15, complexity: 1_000, root_fields: 10, aliases: 30, directives: 30, argument_bytes: 1 << 20 };

fn options() -> Options {
    Options {
        limits: LIMITS,
        introspection: true,
        response_bytes: 1 << 20,
        parse: ParseOptions::default(),
        conversion: Limits::default(),
        on_panic: |message| panic!("{message}"),
    }
}

fn methods(pool: &DescriptorPool, package: &str) -> Vec<Method> {
    let services = pool.services().filter(|service| service.package_name().starts_with(package));
    services
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|of| Method { descriptor: of, cost: 1 })
        .collect()
}

fn api(pool: &DescriptorPool, package: &str, options: Options) -> Api {
    let registry = Registry::new(pool);
    Api::new(&[Source { prefix: None, registry: &registry, methods: methods(pool, package) }], options).unwrap()
}

/// Compares the text of a schema with the committed one. Another text is written to `target`.
fn assert_golden(name: &str, sdl: &str) {
    let golden = std::fs::read_to_string(format!("src/tests/{name}.graphql")).unwrap_or_default();
    if golden != sdl {
        std::fs::write(format!("../target/{name}.graphql"), sdl).unwrap();
        let first = golden.lines().zip(sdl.lines()).find(|(golden, is)| golden != is);
        panic!("the schema has changed, first at {first:?}: cp target/{name}.graphql graphql/src/tests/");
    }
}

async fn execute(api: &Api, caller: &Arc<impl Caller>, query: &str, variables: Json) -> Json {
    let variables = variables.as_object().cloned().unwrap_or_default();
    let request = Request { query: query.to_owned(), operation_name: None, variables };
    let reply = match api.prepare(request) {
        Ok(prepared) => api.execute(prepared, Arc::clone(caller) as Arc<dyn Caller>).await,
        Err(reply) => reply,
    };
    json(&reply)
}

fn json(reply: &Reply) -> Json {
    serde_json::from_slice(&reply.json).unwrap()
}
