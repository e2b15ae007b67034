//! Converts JSON text to protobuf bytes and back, directly: no message tree is built in between.
#![doc = include_str!("../README.md")]

mod error;
mod field_path;
pub mod http_rule;
mod json;
pub mod openapi;
mod options;
mod parse;
mod plan;
mod print;
mod registry;
mod status;
#[cfg(test)]
mod test_contracts;
mod text;
mod wire;

pub use error::{ErrorKind, TranscodeError, shorten};
pub use field_path::{FieldPath, FieldPathError};
pub use options::{Limits, ParseOptions, PrintOptions};
pub use registry::{Plan, Registry};
pub use status::{PROBLEM_JSON, Status, code_name, http_status};
