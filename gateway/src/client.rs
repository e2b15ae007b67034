//! Where a caller sits: by the connection, or as the operator's own proxies tell it. What anybody else tells is
//! their own claim.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, header::FORWARDED};

use crate::{config::ClientAddressHeader, network::Networks};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The operator's own proxies, by network, and the header in which they tell where a client sits.
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

    /// Where the caller sits who came in by a connection from `peer`: the entry nearest to us that is no proxy of our
    /// own. Entries further away are the caller's own claims.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if self.0.is_empty() || !self.contain(peer) {
            return peer;
        }
        let told = match self.1 {
            ClientAddressHeader::Forwarded => forwarded(headers),
            ClientAddressHeader::XForwardedFor => forwarded_for(headers),
        };
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

    /// By proxies who write the header that comes first.
    fn client(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let networks = ["10.0.0.0/8", "2001:db8:1::/48", "::1"].map(str::to_owned);
        let header = match headers[0].0 {
            "forwarded" => ClientAddressHeader::Forwarded,
            _ => ClientAddressHeader::XForwardedFor,
        };
        let proxies = Proxies::new(&networks, header).unwrap();
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
    }

    #[test]
    fn a_header_that_our_proxies_do_not_write_is_the_callers_claim() {
        let (right, wrong) = (("x-forwarded-for", "192.0.2.9"), ("forwarded", "for=198.51.100.7"));
        assert_eq!(client("10.0.0.1", &[right, wrong]), "192.0.2.9");
        let (right, wrong) = (("forwarded", "for=192.0.2.9"), ("x-forwarded-for", "198.51.100.7"));
        assert_eq!(client("10.0.0.1", &[right, wrong]), "192.0.2.9");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in ["10.0.0.0/33", "10.0.0/8", "all", "::/129", "10.0.0.0/-1", ""] {
            assert!(Proxies::new(&[bad.to_owned()], ClientAddressHeader::default()).is_err(), "{bad}");
        }
        let all = Proxies::new(&["0.0.0.0/0".to_owned()], ClientAddressHeader::default()).unwrap();
        assert!(all.contain("8.8.8.8".parse().unwrap()));
    }
}
