//! Ports that stay one's own. Included by the test binaries of several crates.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use tokio::net::TcpSocket;

/// A port of 127.0.0.1 that the system gave to this process and gives to no other until the process ends.
///
/// A socket stays bound to it without listening. It is bound without SO_REUSEADDR, so nothing that is in use is taken,
/// and has it afterwards, so that the server which is told the port may bind beside, again and again. (Servers set
/// SO_REUSEADDR; whoever asks for any free port gets another one.)
pub(crate) fn reserve() -> u16 {
    static HELD: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    socket.set_reuseaddr(true).expect("the option is known");
    let port = socket.local_addr().expect("it is bound").port();
    HELD.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    port
}
