//! Each limit of `kit::limits` that the server stack enforces, at n and at n + 1.

use std::time::Duration;

use kit::limits::Limits;
use prost::Message as _;
use proto::users::v1::{
    BatchGetUsersRequest, CreateUserRequest, GetUserRequest, users_service_client::UsersServiceClient,
};
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};
use tonic::Code;
use uuid::Uuid;

use crate::{
    bench::{Bench, GET_USER},
    eventually::{MOMENT, eventually},
    mesh::{refusal, request},
    wire::{Wire, flood_with_pings, provoke_resets},
};

/// HTTP 431: Request Header Fields Too Large.
const TOO_LARGE: u16 = 431;

#[tokio::test(flavor = "multi_thread")]
async fn headers_take_at_most_16_kib() {
    let bench = Bench::new(Limits::default()).await;
    bench.handlers.release(2);
    let wire = Wire::connect(bench.address).await;
    let message = GetUserRequest { user_id: Uuid::nil().to_string() }.encode_to_vec();
    let head = |padding: usize| {
        let headers = [bench.token.clone(), ("x-padding", "x".repeat(padding))];
        wire.head(GET_USER, &headers)
    };
    let (_, least) = head(0);
    let (at_the_limit, size) = head(16_384 - least);
    assert_eq!(size, 16_384);
    let response = Wire::read(wire.send(at_the_limit, &message).await).await.unwrap();
    assert_eq!((response.http, response.grpc.as_deref()), (200, Some("0")), "{response:?}");

    let (beyond, _) = head(16_385 - least);
    let refused = Wire::read(wire.send(beyond, &message).await).await;
    assert!(refused.as_ref().map_or(true, |response| response.http == TOO_LARGE), "{refused:?}");
    // The connection remains usable.
    let (again, _) = head(0);
    assert_eq!(Wire::read(wire.send(again, &message).await).await.unwrap().http, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_message_takes_at_most_the_configured_bytes() {
    let bench = Bench::new(Limits { message_bytes: 2_000, ..Limits::default() }).await;
    let mut client = UsersServiceClient::new(bench.channel().await);
    let token = [bench.mesh.service_token("auth", "users", &bench.mesh.clock_rng)];
    // The padding is a name with too many characters, which the contract refuses after the message is read.
    let message = |bytes: usize| {
        let mut message = CreateUserRequest { user_id: Uuid::nil().to_string(), ..CreateUserRequest::default() };
        message.display_name = "x".repeat(1_000);
        let rest = bytes - message.encoded_len();
        message.display_name = "x".repeat(1_000 + rest);
        assert_eq!(message.encoded_len(), bytes);
        message
    };
    let taken = client.create_user(request(message(2_000), &token)).await.unwrap_err();
    assert_eq!(taken.code(), Code::InvalidArgument, "the contract refuses it after it is read: {taken:?}");
    let refused = client.create_user(request(message(2_001), &token)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn response_message_takes_at_most_the_configured_bytes() {
    let bench = Bench::new(Limits { message_bytes: 500, ..Limits::default() }).await;
    let channel = bench.channel().await;
    let response = bench.list(&channel, 500).await.unwrap();
    assert_eq!(response.encoded_len(), 500);
    assert_eq!(bench.list(&channel, 501).await.unwrap_err().code(), Code::OutOfRange);
}

/// Whether the server has closed the connection.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 256];
    loop {
        match timeout(Duration::from_millis(300), stream.read(&mut buffer)).await {
            // Nothing, or only HTTP/2's first frames.
            Err(_) => return false,
            Ok(Ok(n)) if n > 0 => {}
            Ok(_) => return true,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_beyond_the_limit_is_closed_until_another_ends() {
    let bench = Bench::new(Limits { connections: 3, ..Limits::default() }).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(TcpStream::connect(bench.address).await.unwrap());
    }
    let mut one_more = TcpStream::connect(bench.address).await.unwrap();
    assert!(is_closed(&mut one_more).await, "the fourth connection is closed");
    for stream in &mut open {
        assert!(!is_closed(stream).await, "the first three connections remain open");
    }
    open.pop();
    eventually("a place is free", async || {
        let mut next = TcpStream::connect(bench.address).await.unwrap();
        !is_closed(&mut next).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn call_beyond_the_limit_is_refused_until_another_ends() {
    let bench = Bench::new(Limits { calls_in_flight: 4, ..Limits::default() }).await;
    let channel = bench.channel().await;
    let waiting: Vec<_> = (0..4).map(|_| bench.call(&channel)).collect();
    bench.handlers.wait_for(4).await;
    assert_eq!(refusal(bench.call(&channel).await.unwrap()), "Unavailable OVERLOADED");
    bench.handlers.release(4);
    for call in waiting {
        call.await.unwrap().unwrap();
    }
    bench.handlers.release(1);
    bench.call(&channel).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_request_is_the_clients_error() {
    let bench = Bench::new(Limits::default()).await;
    let wire = Wire::connect(bench.address).await;
    let gzip = ("grpc-encoding", "gzip".to_owned());
    for (what, headers, body) in [
        ("no message", vec![], b"".as_slice()),
        ("a part of the length", vec![], b"\0\0\0"),
        ("a part of the message", vec![], b"\0\0\0\0\x09abc"),
        ("no gzip", vec![gzip], b"\x01\0\0\0\x03abc"),
        ("compressed without an encoding", vec![], b"\x01\0\0\0\x03abc"),
        ("a flag that gRPC does not define", vec![], b"\x02\0\0\0\x03abc"),
        ("no protobuf", vec![], b"\0\0\0\0\x03\xff\xff\xff"),
    ] {
        let headers = [headers, vec![bench.token.clone()]].concat();
        let (head, _) = wire.head(GET_USER, &headers);
        let received = Wire::read(wire.send_body(head, body).await).await.unwrap();
        assert_eq!(received.grpc.as_deref(), Some("3"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_call_finishes_and_counts_until_then() {
    let bench = Bench::new(Limits { calls_in_flight: 1, ..Limits::default() }).await;
    let channel = bench.channel().await;
    let call = bench.call(&channel);
    bench.handlers.wait_for(1).await;
    call.abort();
    call.await.unwrap_err();
    // On the same connection, so that the reset of the first call arrives before.
    assert_eq!(refusal(bench.call(&channel).await.unwrap()), "Unavailable OVERLOADED");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.handlers.inside(), 1, "the handler continues");
    bench.handlers.release(1);
    bench.handlers.wait_for(0).await;
    eventually("its place is free", async || bench.ask(&channel).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_call_too_many_on_a_connection_waits() {
    let bench = Bench::new(Limits { streams_per_connection: 4, ..Limits::default() }).await;
    let channel = bench.channel().await;
    // The server's settings arrive before its first response.
    bench.ask(&channel).await.unwrap();
    let calls: Vec<_> = (0..5).map(|_| bench.call(&channel)).collect();
    bench.handlers.wait_for(4).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.handlers.inside(), 4, "the fifth call waits in its client");
    let elsewhere = bench.call(&bench.channel().await);
    bench.handlers.wait_for(5).await;
    bench.handlers.release(6);
    for call in calls {
        timeout(MOMENT, call).await.unwrap().unwrap().unwrap();
    }
    elsewhere.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_with_a_thousand_provoked_resets_is_closed() {
    let bench = Bench::new(Limits::default()).await;
    let few = timeout(Duration::from_millis(500), provoke_resets(bench.address, 1_000)).await;
    assert!(few.is_err(), "1 000 resets are allowed: {few:?}");
    let many = timeout(MOMENT, provoke_resets(bench.address, 1_100)).await.expect("the server closes the connection");
    // Every flood ends this way, whichever frames it consists of (docs/security.md): the server writes nothing more to a
    // peer that floods it. RFC 9113, section 5.4.1, recommends GOAWAY, and permits to omit it.
    assert_eq!(many, None, "the connection is closed without GOAWAY");
    bench.ask(&bench.channel().await).await.expect("other clients are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_that_floods_with_pings_is_closed() {
    let bench = Bench::new(Limits::default()).await;
    let flood = |count| timeout(MOMENT, flood_with_pings(bench.address, count));
    assert!(!flood(900).await.expect("the server responds"));
    assert!(flood(5_000).await.expect("the server closes the connection"));
    bench.ask(&bench.channel().await).await.expect("other clients are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn panic_fails_only_its_own_call() {
    let bench = Bench::new(Limits::default()).await;
    let channel = bench.channel().await;
    let other = bench.call(&channel);
    bench.handlers.wait_for(1).await;
    let message = BatchGetUsersRequest { user_ids: vec![Uuid::nil().to_string()] };
    let mut client = UsersServiceClient::new(channel);
    let response = client.batch_get_users(request(message, std::slice::from_ref(&bench.token))).await;
    assert_eq!(refusal(response), "Internal INTERNAL");
    bench.handlers.release(1);
    other.await.unwrap().unwrap();
}
