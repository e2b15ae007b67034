//! Requests that tonic cannot read. It has no hook for them and returns INTERNAL, but they are the client's error.

use axum::response::Response;
use tonic::{Code, Status};

use super::stack::refuse;
use crate::error;

/// How tonic's messages for such requests begin.
const MESSAGES: [&str; 4] =
    ["Unexpected EOF decoding stream", "Missing request message", "Error decompressing: ", "protocol error: "];

/// Replaces tonic's INTERNAL for an unreadable request by INVALID_ARGUMENT with a reason.
pub(super) async fn blame_client(response: Response) -> Response {
    let headers = response.headers();
    // Only a status in the headers can be tonic's: it reads the request before the handler responds.
    let status = Status::from_header_map(headers).filter(|status| status.code() == Code::Internal);
    let is_tonics = status.is_some_and(|status| {
        status.details().is_empty() && MESSAGES.iter().any(|start| status.message().starts_with(start))
    });
    if is_tonics { refuse(error::malformed_body()) } else { response }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn other_internal_errors_are_kept() {
        let code = async |status: Status| {
            let response = blame_client(refuse(status)).await;
            Status::from_header_map(response.headers()).unwrap().code()
        };
        assert_eq!(code(Status::internal("Missing request message.")).await, Code::InvalidArgument);
        let ours = error::status(Code::Internal, "INTERNAL", "Missing request message.");
        assert_eq!(code(ours).await, Code::Internal);
        assert_eq!(code(Status::internal("a handler failed")).await, Code::Internal);
        assert_eq!(code(Status::unknown("Missing request message.")).await, Code::Unknown);
    }
}
