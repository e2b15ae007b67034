//! A service with a fixed number of workers and an unbounded queue. It completes every call, even a cancelled one.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use prost::Message as _;
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::AbortHandle,
    time::sleep,
};

/// The only method of the service.
pub(super) const PATH: &str = "/bench.v1.Work/Do";

/// A running service. Stopped on drop.
pub(super) struct Service {
    pub(super) port: u16,
    accepting: AbortHandle,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

pub(super) async fn start(workers: usize, work: Duration) -> io::Result<Service> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    let workers = Arc::new(Semaphore::new(workers));
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&workers), work));
        }
    });
    Ok(Service { port, accepting: accepting.abort_handle() })
}

async fn serve(stream: TcpStream, workers: Arc<Semaphore>, work: Duration) {
    stream.set_nodelay(true).ok();
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((_, respond))) = connection.accept().await {
        let workers = Arc::clone(&workers);
        tokio::spawn(async move {
            // The semaphore is fair: calls run in their order of arrival.
            let Ok(_worker) = workers.acquire().await else { return };
            sleep(work).await;
            send_response(respond);
        });
    }
}

/// Sends an empty message and status 0. Errors mean that the client has gone.
fn send_response(mut respond: SendResponse<Bytes>) {
    let mut head = Response::new(());
    head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let Ok(mut stream) = respond.send_response(head, false) else { return };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_data(Bytes::from_static(&[0; 5]), false).and_then(|()| stream.send_trailers(trailers)).ok();
}

/// The descriptors of the service. The gateway sheds only unary calls.
pub(super) fn descriptors() -> Vec<u8> {
    let nothing = || Some(".bench.v1.Nothing".to_owned());
    let method = MethodDescriptorProto {
        name: Some("Do".to_owned()),
        input_type: nothing(),
        output_type: nothing(),
        ..MethodDescriptorProto::default()
    };
    let file = FileDescriptorProto {
        name: Some("bench/v1/work.proto".to_owned()),
        package: Some("bench.v1".to_owned()),
        message_type: vec![DescriptorProto { name: Some("Nothing".to_owned()), ..DescriptorProto::default() }],
        service: vec![ServiceDescriptorProto { name: Some("Work".to_owned()), method: vec![method], options: None }],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet { file: vec![file] }.encode_to_vec()
}
