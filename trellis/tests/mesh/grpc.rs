//! A gRPC client that sends arbitrary bytes directly to a service.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::Status;

/// A connection.
#[derive(Clone)]
pub(crate) struct Raw {
    sender: SendRequest<Full<Bytes>>,
    port: u16,
}

impl Raw {
    pub(crate) async fn connect(port: u16) -> Self {
        let io = TokioIo::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Self { sender, port }
    }

    /// Sends a body. Returns the status from headers or trailers. Reads a stream up to its first message.
    pub(crate) async fn send(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Status {
        let mut request = Request::post(format!("http://127.0.0.1:{}{path}", self.port))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = self.sender.clone().send_request(request).await.unwrap();
        if let Some(status) = Status::from_header_map(response.headers()) {
            return status;
        }
        match response.into_body().frame().await {
            // A message: the call was accepted, whatever follows.
            Some(Ok(frame)) if frame.is_data() => Status::ok(""),
            Some(Ok(frame)) => {
                let status = frame.trailers_ref().and_then(Status::from_header_map);
                status.unwrap_or_else(|| Status::unknown("the trailers hold no status"))
            }
            Some(Err(error)) => Status::unknown(error.to_string()),
            None => Status::unknown("the response has no status"),
        }
    }
}
