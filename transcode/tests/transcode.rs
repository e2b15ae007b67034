//! Tests of the conversions between JSON and protobuf.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

#[path = "transcode/conformance.rs"]
mod conformance;
#[path = "transcode/corpus.rs"]
mod corpus;
#[path = "transcode/generate.rs"]
mod generate;
#[path = "transcode/hostile.rs"]
mod hostile;
#[path = "transcode/http.rs"]
mod http;
#[path = "transcode/json.rs"]
mod json;
#[path = "transcode/properties.rs"]
mod properties;
#[path = "transcode/python.rs"]
mod python;
#[path = "transcode/reflect.rs"]
mod reflect;
#[path = "transcode/support.rs"]
mod support;
#[path = "transcode/wire.rs"]
mod wire;
