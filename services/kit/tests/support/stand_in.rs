//! Methods that answer as the test says, to be served behind the real stack: who may call is checked as ever.

use axum::{Router, body::Body, extract::Request, routing::post};
use prost::Message;
use tonic::{Response, Status, server::Grpc};
use tonic_prost::ProstCodec;

/// The method at `path` (`/package.Service/Method`), answered by `answer`.
pub(crate) fn unary<Q, A, F>(path: &str, answer: impl Fn(Q) -> F + Clone + Send + Sync + 'static) -> Router
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let handler = async move |request: Request| {
        let service = tower::service_fn(move |request: tonic::Request<Q>| {
            let answered = answer(request.into_inner());
            async move { answered.await.map(Response::new) }
        });
        Grpc::new(ProstCodec::<A, Q>::default()).unary(service, request).await.map(Body::new)
    };
    Router::new().route(path, post(handler))
}
