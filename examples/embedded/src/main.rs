//! A service of one's own, behind the gateway in the same process: one port serves it in all protocols.

#[cfg(test)]
mod tests;

use std::{error::Error, pin::Pin, sync::Arc};

use gateway::{Config, Gateway, Listener, OwnServices, Shutdown, ShutdownConfig};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use greeter::{
    GreetRequest, GreetResponse, RepeatRequest,
    greeter_service_server::{GreeterService, GreeterServiceServer},
};

#[expect(unreachable_pub, clippy::allow_attributes, reason = "the code is generated")]
mod greeter {
    tonic::include_proto!("example.greeter.v1");
}

/// The contract, with its imports and custom options.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

struct Greeter;

#[tonic::async_trait]
impl GreeterService for Greeter {
    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetResponse>, Status> {
        match request.into_inner().name {
            name if name.is_empty() => Err(Status::invalid_argument("name: must not be empty")),
            name => Ok(Response::new(GreetResponse { text: format!("Hello {name}") })),
        }
    }

    type RepeatStream = Pin<Box<dyn Stream<Item = Result<GreetResponse, Status>> + Send>>;

    async fn repeat(&self, request: Request<RepeatRequest>) -> Result<Response<Self::RepeatStream>, Status> {
        let RepeatRequest { name, times } = request.into_inner();
        let greetings = (1..=times).map(move |time| Ok(GreetResponse { text: format!("Hello {name} {time}") }));
        Ok(Response::new(Box::pin(tokio_stream::iter(greetings))))
    }
}

/// Serves until the shutdown's drain is over.
async fn serve(socket: TcpListener, config: &Config, shutdown: Shutdown) -> Result<(), Box<dyn Error + Send + Sync>> {
    let services = OwnServices::new(DESCRIPTORS).with(GreeterServiceServer::new(Greeter)).public();
    let gateway = Arc::new(Gateway::embedded(config, services, &shutdown)?);
    gateway.serve(vec![Listener { socket, tls: false }], shutdown).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let (socket, shutdown) = (TcpListener::bind("127.0.0.1:8080").await?, Shutdown::new());
    let stopping = shutdown.clone();
    tokio::spawn(async move {
        tokio::signal::ctrl_c().await.ok();
        // Calls in progress finish before `serve` returns.
        stopping.run(&ShutdownConfig::default()).await;
    });
    serve(socket, &Config::default(), shutdown).await
}
