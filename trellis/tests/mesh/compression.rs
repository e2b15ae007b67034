//! Compressed messages: services accept and send gzip and zstd, and a decompression bomb stays within the limit.

use proto::auth::v1::{GetJwksRequest, SignInRequest, auth_service_client::AuthServiceClient};
use tonic::{Code, codec::CompressionEncoding};

use super::harness::{Mesh, Store};

const ENCODINGS: [(CompressionEncoding, &str); 2] =
    [(CompressionEncoding::Gzip, "gzip"), (CompressionEncoding::Zstd, "zstd")];

/// Through the gateway and at the service's own port.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_requests_are_accepted_and_responses_negotiated() {
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    for port in [mesh.ports.gateway, mesh.ports.auth] {
        for (encoding, name) in ENCODINGS {
            let channel = mesh.channel(port).await;
            let client = || AuthServiceClient::new(channel.clone()).send_compressed(encoding);
            let response = client().accept_compressed(encoding).get_jwks(GetJwksRequest {}).await.unwrap();
            assert_eq!(response.metadata().get("grpc-encoding").unwrap(), name);
            assert!(!response.into_inner().keys.is_empty());
            // A client that does not accept the encoding gets an uncompressed response.
            let response = client().get_jwks(GetJwksRequest {}).await.unwrap();
            assert!(response.metadata().get("grpc-encoding").is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn decompression_bomb_is_refused_within_the_message_limit() {
    const BOMB: usize = 256 * 1024 * 1024;
    const SLACK_KIB: u64 = 96 * 1024;
    let mesh = Mesh::start(Store::Sqlite, &[]).await;
    let before = mesh.status("VmHWM");
    for (encoding, name) in ENCODINGS {
        for port in [mesh.ports.gateway, mesh.ports.auth] {
            let mut client = AuthServiceClient::new(mesh.channel(port).await).send_compressed(encoding);
            let bomb = SignInRequest { password: "0".repeat(BOMB), ..SignInRequest::default() };
            let refused = client.sign_in(bomb).await.unwrap_err();
            assert_eq!(refused.code(), Code::ResourceExhausted, "{name}: {refused}");
        }
    }
    let grown = mesh.status("VmHWM") - before;
    assert!(grown < SLACK_KIB, "{grown} KiB for bombs of {} KiB", BOMB / 1024);
}
