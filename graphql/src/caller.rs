//! What executes the calls of an operation.

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};

use crate::budget::{Budget, Exceeded, Share};

/// `RESOURCE_EXHAUSTED`.
pub(crate) const RESOURCE_EXHAUSTED: i32 = 8;

/// Makes calls on behalf of the client of one operation.
pub trait Caller: Send + Sync + 'static {
    /// Makes a unary call. `path` is `/package.Service/Method`, `message` the encoded request. Returns the encoded
    /// response, whose bytes are held of the budget as they arrive.
    fn call(&self, path: &str, message: Vec<u8>, budget: &Budget) -> BoxFuture<'static, Result<Message, CallError>>;

    /// Opens a stream from the server. Returns the encoded messages; an error is the last item. The budget is that of
    /// each message.
    fn open(
        &self,
        path: &str,
        message: Vec<u8>,
        budget: &Budget,
    ) -> BoxFuture<'static, Result<MessageStream, CallError>>;
}

/// An encoded message, and the share of the budget that it holds.
#[derive(Debug)]
pub struct Message {
    /// The protobuf bytes.
    pub bytes: Bytes,
    /// What they hold of the budget.
    pub share: Share,
}

/// The encoded messages of a stream.
pub type MessageStream = BoxStream<'static, Result<Message, CallError>>;

/// The status of a failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// The gRPC code.
    pub code: i32,
    /// The message for developers.
    pub message: String,
    /// The encoded `google.rpc.Status` of `grpc-status-details-bin`; empty without details.
    pub details: Bytes,
    /// The reason of a failure within this process, which has no details.
    pub reason: Option<&'static str>,
}

impl CallError {
    /// A failure within this process.
    pub(crate) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Bytes::new(), reason: None }
    }
}

impl From<Exceeded> for CallError {
    fn from(exceeded: Exceeded) -> Self {
        Self { reason: Some(Exceeded::REASON), ..Self::new(RESOURCE_EXHAUSTED, exceeded.message()) }
    }
}
