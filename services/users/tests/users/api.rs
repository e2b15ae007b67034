//! The API over a real channel on port 0, with real tokens.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::stream;
use kit::{
    ClockAndRng,
    time::{ManualClock, SystemEntropy},
};
use prost::{
    Message as _,
    bytes::{Buf, BufMut, Bytes},
    encoding::{DecodeContext, decode_key, skip_field},
};
use prost_types::FileDescriptorProto;
use proto::users::v1::{BatchGetUsersRequest, GetUserRequest, ListUsersRequest};
use tonic::{
    Code, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use users::config::Directory;
use uuid::Uuid;

use crate::{
    bench::{Bench, named_fields, profile},
    mesh::{Header, Mesh, refusal, request},
};

#[tokio::test]
async fn only_auth_creates_users() {
    let bench = Bench::new(Directory::All).await;
    let Mesh { clock_rng, .. } = &bench.mesh;
    // More than a token's lifetime of one minute and the allowed clock difference of one minute.
    let minutes_ago = ClockAndRng {
        clock: Arc::new(ManualClock::new(clock_rng.now() - Duration::from_secs(180))),
        entropy: Arc::new(SystemEntropy::default()),
    };
    let in_an_hour = ClockAndRng {
        clock: Arc::new(ManualClock::new(clock_rng.now() + Duration::from_secs(3_600))),
        entropy: Arc::new(SystemEntropy::default()),
    };
    let user = bench.mesh.signed_in(clock_rng.new_id());
    let stranger = Mesh::new().service_token("auth", "users", clock_rng);
    let refused: [(&str, Vec<Header>, &str); 8] = [
        ("no token", vec![], "PermissionDenied INTERNAL_METHOD"),
        ("a user's token", vec![user.clone()], "PermissionDenied INTERNAL_METHOD"),
        (
            "another service's token",
            vec![bench.mesh.service_token("messaging", "users", clock_rng)],
            "PermissionDenied SERVICE_NOT_ALLOWED",
        ),
        (
            "the gateway's token beside a user's",
            vec![bench.mesh.service_token("gateway", "users", clock_rng), user],
            "PermissionDenied SERVICE_NOT_ALLOWED",
        ),
        (
            "a token for another callee",
            vec![bench.mesh.service_token("auth", "messaging", clock_rng)],
            "Unauthenticated SERVICE_TOKEN_INVALID",
        ),
        (
            "an expired token",
            vec![bench.mesh.service_token("auth", "users", &minutes_ago)],
            "Internal SERVICE_CLOCK_SKEW",
        ),
        (
            "a token from the future",
            vec![bench.mesh.service_token("auth", "users", &in_an_hour)],
            "Internal SERVICE_CLOCK_SKEW",
        ),
        ("a stranger's token", vec![stranger], "Unauthenticated SERVICE_TOKEN_INVALID"),
    ];
    for (what, headers, expected) in refused {
        let response = bench.client().create_user(request(profile("mallory"), &headers)).await;
        assert_eq!(refusal(response), expected, "{what}");
    }
    let ada = bench.create("ada").await;
    assert_eq!(ada.handle, "ada");
    let token = bench.mesh.signed_in(clock_rng.new_id());
    let all = bench.client().list_users(request(ListUsersRequest::default(), &[token])).await.unwrap();
    assert_eq!(all.into_inner().users, [ada], "nothing of the refused calls was stored");
    bench.end().await;
}

#[tokio::test]
async fn reading_needs_sign_in() {
    let bench = Bench::new(Directory::All).await;
    let ada = bench.create("ada").await;
    let get = GetUserRequest { user_id: ada.user_id.clone() };
    let batch = BatchGetUsersRequest { user_ids: vec![ada.user_id.clone()] };
    let list = ListUsersRequest::default();
    let ended = bench.mesh.access_token(Uuid::nil(), Uuid::nil(), Duration::ZERO);
    let untrusted = Mesh::new().signed_in(Uuid::nil());
    let refused: [(Vec<Header>, &str); 5] = [
        (vec![], "Unauthenticated SIGN_IN_REQUIRED"),
        // A service needs a user on whose behalf it calls.
        (
            vec![bench.mesh.service_token("messaging", "users", &bench.mesh.clock_rng)],
            "Unauthenticated SIGN_IN_REQUIRED",
        ),
        (vec![ended], "Unauthenticated TOKEN_EXPIRED"),
        (vec![untrusted], "Unauthenticated TOKEN_INVALID"),
        (vec![("authorization", "Basic YTpi".to_owned())], "Unauthenticated TOKEN_INVALID"),
    ];
    for (headers, expected) in refused {
        let mut client = bench.client();
        assert_eq!(refusal(client.get_user(request(get.clone(), &headers)).await), expected);
        assert_eq!(refusal(client.batch_get_users(request(batch.clone(), &headers)).await), expected);
        assert_eq!(refusal(client.list_users(request(list.clone(), &headers)).await), expected);
    }
    let token = [bench.mesh.signed_in(Uuid::nil())];
    let mut client = bench.client();
    assert_eq!(client.get_user(request(get, &token)).await.unwrap().into_inner().user, Some(ada.clone()));
    assert_eq!(client.batch_get_users(request(batch, &token)).await.unwrap().into_inner().users, [ada]);
    bench.end().await;
}

#[tokio::test]
async fn batch_returns_users_in_order_without_unknown_ids() {
    let bench = Bench::new(Directory::All).await;
    let (ada, bob) = (bench.create("ada").await, bench.create("bob").await);
    let token = [bench.mesh.signed_in(Uuid::nil())];
    let unknown = bench.mesh.clock_rng.new_id().to_string();
    let user_ids = vec![bob.user_id.clone(), unknown.clone(), ada.user_id.clone()];
    let response = bench.client().batch_get_users(request(BatchGetUsersRequest { user_ids }, &token)).await.unwrap();
    assert_eq!(response.into_inner().users, [bob, ada]);
    let response = bench.client().get_user(request(GetUserRequest { user_id: unknown }, &token)).await;
    assert_eq!(refusal(response), "NotFound USER_NOT_FOUND");
    bench.end().await;
}

#[tokio::test]
async fn a_taken_handle_is_refused_and_a_repeat_is_not() {
    let bench = Bench::new(Directory::All).await;
    let token = [bench.mesh.service_token("auth", "users", &bench.mesh.clock_rng)];
    let first = profile("ada");
    let created = bench.client().create_user(request(first.clone(), &token)).await.unwrap().into_inner();
    let again = bench.client().create_user(request(first, &token)).await.unwrap().into_inner();
    assert_eq!(again, created);
    let response = bench.client().create_user(request(profile("ada"), &token)).await;
    assert_eq!(refusal(response), "AlreadyExists HANDLE_TAKEN");
    bench.end().await;
}

#[tokio::test]
async fn pages_list_the_whole_directory() {
    let bench = Bench::new(Directory::All).await;
    for handle in ["eve", "ada", "dan", "bob", "cid"] {
        bench.create(handle).await;
    }
    let token = [bench.mesh.signed_in(Uuid::nil())];
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    loop {
        let message = ListUsersRequest { page_size: 2, page_token, ..ListUsersRequest::default() };
        let page = bench.client().list_users(request(message, &token)).await.unwrap().into_inner();
        assert!((1..=2).contains(&page.users.len()));
        seen.extend(page.users.into_iter().map(|user| user.handle));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["ada", "bob", "cid", "dan", "eve"]);
    let message = ListUsersRequest { page_token: "made up".to_owned(), ..ListUsersRequest::default() };
    let response = bench.client().list_users(request(message, &token)).await;
    assert_eq!(named_fields(response.as_ref().unwrap_err()), ["page_token"]);
    assert_eq!(refusal(response), "InvalidArgument PAGE_TOKEN_INVALID");
    bench.end().await;
}

#[tokio::test]
async fn page_of_100_is_accepted_and_101_is_refused() {
    let bench = Bench::new(Directory::All).await;
    let token = [bench.mesh.signed_in(Uuid::nil())];
    let list = |page_size| {
        let message = ListUsersRequest { page_size, ..ListUsersRequest::default() };
        let (mut client, request) = (bench.client(), request(message, &token));
        async move { client.list_users(request).await }
    };
    list(100).await.unwrap();
    for size in [101, -1] {
        let status = list(size).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(named_fields(&status), ["page_size"]);
    }
    bench.end().await;
}

#[tokio::test]
async fn batch_of_100_is_accepted_and_101_is_refused() {
    let bench = Bench::new(Directory::All).await;
    let token = [bench.mesh.signed_in(Uuid::nil())];
    let batch = |n| {
        let user_ids = (0..n).map(|_| bench.mesh.clock_rng.new_id().to_string()).collect();
        let (mut client, request) = (bench.client(), request(BatchGetUsersRequest { user_ids }, &token));
        async move { client.batch_get_users(request).await }
    };
    batch(100).await.unwrap();
    assert_eq!(named_fields(&batch(101).await.unwrap_err()), ["user_ids"]);
    bench.end().await;
}

/// A codec that leaves messages encoded.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}

/// The field numbers of an encoded message.
fn fields(mut bytes: Bytes) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    while bytes.has_remaining() {
        let (number, wire_type) = decode_key(&mut bytes).unwrap();
        skip_field(wire_type, number, &mut bytes, DecodeContext::default()).unwrap();
        found.insert(number);
    }
    found
}

#[tokio::test]
async fn response_contains_only_the_public_profile_fields() {
    let bench = Bench::new(Directory::All).await;
    let ada = bench.create("ada").await;
    let mut client = Grpc::new(bench.channel.clone());
    client.ready().await.unwrap();
    let message = GetUserRequest { user_id: ada.user_id }.encode_to_vec();
    let headers = [bench.mesh.signed_in(Uuid::nil())];
    let path = "/trellis.users.v1.UsersService/GetUser".parse().unwrap();
    let response = client.unary(request(message, &headers), path, Raw).await.unwrap().into_inner();
    assert_eq!(fields(response.clone()), BTreeSet::from([1]), "GetUserResponse.user");
    // The profile follows one key and one length of one byte each.
    let profile = response.slice(2..);
    assert_eq!(usize::from(response[1]), profile.len());
    assert_eq!(fields(profile), BTreeSet::from([1, 2, 3, 4, 5]), "user_id, handle, display_name, create_time, etag");
    assert!(!response.contains(&b'@'), "no e-mail address in any form");
    bench.end().await;
}

#[tokio::test]
async fn health_needs_no_token() {
    let bench = Bench::new(Directory::All).await;
    let mut client = HealthClient::new(bench.channel.clone());
    for service in ["", "trellis.users.v1.UsersService"] {
        let response = client.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap();
        assert_eq!(response.into_inner().status(), ServingStatus::Serving, "{service:?}");
    }
    let unknown = HealthCheckRequest { service: "trellis.auth.v1.AuthService".to_owned() };
    assert_eq!(client.check(unknown).await.unwrap_err().code(), Code::NotFound);
    bench.end().await;
}

/// The response of one reflection version: the names of the services, and the file that declares the users service.
macro_rules! reflect {
    ($channel:expr, $version:ident) => {{
        use tonic_reflection::pb::$version::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let request = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let messages = [
            MessageRequest::ListServices(String::new()),
            MessageRequest::FileContainingSymbol("trellis.users.v1.UsersService".to_owned()),
            MessageRequest::FileContainingSymbol("trellis.auth.v1.AuthService".to_owned()),
        ];
        let mut client = ServerReflectionClient::new($channel.clone());
        let stream = client.server_reflection_info(stream::iter(messages.map(request))).await.unwrap();
        let mut stream = stream.into_inner();
        let Some(MessageResponse::ListServicesResponse(list)) =
            stream.message().await.unwrap().unwrap().message_response
        else {
            panic!("no list")
        };
        let Some(MessageResponse::FileDescriptorResponse(file)) =
            stream.message().await.unwrap().unwrap().message_response
        else {
            panic!("no file")
        };
        assert_eq!(stream.message().await.unwrap_err().code(), Code::NotFound, "another service's contract");
        let names: BTreeSet<String> = list.service.into_iter().map(|service| service.name).collect();
        (names, file.file_descriptor_proto)
    }};
}

#[tokio::test]
async fn reflection_needs_no_token_and_hides_internal_methods() {
    let bench = Bench::new(Directory::All).await;
    let responses = [reflect!(bench.channel, v1), reflect!(bench.channel, v1alpha)];
    for (names, files) in responses {
        let ours = ["grpc.health.v1.Health", "trellis.users.v1.UsersService"];
        assert!(ours.iter().all(|name| names.contains(*name)), "{names:?}");
        assert!(!names.iter().any(|name| name.starts_with("trellis.") && name != ours[1]), "{names:?}");
        let file = FileDescriptorProto::decode(files[0].as_slice()).unwrap();
        let methods: Vec<&str> = file.service[0].method.iter().map(|method| method.name()).collect();
        assert_eq!(methods, ["GetUser", "BatchGetUsers", "ListUsers", "UpdateUser"]);
    }
    bench.end().await;
}
