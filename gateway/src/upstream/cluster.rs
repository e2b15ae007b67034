//! Servers that answer the same methods: which of them gets a call.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{
    Method, Version,
    uri::{PathAndQuery, Scheme},
};

use super::{
    Failure, Reply, call,
    server::{Place, Server},
};
use crate::body::Request;

/// How often a call is sent that nobody looks at.
const TRIES: usize = 3;

/// Servers that answer the same methods, in turn.
pub(crate) struct Cluster {
    members: Vec<Arc<Server>>,
    turn: AtomicUsize,
}

impl Cluster {
    pub(super) fn new(members: Vec<Arc<Server>>) -> Self {
        Self { members, turn: AtomicUsize::new(0) }
    }

    /// Sends the request to the member whose turn it is. Where it cannot be reached the next one gets it; a call that
    /// nobody has looked at, because its connection was closing, costs another try and does not fail.
    pub(crate) async fn send(&self, request: http::Request<Request>) -> Result<http::Response<Reply>, Failure> {
        let (parts, mut body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        let mut tries = 1;
        loop {
            let (member, place) = self.place().await?;
            let mut head = http::Request::new(());
            *head.method_mut() = Method::POST;
            *head.version_mut() = Version::HTTP_2;
            *head.uri_mut() = member.uri(path.clone()).map_err(|e| Failure::Unreachable(e.to_string()))?;
            // h2 keeps the headers, and another try needs them.
            head.headers_mut().clone_from(&parts.headers);
            let unanswered = match call::send(place, head, body).await {
                Ok(response) => return Ok(response),
                Err(unanswered) => *unanswered,
            };
            body = unanswered.body;
            if tries == TRIES || !unanswered.failure.is_unsent() || !body.rewind() {
                return Err(unanswered.failure);
            }
            if matches!(unanswered.failure, Failure::Gone(_)) {
                member.forget(&unanswered.place);
            }
            tries += 1;
        }
    }

    /// A place at the next member that has one; those that just failed come last.
    async fn place(&self) -> Result<(&Server, Place), Failure> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn =
            || (0..self.members.len()).filter_map(|i| self.members.get((turn.wrapping_add(i)) % self.members.len()));
        let (resting, others): (Vec<_>, Vec<_>) = in_turn().partition(|member| member.is_resting());
        let mut failure = Failure::Full;
        for member in others.into_iter().chain(resting) {
            match member.place().await {
                Ok(place) => return Ok((member, place)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// The members' addresses, as they were configured.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = String> {
        self.members.iter().map(|member| format!("{}://{}", Scheme::HTTP, member.authority()))
    }
}
