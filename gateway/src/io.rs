//! Connections and bodies as bytes: buffers, pipes and wrappers around sockets. Nothing here knows gRPC or the
//! configuration.

mod coalescing;
mod event_set;
mod inbound;
pub(crate) mod keepalive;
mod pipe;
mod read_buffer;
mod receive_buffer;
pub(crate) mod socket;
pub(crate) mod thread;
mod unread;

pub(crate) use coalescing::Coalescing;
pub(crate) use event_set::EventSet;
pub(crate) use inbound::{Inbound, Lost, MessageSender};
pub(crate) use pipe::Pipe;
pub(crate) use receive_buffer::{ReceiveBuffer, frame_budget};
pub(crate) use unread::{Discarding, Reading, Unread};
