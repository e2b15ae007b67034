//! What executes the calls of an operation.

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};

/// Makes calls on behalf of the client of one operation.
pub trait Caller: Send + Sync + 'static {
    /// Makes a unary call. `path` is `/package.Service/Method`, `message` the encoded request. Returns the encoded
    /// response.
    fn call(&self, path: &str, message: Vec<u8>) -> BoxFuture<'static, Result<Bytes, CallError>>;

    /// Opens a stream from the server. Returns the encoded messages; an error is the last item.
    fn open(&self, path: &str, message: Vec<u8>) -> BoxFuture<'static, Result<MessageStream, CallError>>;
}

/// The encoded messages of a stream.
pub type MessageStream = BoxStream<'static, Result<Bytes, CallError>>;

/// The status of a failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// The gRPC code.
    pub code: i32,
    /// The message for developers.
    pub message: String,
    /// The encoded `google.rpc.Status` of `grpc-status-details-bin`; empty without details.
    pub details: Bytes,
}

impl CallError {
    /// A failure within this process.
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Bytes::new() }
    }
}
