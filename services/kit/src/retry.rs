//! Sending a call again: what may be, and with which body.

mod replay;

use std::error::Error;

use h2::Reason;
pub use replay::{Again, Replay};

/// How much of a request is kept so that it can be sent again.
pub const REPLAY_BYTES: usize = 64 * 1024;

/// Whether the request that met with `error` was provably never worked on: no connection was made, the connection was
/// gone before anything was sent, or the server said that it had not begun (REFUSED_STREAM, or GOAWAY below the
/// stream's number).
pub fn never_left(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let refused = error.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.reason() == Some(Reason::REFUSED_STREAM) && error.is_remote()
                // h2 says so of the streams above the last one that the server took.
                || error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR)
        });
        if refused || error.is::<tonic::ConnectError>() || error.downcast_ref().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        next = error.source();
    }
    false
}
