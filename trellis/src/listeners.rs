//! All listeners of a process. They are bound first, so that a port in use, the most common error, has no side effects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kit::balance::Addresses;
use tokio::net::TcpListener;

use crate::{
    bind::{bind, bind_all},
    config::Config,
    part::Part,
    services::Service,
};

/// The bound listeners.
pub(crate) struct Listeners {
    /// The services that this process runs.
    pub(crate) services: Vec<(Service, TcpListener)>,
    /// The gateway; empty if it does not run in this process.
    pub(crate) gateway: Vec<gateway::Listener>,
    /// The admin listener.
    pub(crate) admin: TcpListener,
}

impl Listeners {
    /// Binds the listeners of `parts`.
    pub(crate) async fn bind(config: &Config, parts: &[Part]) -> Result<Self, String> {
        let (mut services, mut gateway) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Part::Service(service) => {
                    let key = format!("{}.listen", service.name());
                    services.push((*service, bind(&key, service.section(config).listen).await?));
                }
                Part::Gateway => {
                    let clear = config.gateway.listen.iter().map(|address| ("gateway.listen", address, false));
                    let secure = config.gateway.tls.listen.iter().map(|address| ("gateway.tls.listen", address, true));
                    for (key, address, tls) in clear.chain(secure) {
                        let sockets = bind_all(key, address).await?.into_iter();
                        gateway.extend(sockets.map(|socket| gateway::Listener { socket, tls }));
                    }
                }
            }
        }
        Ok(Self { services, gateway, admin: bind("admin.listen", &config.admin.listen).await? })
    }

    /// The addresses of a service: its listener if it runs in this process without TLS, else `peers`. With TLS only
    /// `peers` holds the name in the certificate.
    pub(crate) fn addresses(&self, service: Service, config: &Config) -> Addresses {
        let is_clear = config.tls.certificate.is_empty();
        let here = self.services.iter().find(|(running, _)| *running == service && is_clear);
        match here.and_then(|(_, listener)| listener.local_addr().ok()) {
            Some(address) => format!("http://{}", reachable(address)).into(),
            None => service.peers(&config.peers).clone(),
        }
    }
}

/// Replaces the unspecified address, which cannot be called, with the loopback.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}
