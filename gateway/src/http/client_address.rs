//! The client's address: of the connection, or as the operator's own proxies state it. Everything else that a request
//! states about it is the caller's claim.
//!
//! Each proxy appends one entry to its header, so the header is read from its end: byte by byte, entry by entry, and no
//! further than the first entry that is not one of our own proxies. What a caller has sent stands before that entry and
//! is never read.

mod list;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};

use crate::config::{ClientAddressHeader, Networks};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// The address is known.
    Known(IpAddr),
    /// Behind a proxy of our own that states no readable address. Never taken for the proxy itself, whose network may
    /// have privileges.
    Unknown {
        /// The last readable hop.
        proxy: IpAddr,
    },
}

impl Client {
    /// For services and logs: an unknown address is the unspecified one (RFC 4291, section 2.5.2).
    pub(crate) fn address(self) -> IpAddr {
        match self {
            Self::Known(address) => address,
            Self::Unknown { .. } => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// The value of `x-forwarded-for` for an upstream.
    pub(crate) fn header(self) -> HeaderValue {
        match self {
            Self::Known(address) => kit::grpc::never_indexed(address.to_string()),
            Self::Unknown { .. } => HeaderValue::from_static("unknown"),
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(address) => address.fmt(f),
            Self::Unknown { proxy } => write!(f, "unknown via {proxy}"),
        }
    }
}

/// The operator's own proxies, by network, and the header in which they state the client's address.
#[derive(Debug)]
pub(crate) struct Proxies(Networks, ClientAddressHeader);

impl Proxies {
    /// Reads `gateway.trusted_proxies` and `gateway.client_address_header`.
    pub(crate) fn new(networks: &[String], header: ClientAddressHeader) -> Result<Self, String> {
        let networks = Networks::new(networks).map_err(|error| format!("gateway.trusted_proxies: {error}"))?;
        Ok(Self(networks, header))
    }

    /// Whether it is one of them.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.0.contain(address)
    }

    /// The client of a request that came over a connection from `peer`: the nearest entry that is not a proxy of
    /// our own. An entry without a readable address ends the chain, for what stands before it may be the caller's.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Client {
        let peer = peer.to_canonical();
        if self.0.is_empty() || !self.contain(peer) {
            return Client::Known(peer);
        }
        let (name, split, read): (_, list::Split, list::Read) = match self.1 {
            ClientAddressHeader::Forwarded => (FORWARDED, list::split_quoted, list::forwarded),
            ClientAddressHeader::XForwardedFor => (X_FORWARDED_FOR, list::split, list::node),
        };
        let mut hop = peer;
        for line in headers.get_all(name).iter().rev() {
            let mut rest = Some(line.as_bytes());
            while let Some(value) = rest {
                let (before, entry) = split(value);
                rest = before;
                match read(entry.trim_ascii()) {
                    Some(address) if self.contain(address) => hop = address,
                    Some(address) => return Client::Known(address),
                    None => return unknown(hop),
                }
            }
        }
        // The proxy itself, or its forwarding of another proxy's own request: no entry names a client.
        Client::Known(hop)
    }
}

/// Counts an unreadable address: a proxy that is configured to state no address makes its clients share a limit.
fn unknown(proxy: IpAddr) -> Client {
    metrics::counter!("gateway_clients_unknown_total").increment(1);
    tracing::debug!(%proxy, "a trusted proxy stated no readable client address");
    Client::Unknown { proxy }
}

#[cfg(test)]
mod tests;
