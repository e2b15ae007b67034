//! Servers that answer the same methods: which of them gets a call.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::uri::{PathAndQuery, Scheme};
use hyper::body::Incoming;

use super::{
    Failure,
    server::{Place, Server},
};
use crate::body::Request;

/// How many connections a call may find gone before it gives up.
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

    /// Sends the request to the member whose turn it is. Where it cannot be reached the next one gets it; a
    /// connection that turns out to be gone before anything was sent on it costs another try, not the call.
    pub(crate) async fn send(
        &self,
        mut request: http::Request<Request>,
    ) -> Result<(http::Response<Incoming>, Place), Failure> {
        let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        for _ in 0..TRIES {
            let (member, place) = self.place().await?;
            *request.uri_mut() = member.uri(path.clone()).map_err(|e| Failure::Unreachable(e.to_string()))?;
            match place.sender().try_send_request(request).await {
                Ok(response) => return Ok((response, place)),
                Err(mut unsent) => match unsent.take_message() {
                    Some(returned) => {
                        member.forget(&place);
                        request = returned;
                    }
                    None => return Err(Failure::Broken(unsent.into_error())),
                },
            }
        }
        Err(Failure::Unreachable("connections end as soon as they are made".to_owned()))
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
