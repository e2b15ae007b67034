//! IP networks in the configuration.

use std::net::{IpAddr, Ipv6Addr};

/// A set of networks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Networks(Vec<Network>);

/// An address and the length of its prefix. IPv4 is stored as IPv4-mapped IPv6 (`::ffff:10.0.0.0`).
#[derive(Debug, Clone, Copy)]
struct Network {
    bits: u128,
    length: u32,
}

impl Networks {
    /// Parses the networks. The error names the invalid text.
    pub(crate) fn new(networks: &[String]) -> Result<Self, String> {
        let parse = |text: &String| {
            Network::parse(text).ok_or_else(|| format!("{text:?} is not a network, such as 10.0.0.0/8 or ::1"))
        };
        networks.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether the set is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the address is in one of the networks.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.holds(address))
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let (shift, most) = if address.is_ipv4() { (96, 32) } else { (0, 128) };
        let length = length.unwrap_or(most);
        (length <= most).then(|| Self { bits: bits(address), length: length + shift })
    }

    fn holds(&self, address: IpAddr) -> bool {
        let differing = self.bits ^ bits(address);
        self.length == 0 || differing.leading_zeros() >= self.length
    }
}

fn bits(address: IpAddr) -> u128 {
    let address: Ipv6Addr = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    address.to_bits()
}
