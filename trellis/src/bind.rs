//! Listening addresses.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, lookup_host};

/// Binds `address` (`host:port`) on every address that the host has: `localhost` means both loopbacks. With
/// port 0 all of them get the same free port. `key` is the configuration's, for the error.
pub(crate) async fn bind_all(key: &str, address: &str) -> Result<Vec<TcpListener>, String> {
    let found = lookup_host(address).await.map_err(|e| format!("{key}: {address:?} is no host:port: {e}"))?;
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
        return Err(format!("{key}: {address:?} names no address"));
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
    /// "Address family not supported", which Rust has no name for.
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn explain(key: &str, at: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{key}: {at} is taken by another program; stop it, or choose another: --set {key}=HOST:PORT")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{key}: {at}: this user may not listen there; choose a port above 1023")
        }
        _ => format!("{key}: {at}: {error}"),
    }
}
