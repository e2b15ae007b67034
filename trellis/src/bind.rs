//! Listening addresses.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, lookup_host};

/// Binds `address` (`host:port`) on every address that the host resolves to: `localhost` means both loopbacks. With
/// port 0 all of them get the same free port. `key` is the configuration key, for the error.
pub(crate) async fn bind_all(key: &str, address: &str) -> Result<Vec<TcpListener>, String> {
    let found = lookup_host(address).await.map_err(|e| format!("{key}: {address:?} is not a valid host:port: {e}"))?;
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut absent = None;
    for mut at in unique(found) {
        if let Some(Ok(first)) = listeners.first().map(TcpListener::local_addr) {
            at.set_port(first.port());
        }
        match TcpListener::bind(at).await {
            Ok(listener) => listeners.push(listener),
            // A machine without IPv6 still resolves localhost to ::1.
            Err(error) if is_absent(&error) => absent = Some(error),
            Err(error) => return Err(explain(key, at, &error)),
        }
    }
    match absent {
        Some(error) if listeners.is_empty() => Err(format!("{key}: {address}: {error}")),
        _ => Ok(listeners),
    }
}

/// Binds the one address of a service.
pub(crate) async fn bind(key: &str, address: &str) -> Result<TcpListener, String> {
    let mut listeners = bind_all(key, address).await?;
    if listeners.is_empty() {
        return Err(format!("{key}: {address:?} resolves to no address"));
    }
    Ok(listeners.swap_remove(0))
}

fn unique(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut seen: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !seen.contains(&address) {
            seen.push(address);
        }
    }
    seen
}

fn is_absent(error: &io::Error) -> bool {
    /// "Address family not supported", which has no `ErrorKind`.
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn explain(key: &str, at: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{key}: another program listens on {at}; stop it, or use another address: --set {key}=HOST:PORT")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{key}: {at}: this user may not listen on this port; choose a port above 1023")
        }
        _ => format!("{key}: {at}: {error}"),
    }
}
