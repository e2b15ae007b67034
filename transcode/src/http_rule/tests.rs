//! Bindings of small contracts that the tests compile.

mod contracts;
mod hostile;
mod public_examples;
mod queries;
mod random;
mod refused_rules;
mod requests;
mod round_trips;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, SerializeOptions};

use super::*;
use crate::{Registry, test_contracts};

/// Compiles a contract. `source` begins after the syntax, package and imports.
fn compile(source: &str) -> DescriptorPool {
    let start = r#"syntax = "proto3"; package t;
        import "google/api/annotations.proto"; import "google/api/httpbody.proto"; import "google/protobuf/any.proto";
        import "google/protobuf/duration.proto"; import "google/protobuf/field_mask.proto";
        import "google/protobuf/struct.proto"; import "google/protobuf/timestamp.proto";
        import "google/protobuf/wrappers.proto";"#;
    test_contracts::compile(&format!("{start}\n{source}"))
}

fn methods(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

fn build(pools: &[&DescriptorPool]) -> Result<RouteTable, RuleErrors> {
    let registries: Vec<_> = pools.iter().map(|pool| Registry::new(pool)).collect();
    let of_pools = registries.iter().zip(pools);
    RouteTable::build(
        of_pools.flat_map(|(registry, pool)| methods(pool).into_iter().map(move |method| (registry, method))),
    )
}

fn table(pool: &DescriptorPool) -> RouteTable {
    build(&[pool]).unwrap_or_else(|e| panic!("{e}"))
}

/// The request of an HTTP request such as `GET /v1/x?y=z`: the name of the method, and the JSON form of the message.
fn request(table: &RouteTable, line: &str, body: &str) -> Result<(String, String), String> {
    request_with(table, line, body, &RequestOptions::default())
}

fn request_with(
    table: &RouteTable,
    line: &str,
    body: &str,
    options: &RequestOptions,
) -> Result<(String, String), String> {
    let (http_method, target) = line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let found = match table.find(http_method, path) {
        Lookup::Found(found) => found,
        other => return Err(format!("{other:?}")),
    };
    let mut encoded = Vec::new();
    found.append_request(query, body.as_bytes(), options, &mut encoded).map_err(|e| e.to_string())?;
    let method = found.binding.method();
    let message = DynamicMessage::decode(method.input(), encoded.as_slice()).unwrap();
    Ok((method.name().to_owned(), json(&message)))
}

fn json(message: &DynamicMessage) -> String {
    let mut out = serde_json::Serializer::new(Vec::new());
    message.serialize_with_options(&mut out, &SerializeOptions::new()).unwrap();
    String::from_utf8(out.into_inner()).unwrap()
}
