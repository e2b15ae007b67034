//! The startup message with the addresses of the process.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::Path,
};

use kit::telemetry::Format;

use crate::{first_admin::FirstAdmin, listeners::Listeners, part::Part};

/// The addresses that the process listens on.
pub(crate) struct Addresses {
    gateway: Option<SocketAddr>,
    /// Whether the gateway serves the page.
    has_page: bool,
    /// Whether every listener of the gateway is on the loopback.
    is_local: bool,
    admin: Option<SocketAddr>,
    /// The page of the mailbox, with its key. It is printed on the terminal only, never logged.
    pub(crate) mailbox: Option<String>,
}

impl Addresses {
    /// The addresses that were bound.
    pub(crate) fn of(listeners: &Listeners, has_page: bool) -> Self {
        let gateway = listeners.gateway.first().and_then(|listener| listener.socket.local_addr().ok());
        let is_loopback = |address: io::Result<SocketAddr>| address.is_ok_and(|address| address.ip().is_loopback());
        let is_local = listeners.gateway.iter().all(|listener| is_loopback(listener.socket.local_addr()));
        Self { gateway, has_page, is_local, admin: listeners.admin.local_addr().ok(), mailbox: None }
    }

    /// The address of the page in a process of all parts that only programs on this machine reach.
    pub(crate) fn local_page(&self, parts: &[Part]) -> Option<String> {
        let is_local = self.is_local && self.has_page && parts == Part::ALL;
        self.gateway.filter(|_| is_local).map(|at| format!("http://{}", host(at)))
    }

    /// The address of the page, if this process serves it.
    pub(crate) fn page(&self) -> Option<String> {
        self.host().filter(|_| self.has_page).map(|host| format!("http://{host}"))
    }

    fn host(&self) -> Option<String> {
        self.gateway.map(host)
    }
}

/// Prints the addresses on standard output, or logs them if the log format is JSON. `admin`: what to print about the
/// first admin.
pub(crate) fn greet(
    format: Format,
    parts: &[Part],
    addresses: &Addresses,
    folder: Option<&Path>,
    admin: Option<FirstAdmin>,
) {
    let names: Vec<&str> = parts.iter().map(|part| part.name()).collect();
    if format == Format::Json {
        let address = |at: Option<SocketAddr>| at.map(|at| at.to_string());
        tracing::info!(
            parts = names.join(","),
            gateway.address = address(addresses.gateway),
            admin.address = address(addresses.admin),
            data.folder = folder.map(|folder| folder.display().to_string()),
            "trellis is ready"
        );
        return;
    }
    let mut lines = vec![format!("trellis is ready: {}", names.join(", "))];
    if let Some(host) = addresses.host() {
        if addresses.has_page {
            lines.push(format!("  page     http://{host}/"));
        }
        lines.push(format!("  gRPC     grpcurl -plaintext {host} list"));
        lines.push(format!("  health   http://{host}/readyz"));
    }
    if let Some(page) = &addresses.mailbox {
        lines.push(format!("  mailbox  {page}"));
    }
    if let Some(at) = addresses.admin {
        lines.push(format!("  metrics  http://{at}/metrics"));
    }
    if let Some(folder) = folder {
        lines.push(format!("  data     {}", folder.display()));
    }
    if let Some(admin) = admin {
        lines.push(format!("  admin    {}", admin.advice(addresses.page().as_deref())));
    }
    lines.push("  stop     Ctrl-C".to_owned());
    // A closed standard output does not stop the process.
    writeln!(std::io::stdout(), "{}", lines.join("\n")).ok();
}

fn host(at: SocketAddr) -> String {
    // Browsers accept Secure cookies from this name without TLS.
    if at.ip().is_loopback() { format!("localhost:{}", at.port()) } else { at.to_string() }
}
