//! The addresses of upstreams: as configured, and as resolved.

use std::{fmt, net::SocketAddr, ops::Deref};

use http::uri::{Authority, Scheme, Uri};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::origin::WebOrigin;

/// The port of `http://host`.
const HTTP: u16 = 80;
/// The port of `https://host`.
const HTTPS: u16 = 443;

/// Addresses as configured: a list, or one string with commas. Each is `http://host:port` or `https://host:port`. A
/// name stands for all addresses that DNS returns for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Addresses(Vec<String>);

impl<T: Into<String>> From<T> for Addresses {
    fn from(text: T) -> Self {
        let text: String = text.into();
        Self(text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(with_lowercase_scheme).collect())
    }
}

/// Converts the scheme to lower case (RFC 3986, section 3.1), as all readers of the address expect it.
fn with_lowercase_scheme(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
        None => address.to_owned(),
    }
}

impl Deref for Addresses {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Addresses;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address such as http://host:port, or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Addresses, E> {
                Ok(text.into())
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Addresses, A::Error> {
                let mut list = Vec::new();
                while let Some(address) = seq.next_element::<String>()? {
                    list.push(with_lowercase_scheme(&address));
                }
                Ok(Addresses(list))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// Checks that no address needs TLS. The error is a sentence without the configuration key.
pub fn in_the_clear(addresses: &[String]) -> Result<(), String> {
    match addresses.iter().find(|address| address.starts_with("https:")) {
        None => Ok(()),
        Some(address) => Err(format!(
            "{address:?}: TLS is not configured, so no authority can verify this endpoint; use http://, or configure TLS"
        )),
    }
}

/// Checks the syntax of addresses, without resolving names. The error is a sentence without the configuration key.
pub fn check(addresses: &[String]) -> Result<(), String> {
    read_all(addresses).map(drop)
}

/// Parses addresses. The error is a sentence without the configuration key.
pub(super) fn read_all(addresses: &[String]) -> Result<Vec<Address>, String> {
    if addresses.is_empty() {
        return Err("is empty; name an address such as http://host:port".to_owned());
    }
    addresses.iter().map(|text| Address::read(text)).collect()
}

/// One parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) is_secure: bool,
    pub(super) authority: Authority,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// Parses `http://host:port`. The error is a sentence without the configuration key.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not an address such as http://host:port");
        let WebOrigin { scheme, authority, host, port } = WebOrigin::parse(text).ok_or_else(bad)?;
        let is_secure = scheme == Scheme::HTTPS;
        if !is_secure && scheme != Scheme::HTTP {
            return Err(bad());
        }
        let port = port.unwrap_or(if is_secure { HTTPS } else { HTTP });
        Ok(Self { is_secure, port, host, authority })
    }

    /// A location that the address resolves to.
    pub(super) fn at(&self, at: SocketAddr) -> Location {
        Location { is_secure: self.is_secure, authority: self.authority.clone(), at }
    }

    /// The location of an address with an IP literal; `None` for a name.
    pub(super) fn literal(&self) -> Option<Location> {
        let ip = self.host.parse().ok()?;
        Some(self.at(SocketAddr::new(ip, self.port)))
    }
}

/// One endpoint that an address resolves to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// Whether it is called over TLS.
    pub is_secure: bool,
    /// The authority of requests: the address as configured.
    pub authority: Authority,
    /// The socket address to connect to.
    pub at: SocketAddr,
}

impl Location {
    /// The URI to connect to.
    pub fn uri(&self) -> Uri {
        self.uri_of(self.at.to_string())
    }

    /// The scheme and authority of requests.
    pub fn origin(&self) -> Uri {
        self.uri_of(self.authority.clone())
    }

    /// The scheme of requests.
    pub fn scheme(&self) -> Scheme {
        if self.is_secure { Scheme::HTTPS } else { Scheme::HTTP }
    }

    fn uri_of<A>(&self, authority: A) -> Uri
    where
        Authority: TryFrom<A, Error: Into<http::Error>>,
    {
        // Both kinds of authority are already parsed.
        Uri::builder().scheme(self.scheme()).authority(authority).path_and_query("/").build().unwrap_or_default()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn string_and_list_are_equivalent() {
        #[derive(Deserialize)]
        struct Sample {
            to: Addresses,
        }
        let read = |text: &str| toml::from_str::<Sample>(text).map(|s| s.to.to_vec());
        for same in ["to = 'http://a:1, http://b:2'", "to = ['http://a:1', 'http://b:2']"] {
            assert_eq!(read(same).unwrap(), ["http://a:1", "http://b:2"], "{same}");
        }
        assert_eq!(read("to = 'http://a:1'").unwrap(), ["http://a:1"]);
        assert!(read("to = 1").unwrap_err().to_string().contains("an address such as http://host:port"));
    }

    #[test]
    fn address_is_a_host_and_a_port() {
        let read = |text| Address::read(text).map(|a| (a.host, a.port));
        assert_eq!(read("http://users:7001"), Ok(("users".to_owned(), 7001)));
        assert_eq!(read("http://[::1]:7001/"), Ok(("::1".to_owned(), 7001)));
        assert_eq!(read("http://users"), Ok(("users".to_owned(), 80)));
        assert_eq!(read("https://users"), Ok(("users".to_owned(), 443)));
        let no_address = ["users:7001", "ftp://users:7001", "http://users:7001/x", "http://", "", "http://a:b@c:1"];
        let no_port = ["http://users:99999", "http://users:", "https://users:0", "http://[::1]:x"];
        for bad in no_address.into_iter().chain(no_port) {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
