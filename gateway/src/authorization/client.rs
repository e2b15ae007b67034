//! One request to the authorization service, over the connections of its cluster.

use std::future::poll_fn;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderValue, Request, Uri,
    header::{CONTENT_TYPE, TE},
};
use kit::{
    grpc::{self, code_of},
    overload::CallerKey,
    trace::TraceContext,
};
use prost::Message as _;
use tokio::time::Instant;
use tonic::Code;

use super::messages::{CheckRequest, CheckResponse};
use crate::{
    protocol::{framing, status::is_grpc},
    upstream::{Cluster, Conditions, RequestBody},
};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// The largest response.
const MOST_BYTES: usize = 64 * 1_024;

/// Returns the service's response, or why there is none.
pub(super) async fn ask(
    cluster: &Cluster,
    check: &CheckRequest,
    deadline: Instant,
    caller: CallerKey,
    trace: &TraceContext,
) -> Result<CheckResponse, String> {
    let mut request = Request::new(RequestBody::whole(framing::frame(&check.encode_to_vec())));
    *request.uri_mut() = Uri::from_static(CHECK);
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(grpc::TIMEOUT, grpc::timeout(deadline));
    trace.write(headers);
    let conditions = Conditions { is_idempotent: true, deadline: Some(deadline), weight: None, caller };
    let response = cluster.send(request, conditions).await.map_err(|failure| failure.to_string())?;
    let (head, mut reply) = response.into_parts();
    if !head.status.is_success() || !head.headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
        return Err(format!("the response is not gRPC: HTTP status {}", head.status));
    }
    let (mut body, mut code) = (BytesMut::new(), code_of(&head.headers));
    while let Some(frame) = poll_fn(|cx| reply.poll_frame(cx)).await {
        match frame.map_err(|error| error.to_string())?.into_data() {
            Ok(data) => body.extend_from_slice(&data),
            Err(frame) => code = frame.trailers_ref().and_then(code_of).or(code),
        }
        if body.len() > MOST_BYTES {
            return Err(format!("the response is larger than {MOST_BYTES} bytes"));
        }
    }
    match code {
        Some(Code::Ok) => message(body.freeze()),
        code => Err(format!("the service returned the status {code:?}")),
    }
}

fn message(body: Bytes) -> Result<CheckResponse, String> {
    let message = framing::only_message(body).ok_or("the response is not one message")?;
    let response = CheckResponse::decode(message).map_err(|error| error.to_string())?;
    // Envoy takes it as a permission. But it is also what a stub, or a service that has forgotten its decision, returns.
    if response == CheckResponse::default() {
        return Err("the response states no decision: its status must have a code, 0 to allow the call".to_owned());
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::messages::{OkHttpResponse, RpcStatus};

    #[test]
    fn response_without_a_decision_is_a_failure() {
        let read = |response: CheckResponse| message(framing::frame(&response.encode_to_vec()));
        let ok = CheckResponse { status: Some(RpcStatus::default()), ..CheckResponse::default() };
        assert_eq!(read(ok.clone()), Ok(ok), "an empty status has the code 0");
        let ok = CheckResponse { ok_response: Some(OkHttpResponse::default()), ..CheckResponse::default() };
        assert_eq!(read(ok.clone()), Ok(ok));
        assert!(read(CheckResponse::default()).unwrap_err().contains("no decision"));
    }
}
