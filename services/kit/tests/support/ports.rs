//! Reserved ports. Included by the test binaries of several crates.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use tokio::net::TcpSocket;

/// Reserves a port of 127.0.0.1 for this process until it ends.
///
/// A socket stays bound to the port without listening. It is bound without SO_REUSEADDR, so no port in use is taken.
/// The option is set afterwards, so that a server can bind the same port, repeatedly. (Servers set SO_REUSEADDR; a
/// process that requests any free port gets another one.)
pub(crate) fn reserve() -> u16 {
    static HELD: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    socket.set_reuseaddr(true).expect("the option is known");
    let port = socket.local_addr().expect("it is bound").port();
    HELD.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    port
}
