//! Access to the admin listener: all clients that use one of its host names may read; only programs on the same machine
//! may write.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{
        HeaderMap, HeaderName, Method, StatusCode, Uri,
        header::{FORWARDED, HOST, ORIGIN},
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{AdminConfig, Write};
use crate::server::PeerAddress;

/// Headers that proxies add. Behind a proxy, a local peer address does not identify the client.
const PROXIED: [HeaderName; 2] = [HeaderName::from_static("x-forwarded-for"), FORWARDED];

/// Passes allowed requests on.
pub(super) async fn check(
    State(config): State<Arc<AdminConfig>>,
    ConnectInfo(PeerAddress(peer)): ConnectInfo<PeerAddress>,
    request: Request,
    next: Next,
) -> Response {
    let allowed = check_host(&config, request.uri(), request.headers()).and_then(|()| match *request.method() {
        Method::GET | Method::HEAD => Ok(()),
        _ => check_write(&config, peer.ip(), request.headers()),
    });
    match allowed {
        Ok(()) => next.run(request).await,
        Err((status, why)) => (status, format!("{why}\n")).into_response(),
    }
}

type Refusal = (StatusCode, &'static str);

/// Prevents DNS rebinding: a web page that points its own domain at this address sends that domain as Host. IP
/// addresses are safe.
fn check_host(config: &AdminConfig, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    const WHY: &str = "the Host header is neither an IP address nor localhost; add its name to admin.hosts";
    let refused = (StatusCode::MISDIRECTED_REQUEST, WHY);
    let mut named = headers.get_all(HOST).iter();
    let host = match (uri.authority().cloned(), named.next(), named.next()) {
        (Some(authority), None, _) => authority,
        (None, Some(host), None) => Authority::try_from(host.as_bytes()).map_err(|_| refused)?,
        (Some(authority), Some(host), None) if authority.as_str().as_bytes() == host.as_bytes() => authority,
        _ => return Err(refused),
    };
    let name = host.host().trim_end_matches('.');
    let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let is_ours = || std::iter::once("localhost").chain(config.hosts.iter().map(String::as_str));
    if is_address || is_ours().any(|ours| ours.eq_ignore_ascii_case(name)) { Ok(()) } else { Err(refused) }
}

fn check_write(config: &AdminConfig, peer: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
    let refused = |why| Err((StatusCode::FORBIDDEN, why));
    if config.write == Write::Off {
        return refused("changes are turned off by admin.write");
    }
    if !peer.to_canonical().is_loopback() || PROXIED.iter().any(|name| headers.contains_key(name)) {
        return refused("changes are allowed only from the same machine; connect from there, without a proxy");
    }
    // Browsers send Origin; command-line tools do not.
    if headers.contains_key(ORIGIN) {
        return refused("web pages may not make changes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_addresses_and_listed_names_are_hosts() {
        let config = AdminConfig { hosts: vec!["metrics.example".to_owned()], ..AdminConfig::default() };
        let path = Uri::from_static("/metrics");
        let host = |host: &str| check_host(&config, &path, &headers(&[("host", host)]));
        for good in ["127.0.0.1:9090", "10.2.3.4", "[::1]:9090", "localhost:1", "LOCALHOST", "metrics.example:80"] {
            assert!(host(good).is_ok(), "{good}");
        }
        for bad in ["evil.example", "evil.example:9090", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            assert!(host(bad).is_err(), "{bad}");
        }
        assert!(check_host(&config, &path, &HeaderMap::new()).is_err());
        assert!(check_host(&config, &path, &headers(&[("host", "localhost"), ("host", "evil.example")])).is_err());
        let absolute = Uri::from_static("http://localhost:9090/metrics");
        assert!(check_host(&config, &absolute, &headers(&[("host", "evil.example")])).is_err());
    }

    #[test]
    fn only_programs_on_this_machine_write() {
        let here: IpAddr = "127.0.0.1".parse().unwrap();
        let (mapped, there): (IpAddr, IpAddr) = ("::ffff:127.0.0.1".parse().unwrap(), "10.0.0.7".parse().unwrap());
        let may = |write, peer, all: &[(&str, &str)]| {
            check_write(&AdminConfig { write, ..AdminConfig::default() }, peer, &headers(all)).is_ok()
        };
        assert!(may(Write::Loopback, here, &[]) && may(Write::Loopback, mapped, &[]));
        assert!(!may(Write::Loopback, there, &[]));
        assert!(!may(Write::Loopback, here, &[("origin", "http://localhost:9090")]));
        assert!(!may(Write::Loopback, here, &[("x-forwarded-for", "10.0.0.7")]));
        assert!(!may(Write::Off, here, &[]));
    }
}
