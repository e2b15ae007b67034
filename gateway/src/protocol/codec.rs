//! The messages of a declared method, for protocols that convert them to JSON.

use kit::error::{invalid_field, status};
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::{Code, Status};
use transcode::{ErrorKind, Limits, ParseOptions, Plan, PrintOptions, Registry, TranscodeError};

use super::{framing::Why, private, status::request_refused};
use crate::config::Json;

/// The messages of a pool, those of gRPC's error details, and the well-known types: errors and `Any` may hold types that
/// no file of the pool imports.
pub(crate) fn registry(pool: &DescriptorPool) -> Registry {
    let mut pool = pool.clone();
    for file in DescriptorPool::global().file_descriptor_protos() {
        // A pool with other messages of these names keeps its own.
        if let Err(error) = pool.add_file_descriptor_proto(file.clone()) {
            tracing::debug!(%error, file = file.name(), "a well-known type is not decoded");
        }
    }
    // A pool with other messages of these names keeps its own.
    if let Err(error) = pool.decode_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET) {
        tracing::debug!(%error, "details of errors are not decoded");
    }
    Registry::new(&pool)
}

/// The messages of a method.
#[derive(Debug)]
pub(crate) struct MethodCodec {
    descriptor: MethodDescriptor,
    request: Plan,
    response: Plan,
    parse: ParseOptions,
    print: PrintOptions,
    limits: Limits,
    /// A response may hold a secret or private text.
    has_private_response: bool,
}

impl MethodCodec {
    /// `registry` holds the messages of the descriptor's pool.
    pub(crate) fn new(descriptor: MethodDescriptor, registry: &Registry, config: &Json) -> Option<Self> {
        let (parse, print, limits) = config.conversion();
        Some(Self {
            request: registry.message(descriptor.input().full_name())?,
            response: registry.message(descriptor.output().full_name())?,
            has_private_response: private::may_be_in(&descriptor.output()),
            descriptor,
            parse,
            print,
            limits,
        })
    }

    pub(crate) fn descriptor(&self) -> &MethodDescriptor {
        &self.descriptor
    }

    /// Whether a response may hold a secret or private text. Such responses are not compressed.
    pub(crate) fn has_private_response(&self) -> bool {
        self.has_private_response
    }

    /// Appends the JSON of a status.
    pub(super) fn append_status(&self, status: &Status, out: &mut Vec<u8>) {
        let form =
            transcode::Status { code: status.code() as i32, message: status.message(), details: status.details() };
        form.append_json(&self.request.registry(), &self.limits, out);
    }

    /// Appends the protobuf bytes of a request in JSON. The body may have `limit` bytes, as text and as protobuf.
    pub(super) fn parse(&self, json: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Box<Status>> {
        let limits = Limits { input: limit, output: limit, ..self.limits };
        self.request.to_proto(json, &self.parse, &limits, out).map_err(|error| Box::new(refused(&error)))
    }

    /// Appends the JSON of a response's message.
    pub(super) fn print(&self, proto: &[u8], out: &mut Vec<u8>) -> Result<(), Box<Status>> {
        self.response.to_json(proto, &self.print, &self.limits, out).map_err(|error| Box::new(unprintable(&error)))
    }
}

/// The request is not JSON, or not of the method's message.
pub(super) fn refused(error: &TranscodeError) -> Status {
    if error.kind == ErrorKind::TooLong {
        return request_refused(Why::TooLarge);
    }
    match error.path.strip_prefix("$.") {
        Some(field) => {
            let message = format!("{} (byte {})", error.message, error.offset);
            invalid_field(field, crate::reason::JSON_INVALID, &message)
        }
        None => status(Code::InvalidArgument, crate::reason::JSON_INVALID, error.to_string()),
    }
}

/// The response has no JSON form within the limits.
pub(super) fn unprintable(error: &TranscodeError) -> Status {
    let is_limit = matches!(error.kind, ErrorKind::Limit | ErrorKind::TooLong);
    let code = if is_limit { Code::ResourceExhausted } else { Code::Internal };
    let message = format!("the response cannot be written as JSON: {error}");
    status(code, crate::reason::JSON_UNAVAILABLE, message)
}
