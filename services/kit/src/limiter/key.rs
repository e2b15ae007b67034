//! The key of a bucket: a hash, so that no client data is stored or sent in clear text.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Serialize};

/// The number of bytes kept of the hash: of 2^64 keys about two share a bucket.
const BYTES: usize = 16;

/// The name of a bucket, of constant length.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketKey([u8; BYTES]);

impl BucketKey {
    /// The key of unused places.
    pub(super) const UNUSED: Self = Self([0; BYTES]);

    /// Hashes the parts with their lengths, so that (`a`, `bc`) and (`ab`, `c`) give different keys.
    pub fn new(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut bytes = [0; BYTES];
        bytes.copy_from_slice(&context.finish().as_ref()[..BYTES]);
        Self(bytes)
    }

    /// The bytes, as part of another key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text form, for the name in Redis.
    pub(super) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl fmt::Debug for BucketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketKey({})", self.text())
    }
}

/// The SHA-256 of a secret, which identifies it.
pub fn fingerprint(secret: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
    bytes
}

/// How much more a wider network may do than its narrowest one. One customer has a /64 or a /56 of IPv6, some have a
/// /48. Counting only /64s would give a /48 65 536 buckets.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Multiples {
    /// The multiple for a /56 of IPv6, relative to a /64.
    pub ipv6_56: u32,
    /// The multiple for a /48 of IPv6, relative to a /64.
    pub ipv6_48: u32,
    /// The multiple for a /24 of IPv4, relative to one address.
    pub ipv4_24: u32,
}

impl Default for Multiples {
    fn default() -> Self {
        Self { ipv6_56: 4, ipv6_48: 16, ipv4_24: 16 }
    }
}

/// A network by which an address is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: Ipv6Addr,
    /// The prefix length, in the IPv6 form of the address.
    length: u8,
    /// How much more it may do than the narrowest network.
    pub multiple: u32,
}

/// The maximum number of networks of one address.
pub const MOST_NETWORKS: usize = 3;

impl Network {
    fn new(address: Ipv6Addr, length: u8, multiple: u32) -> Self {
        let dropped = u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
        Self { address: Ipv6Addr::from_bits(address.to_bits() & !dropped), length, multiple: multiple.max(1) }
    }

    /// The bytes, as part of a key. They include the prefix length.
    pub fn to_bytes(self) -> [u8; 17] {
        let mut bytes = [0; 17];
        bytes[..16].copy_from_slice(&self.address.octets());
        bytes[16] = self.length;
        bytes
    }
}

/// The networks of an address, the narrowest first: the /64, /56 and /48 of IPv6, the address itself and the /24 of
/// IPv4.
pub fn networks(address: IpAddr, multiples: &Multiples) -> impl Iterator<Item = Network> + use<> {
    let lengths = match address.to_canonical() {
        IpAddr::V4(_) => [Some((128, 1)), Some((96 + 24, multiples.ipv4_24)), None],
        IpAddr::V6(_) => [Some((64, 1)), Some((56, multiples.ipv6_56)), Some((48, multiples.ipv6_48))],
    };
    let address = in_ipv6(address);
    lengths.into_iter().flatten().map(move |(length, multiple)| Network::new(address, length, multiple))
}

/// The narrowest network of an address: the /64 of IPv6, or the IPv4 address in IPv6 form.
pub fn network(address: IpAddr) -> Ipv6Addr {
    let length = if address.to_canonical().is_ipv4() { 128 } else { 64 };
    Network::new(in_ipv6(address), length, 1).address
}

fn in_ipv6(address: IpAddr) -> Ipv6Addr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_is_counted_by_network() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn address_is_counted_by_several_prefixes() {
        let of = |text: &str| -> Vec<_> {
            networks(text.parse().unwrap(), &Multiples::default())
                .map(|network| (format!("{}/{}", network.address, network.length), network.multiple))
                .collect()
        };
        let all = |networks: &[(&str, u32)]| -> Vec<_> {
            networks.iter().map(|(network, multiple)| ((*network).to_owned(), *multiple)).collect()
        };
        let expected = all(&[("2001:db8:1:2ff::/64", 1), ("2001:db8:1:200::/56", 4), ("2001:db8:1::/48", 16)]);
        assert_eq!(of("2001:db8:1:2ff:3::4"), expected);
        let expected = all(&[("::ffff:192.0.2.7/128", 1), ("::ffff:192.0.2.0/120", 16)]);
        assert_eq!(of("192.0.2.7"), expected);
        assert_eq!(of("::ffff:192.0.2.7"), expected);
    }

    #[test]
    fn key_separates_parts_and_has_bounded_length() {
        assert_ne!(BucketKey::new(&[b"a", b"bc"]), BucketKey::new(&[b"ab", b"c"]));
        assert_eq!(BucketKey::new(&[&[b'x'; 100_000]]).text().len(), 22);
    }
}
