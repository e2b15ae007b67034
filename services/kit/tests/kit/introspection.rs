//! Health and reflection: access without a token, and limits.

use kit::limits::Limits;
use tokio_stream::once;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{bench::Bench, eventually::eventually};

async fn watch(bench: &Bench) -> Result<Streaming<HealthCheckResponse>, Status> {
    let mut health = HealthClient::new(bench.channel().await);
    let mut stream = health.watch(HealthCheckRequest::default()).await?.into_inner();
    stream.message().await?;
    Ok(stream)
}

async fn reflect(bench: &Bench, message: MessageRequest) -> Result<ServerReflectionResponse, Status> {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let mut client = ServerReflectionClient::new(bench.channel().await);
    let mut stream = client.server_reflection_info(once(request)).await?.into_inner();
    stream.message().await?.ok_or_else(|| Status::internal("no response"))
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_health_are_bounded_by_address() {
    let bench = Bench::new(Limits { introspection_streams: 2, ..Limits::default() }).await;
    let [first, _second] = [watch(&bench).await.unwrap(), watch(&bench).await.unwrap()];
    let refused = watch(&bench).await.unwrap_err();
    assert_eq!(crate::mesh::refusal::<()>(Err(refused)), "ResourceExhausted STREAMS_LIMITED");
    let list = MessageRequest::ListServices(String::new());
    assert_eq!(reflect(&bench, list.clone()).await.unwrap_err().code(), Code::ResourceExhausted);
    // Probes and calls succeed.
    HealthClient::new(bench.channel().await).check(HealthCheckRequest::default()).await.unwrap();
    bench.ask(&bench.channel().await).await.unwrap();
    drop(first);
    eventually("a closed stream frees its place", async || reflect(&bench, list.clone()).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_can_be_turned_off() {
    let list = MessageRequest::ListServices(String::new());
    let on = Bench::new(Limits::default()).await;
    reflect(&on, list.clone()).await.unwrap();
    let off = Bench::new(Limits { reflection: false, ..Limits::default() }).await;
    assert_eq!(reflect(&off, list).await.unwrap_err().code(), Code::Unimplemented);
    HealthClient::new(off.channel().await).check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_knows_the_details_of_errors() {
    let bench = Bench::new(Limits::default()).await;
    for name in ["google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.RetryInfo"] {
        let response = reflect(&bench, MessageRequest::FileContainingSymbol(name.to_owned())).await.unwrap();
        let found = response.message_response;
        assert!(matches!(found, Some(MessageResponse::FileDescriptorResponse(_))), "{name}: {found:?}");
    }
}
