//! Where a caller sits: by the connection, or as the operator's own proxies tell it. What anybody else tells is
//! their own claim.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header::FORWARDED};

use crate::network::Networks;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The operator's own proxies, by network.
#[derive(Debug, Default)]
pub(crate) struct Proxies(Networks);

impl Proxies {
    /// Reads `gateway.trusted_proxies`.
    pub(crate) fn new(networks: &[String]) -> Result<Self, String> {
        Networks::new(networks).map(Self).map_err(|error| format!("gateway.trusted_proxies: {error}"))
    }

    /// Whether it is one of them.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.0.contain(address)
    }

    /// Where the caller sits who came in by a connection from `peer`: the entry nearest to us that is no proxy of our
    /// own. Entries further away are the caller's own claims.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if self.0.is_empty() || !self.contain(peer) {
            return peer;
        }
        let told = if headers.contains_key(FORWARDED) { forwarded(headers) } else { forwarded_for(headers) };
        let mut client = peer;
        for entry in told.into_iter().rev() {
            // What is no address (`unknown`, or a proxy's made-up name) ends what can be told.
            let Some(address) = entry else { return client };
            client = address;
            if !self.contain(address) {
                break;
            }
        }
        client
    }
}

/// The `for` of each element of `forwarded` (RFC 7239), the nearest proxy's last.
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let elements = headers.get_all(FORWARDED).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    let node = |element: &str| {
        element.split(';').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"').to_owned())
        })
    };
    elements.map(|element| node(element).and_then(|node| address_of(&node))).collect()
}

fn forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let values = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|entry| address_of(entry.trim())).collect()
}

/// An address, with a port or without: `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]:80`, `2001:db8::1`.
fn address_of(node: &str) -> Option<IpAddr> {
    let bare = node.parse::<IpAddr>().ok();
    let with_port = || node.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || node.strip_prefix('[')?.strip_suffix(']')?.parse::<IpAddr>().ok();
    bare.or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let proxies = Proxies::new(&["10.0.0.0/8".to_owned(), "2001:db8:1::/48".to_owned(), "::1".to_owned()]).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        proxies.client(peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn what_strangers_tell_is_not_believed() {
        assert_eq!(client("192.0.2.9", &[("x-forwarded-for", "10.1.1.1")]), "192.0.2.9");
        assert_eq!(client("192.0.2.9", &[("forwarded", "for=10.1.1.1")]), "192.0.2.9");
        // Behind a proxy of ours the nearest entry that is none of ours counts, not the one that the caller wrote.
        assert_eq!(client("10.0.0.1", &[("x-forwarded-for", "198.51.100.7, 192.0.2.9, 10.0.0.2")]), "192.0.2.9");
        assert_eq!(
            client("10.0.0.1", &[("x-forwarded-for", "198.51.100.7"), ("x-forwarded-for", "192.0.2.9")]),
            "192.0.2.9"
        );
    }

    #[test]
    fn proxies_tell_in_both_ways() {
        let nodes = [
            ("for=192.0.2.9;proto=https", "192.0.2.9"),
            ("for=198.51.100.7, For=\"[2001:db8::9]:4711\"", "2001:db8::9"),
            ("for=\"192.0.2.9:80\", for=10.0.0.3", "192.0.2.9"),
            // Nothing that could be an address: the proxy itself is what is known.
            ("for=unknown", "10.0.0.1"),
            ("proto=https", "10.0.0.1"),
        ];
        for (value, expected) in nodes {
            assert_eq!(client("10.0.0.1", &[("forwarded", value)]), expected, "{value}");
        }
        assert_eq!(client("::ffff:10.0.0.1", &[("x-forwarded-for", "192.0.2.9:1234")]), "192.0.2.9");
        assert_eq!(client("2001:db8:1::5", &[("x-forwarded-for", "192.0.2.9")]), "192.0.2.9");
        // Both: the standard's own header counts, whatever stands in the other.
        assert_eq!(client("10.0.0.1", &[("forwarded", "for=192.0.2.9"), ("x-forwarded-for", "1.1.1.1")]), "192.0.2.9");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in ["10.0.0.0/33", "10.0.0/8", "all", "::/129", "10.0.0.0/-1", ""] {
            assert!(Proxies::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(Proxies::new(&["0.0.0.0/0".to_owned()]).unwrap().contain("8.8.8.8".parse().unwrap()));
    }
}
