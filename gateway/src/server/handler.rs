//! What the server needs from its owner: the responses to requests, and the settings that a reload may change.

use std::{error::Error, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::upgrade::Upgraded;
use kit::shutdown::Shutdown;

use super::watchdog::{Wait, Watched};
use crate::{io::Inbound, tls::PeerCertificate};

/// Responds to the requests of all connections. A generic parameter of the server, so that no frame costs a dynamic
/// call.
pub(crate) trait Handler: Send + Sync + 'static {
    /// The body of its responses.
    type Body: ResponseStream;

    /// Serves one request of any kind.
    fn respond(
        &self,
        peer: Peer,
        watched: Watched,
        request: Request<Inbound>,
    ) -> impl Future<Output = Response<Self::Body>> + Send;

    /// Serves a connection over HTTP/1.1 that changed its protocol after `request`, which got the status 101.
    fn serve_upgraded(
        &self,
        peer: Peer,
        watched: Watched,
        request: Request<()>,
        io: Upgraded,
        shutdown: &Shutdown,
    ) -> impl Future<Output = ()> + Send;

    /// The settings in force.
    fn settings(&self) -> ConnectionSettings;

    /// Whether the address belongs to one of the operator's own proxies, through which many clients connect.
    fn is_trusted_proxy(&self, address: IpAddr) -> bool;
}

/// The body of a response that the watchdog can end early.
pub(crate) trait ResponseStream:
    Body<Data = Bytes, Error: Error + Send + Sync + 'static> + Unpin + Send + 'static
{
    /// The state through which the watchdog ends the response; `None`: it ends by itself.
    fn wait(&self) -> Option<Arc<Wait>>;
}

/// The settings of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionSettings {
    /// `gateway.idle_timeout`.
    pub(crate) idle_timeout: Duration,
    /// `gateway.stall_timeout`.
    pub(crate) stall_timeout: Duration,
    /// `gateway.drain_idle`.
    pub(crate) drain_idle: Duration,
    /// `gateway.header_count`.
    pub(crate) header_count: usize,
    /// `gateway.connections_per_address`.
    pub(crate) connections_per_address: usize,
    /// `gateway.proxy_protocol`.
    pub(crate) proxy_protocol: bool,
}

/// The peer of a client connection.
#[derive(Clone)]
pub(crate) struct Peer {
    /// The address of the client or of a proxy.
    pub(crate) address: IpAddr,
    /// Whether it uses TLS.
    pub(crate) is_secure: bool,
    /// The certificate that it has presented.
    pub(crate) certificate: Option<Arc<PeerCertificate>>,
    /// It is in a trusted network, but sent no header of the PROXY protocol.
    pub(crate) is_probe: bool,
}
