//! What a bucket is counted by: a hash, so that nothing of a caller is kept, and nothing travels, in the clear.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest::{Context, SHA256, digest};

/// How many bytes of the hash are kept: two of 2^64 keys share a bucket.
const BYTES: usize = 16;

/// The name of a bucket, of the same length whatever it was made from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; BYTES]);

impl Key {
    /// Of a bucket that nobody asks for.
    pub(super) const NOBODY: Self = Self([0; BYTES]);

    /// From its parts. Each counts with its length, so that `a`, `bc` is another key than `ab`, `c`.
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

    /// As part of another key.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As text, for the name in Redis.
    pub(super) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.text())
    }
}

/// The SHA-256 of a secret, by which it is known again.
pub fn fingerprint(secret: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
    bytes
}

/// The network that an address is counted as: IPv6 by its /64, which is one customer's; IPv4 as it is, in IPv6's
/// form.
pub fn network(address: IpAddr) -> Ipv6Addr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_is_counted_by_its_network() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn parts_do_not_run_together_and_names_are_bounded() {
        assert_ne!(Key::new(&[b"a", b"bc"]), Key::new(&[b"ab", b"c"]));
        assert_eq!(Key::new(&[&[b'x'; 100_000]]).text().len(), 22);
    }
}
