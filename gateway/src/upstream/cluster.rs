//! Servers that answer the same methods, and how a call comes to one of them.

use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Version, uri::PathAndQuery};
use kit::balance::{Balancer, Location, Pick};

use super::{
    Failure, Reply, call,
    server::{self, Server},
};
use crate::body::Request;

/// How often a call is sent that nobody looks at.
const TRIES: usize = 3;

/// Servers that answer the same methods.
pub(crate) struct Cluster {
    servers: Balancer<Arc<Server>>,
}

/// A call's place on a server and on one of its connections; given back when dropped.
pub(crate) struct Place {
    connection: server::Place,
    server: Pick<Arc<Server>>,
}

impl Place {
    /// Sends on the connection.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.connection.sender()
    }

    /// The answer has begun.
    pub(super) fn answered(&self) {
        self.server.answered();
    }
}

impl Cluster {
    pub(super) fn new(servers: Balancer<Arc<Server>>) -> Self {
        Self { servers }
    }

    /// Sends the request to the least busy server. Where it cannot be reached another one gets it; a call that nobody
    /// has looked at, because its connection was closing, costs another try and does not fail.
    pub(crate) async fn send(&self, request: http::Request<Request>) -> Result<http::Response<Reply>, Failure> {
        let (parts, mut body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let mut tries = 1;
        let mut tried = Vec::new();
        loop {
            let place = self.place(&mut tried).await?;
            let mut head = http::Request::new(());
            *head.method_mut() = Method::POST;
            *head.version_mut() = Version::HTTP_2;
            *head.uri_mut() = place.server.uri(path.clone()).map_err(|e| Failure::Unreachable(e.to_string()))?;
            // h2 keeps the headers, and another try needs them.
            head.headers_mut().clone_from(&parts.headers);
            let unanswered = match call::send(place, head, body).await {
                Ok(response) => return Ok(response),
                Err(unanswered) => *unanswered,
            };
            let place = unanswered.place;
            body = unanswered.body;
            if matches!(unanswered.failure, Failure::Gone(_)) {
                place.server.forget(&place.connection);
            }
            if !unanswered.failure.is_unsent() {
                place.server.failed();
                return Err(unanswered.failure);
            }
            if tries == TRIES || !body.rewind() {
                return Err(unanswered.failure);
            }
            tries += 1;
        }
    }

    /// A place at a server that has one; those in `tried` come last, and those that have none are added to it.
    async fn place(&self, tried: &mut Vec<Location>) -> Result<Place, Failure> {
        let mut failure = Failure::Unreachable("no address is known".to_owned());
        for _ in 0..TRIES {
            let Some(server) = self.servers.pick(tried).await else { break };
            match server.place().await {
                Ok(connection) => return Ok(Place { connection, server }),
                Err(error) => {
                    if matches!(error, Failure::Unreachable(_)) {
                        server.unreachable();
                    }
                    tried.push(server.location().clone());
                    failure = error;
                }
            }
        }
        Err(failure)
    }

    /// Where the servers are.
    pub(crate) fn locations(&self) -> Vec<Location> {
        self.servers.locations()
    }
}
