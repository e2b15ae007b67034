//! What people write by hand: handlers on axum that convert JSON with serde and call the service with a tonic client.

use std::{convert::Infallible, net::Ipv4Addr};

use axum::{
    Json, Router,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::post,
};
use futures_util::{Stream, StreamExt as _};
use http::{StatusCode, uri::PathAndQuery};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tonic::{
    Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::records::{REPEAT, REPEAT_HTTP, Record, UNARY, UNARY_HTTP};

/// Serves until it is killed.
pub(crate) fn run(port: u16, to: u16) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|e| e.to_string())?;
    runtime.block_on(serve(port, to)).map_err(|e| e.to_string())
}

async fn serve(port: u16, to: u16) -> Result<(), Box<dyn std::error::Error>> {
    let upstream = Endpoint::from_shared(format!("http://127.0.0.1:{to}"))?.connect_lazy();
    let routes =
        Router::new().route(UNARY_HTTP, post(unary)).route(REPEAT_HTTP, post(repeat)).with_state(Grpc::new(upstream));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

type GrpcState = State<Grpc<Channel>>;

async fn unary(State(mut upstream): GrpcState, Json(record): Json<Record>) -> Result<Json<Record>, BadGateway> {
    upstream.ready().await?;
    let path = PathAndQuery::from_static(UNARY);
    let response = upstream.unary(Request::new(record), path, ProstCodec::<Record, Record>::default()).await?;
    Ok(Json(response.into_inner()))
}

async fn repeat(
    State(mut upstream): GrpcState,
    Json(record): Json<Record>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, BadGateway> {
    upstream.ready().await?;
    let path = PathAndQuery::from_static(REPEAT);
    let codec = ProstCodec::<Record, Record>::default();
    let records = upstream.server_streaming(Request::new(record), path, codec).await?.into_inner();
    Ok(Sse::new(records.map(|record| Ok(event(record)))))
}

fn event(record: Result<Record, Status>) -> Event {
    let event = record.map(|record| Event::default().json_data(record));
    match event {
        Ok(Ok(event)) => event,
        Ok(Err(error)) => Event::default().event("error").data(error.to_string()),
        Err(status) => Event::default().event("error").data(status.message()),
    }
}

/// An error of the upstream.
struct BadGateway(String);

impl From<Status> for BadGateway {
    fn from(status: Status) -> Self {
        Self(status.to_string())
    }
}

impl From<tonic::transport::Error> for BadGateway {
    fn from(error: tonic::transport::Error) -> Self {
        Self(error.to_string())
    }
}

impl IntoResponse for BadGateway {
    fn into_response(self) -> Response {
        (StatusCode::BAD_GATEWAY, self.0).into_response()
    }
}
