//! Methods with test implementations, served behind the real stack, including access checks.

use axum::{Router, body::Body, extract::Request, routing::post};
use prost::Message;
use tonic::{Response, Status, server::Grpc};
use tonic_prost::ProstCodec;

/// The method at `path` (`/package.Service/Method`), implemented by `implementation`.
pub(crate) fn unary<Q, A, F>(path: &str, implementation: impl Fn(Q) -> F + Clone + Send + Sync + 'static) -> Router
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
    F: Future<Output = Result<A, Status>> + Send + 'static,
{
    let handler = async move |request: Request| {
        let service = tower::service_fn(move |request: tonic::Request<Q>| {
            let response = implementation(request.into_inner());
            async move { response.await.map(Response::new) }
        });
        Grpc::new(ProstCodec::<A, Q>::default()).unary(service, request).await.map(Body::new)
    };
    Router::new().route(path, post(handler))
}
