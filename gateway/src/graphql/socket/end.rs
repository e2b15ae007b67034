//! How a socket ends: the codes of graphql-transport-ws.

use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::io::socket::{MOST_PINGS, PING_PERIOD, SocketFault};

/// A message is malformed.
pub(super) const BAD_REQUEST: CloseCode = CloseCode::Library(4400);
/// An operation before `connection_init`.
pub(super) const UNAUTHORIZED: CloseCode = CloseCode::Library(4401);
/// The token is no longer valid. Clients connect again, with a new one.
pub(super) const FORBIDDEN: CloseCode = CloseCode::Library(4403);
/// No `connection_init` within `gateway.graphql.init_timeout`.
pub(super) const INIT_TIMEOUT: CloseCode = CloseCode::Library(4408);
/// An operation with the id of a running one.
pub(super) const ALREADY_EXISTS: CloseCode = CloseCode::Library(4409);
/// A second `connection_init`.
pub(super) const TOO_MANY_INITS: CloseCode = CloseCode::Library(4429);

/// The client speaks another subprotocol.
pub(super) const SUBPROTOCOL_NOT_ACCEPTABLE: CloseCode = CloseCode::Library(4406);

/// How a socket ends.
#[derive(Debug, Clone)]
pub(super) enum SocketEnd {
    /// With this code and reason.
    Close(CloseCode, String),
    /// The client has closed it, or does not respond.
    Left,
}

impl SocketEnd {
    pub(super) fn close(code: CloseCode, reason: impl Into<String>) -> Self {
        Self::Close(code, reason.into())
    }

    pub(super) fn too_many_pings() -> Self {
        Self::close(CloseCode::Policy, format!("send at most {MOST_PINGS} pings in {PING_PERIOD:?}"))
    }
}

impl From<SocketFault> for SocketEnd {
    fn from(fault: SocketFault) -> Self {
        let code = fault.close_code();
        match fault {
            SocketFault::Left => Self::Left,
            SocketFault::Binary => Self::close(BAD_REQUEST, "a message is binary; send text"),
            SocketFault::NotUtf8 => Self::close(code, "a message is not UTF-8"),
            SocketFault::TooLarge => Self::close(code, "a message is larger than an operation may be"),
            SocketFault::TooSlow => Self::close(code, "a message did not arrive within limits.deadline"),
            SocketFault::TooManyPings => Self::too_many_pings(),
            SocketFault::Malformed(error) => Self::close(code, error),
        }
    }
}
