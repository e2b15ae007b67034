//! The address of the gateway in the printed commands.

use kit::origin::WebOrigin;

/// An origin of the scheme `http` or `https`.
#[derive(Debug, Clone)]
pub(crate) struct GatewayUrl {
    pub(super) origin: WebOrigin,
}

impl GatewayUrl {
    /// The given address, or that of the first listener: one with TLS if there is one.
    pub(crate) fn new(given: Option<&str>, config: &gateway::Config) -> Result<Self, String> {
        let listener = config.tls.listen.first().map(|listen| ("https", listen));
        let text = match (given, listener.or(config.listen.first().map(|listen| ("http", listen)))) {
            (Some(given), _) => given.to_owned(),
            (None, Some((scheme, listen))) => format!("{scheme}://{}", reachable(listen)),
            (None, None) => return Err("gateway.listen is empty: name the gateway with --gateway".to_owned()),
        };
        let origin = WebOrigin::parse(&text).filter(|origin| matches!(origin.scheme.as_str(), "http" | "https"));
        match origin {
            Some(origin) => Ok(Self { origin }),
            None => Err(format!("--gateway: {text:?} is not an address such as https://api.example.org")),
        }
    }

    /// Without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.origin.scheme, self.origin.authority)
    }

    pub(super) fn is_secure(&self) -> bool {
        self.origin.scheme.as_str() == "https"
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        match self.origin.port {
            Some(_) => self.origin.authority.to_string(),
            None => format!("{}:{}", self.origin.authority, if self.is_secure() { 443 } else { 80 }),
        }
    }

    /// Whether it is http on this machine.
    pub(crate) fn is_local_http(&self) -> bool {
        !self.is_secure() && self.is_local()
    }

    /// Whether the host is the machine itself.
    pub(super) fn is_local(&self) -> bool {
        is_local(&self.origin.host)
    }
}

/// Whether a host is the machine itself: browsers trust it without TLS.
pub(super) fn is_local(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// A listening address as clients on this machine name it.
fn reachable(listen: &str) -> String {
    match listen.rsplit_once(':') {
        Some(("0.0.0.0" | "[::]", port)) => format!("localhost:{port}"),
        _ => listen.to_owned(),
    }
}
