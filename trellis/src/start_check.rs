//! The checks of a start that open no port, no database and no private key. `trellis config --check` makes the same checks
//! of the same parts, so that it refuses exactly what that start would refuse, with the same error.

use std::{net::SocketAddr, path::Path};

use kit::{
    balance,
    identity::{check_public, read_trusted},
    policy::Table as Policies,
    tls::MeshTls,
};

use crate::{cleartext, config::Config, part::Part, services::Service};

/// The parts of the process that starts.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a>(pub(crate) &'a [Part]);

impl Scope<'_> {
    /// Whether the part runs in the process.
    pub(crate) fn runs(self, part: Part) -> bool {
        self.0.contains(&part)
    }

    /// Whether the process calls the service at the addresses in `peers`.
    pub(crate) fn calls(self, service: Service) -> bool {
        !self.runs(Part::Service(service))
    }

    /// Whether all parts run in one process, which generates its identities and uses no TLS of its own.
    pub(crate) fn is_whole(self) -> bool {
        self.0.len() > 1
    }
}

/// Checks the settings that the process reads. Errors name the key.
pub(crate) fn check(config: &Config, scope: Scope<'_>) -> Result<(), String> {
    let checks = [
        config.trace.check(),
        listeners(config, scope),
        gateway(config, scope),
        links(config, scope),
        identity(config, scope),
        mail(config, scope),
    ];
    checks.into_iter().collect::<Result<(), _>>().map_err(|error| format!("configuration: {error}"))
}

fn listeners(config: &Config, scope: Scope<'_>) -> Result<(), String> {
    for service in Service::ALL.iter().filter(|service| scope.runs(Part::Service(**service))) {
        address(&format!("{}.listen", service.name()), service.section(config).listen)?;
    }
    if scope.runs(Part::Gateway) {
        config.gateway.listen.iter().try_for_each(|listen| address("gateway.listen", listen))?;
        config.gateway.tls.listen.iter().try_for_each(|listen| address("gateway.tls.listen", listen))?;
    }
    address("admin.listen", &config.admin.listen)
}

/// Checks the form of a listening address.
fn address(key: &str, text: &str) -> Result<(), String> {
    if is_address(text) {
        return Ok(());
    }
    Err(format!("{key}: {text:?} is not a valid host:port, such as 127.0.0.1:8080 or [::1]:8080"))
}

/// Whether the text is an IP address or a name, and a port. Only the start resolves a name. An IPv6 address without brackets
/// is ambiguous.
fn is_address(text: &str) -> bool {
    if text.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    // A name has a letter: 127.0.0.999 is a wrong IPv4 address.
    !host.is_empty() && is_name && host.bytes().any(|byte| byte.is_ascii_alphabetic()) && is_port
}

/// Checks the files of the section `[auth.mail]`.
fn mail(config: &Config, scope: Scope<'_>) -> Result<(), String> {
    if scope.runs(Part::Service(Service::Auth)) { auth::Mail::check(&config.auth.mail) } else { Ok(()) }
}

fn gateway(config: &Config, scope: Scope<'_>) -> Result<(), String> {
    if !scope.runs(Part::Gateway) {
        return Ok(());
    }
    let policies = Policies::from_descriptors(proto::DESCRIPTORS).map_err(|e| e.to_string())?;
    config.gateway.check(&policies, config.is_external_only(scope.0))
}

/// Checks the connections between processes, and their TLS files.
fn links(config: &Config, scope: Scope<'_>) -> Result<(), String> {
    let files = [("tls.certificate", &config.tls.certificate), ("tls.client_ca", &config.tls.client_ca)];
    if let Some((key, _)) = files.into_iter().find(|(_, path)| scope.is_whole() && !path.is_empty()) {
        let why = "all parts run in this process and call one another on the loopback; remove it, or run one part per process";
        return Err(format!("{key}: {why}"));
    }
    for service in Service::ALL.iter().filter(|service| scope.calls(**service)) {
        let addresses = service.peers(&config.peers);
        balance::check(addresses).map_err(|why| format!("peers.{}: {why}", service.name()))?;
    }
    cleartext::check(config, scope)?;
    MeshTls::read(&config.tls).map(drop)
}

/// Checks the public keys of other services. A process of all parts generates its own.
fn identity(config: &Config, scope: Scope<'_>) -> Result<(), String> {
    if scope.is_whole() {
        return Ok(());
    }
    for (name, public) in &config.identity.trusted {
        check_public(name, public).map_err(|why| format!("identity.trusted.{name}: {why}"))?;
    }
    let folder = Path::new(&config.identity.trusted_dir);
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    let found = read_trusted(folder).map_err(|why| format!("identity.trusted_dir: {why}"))?;
    let mut found = found.iter();
    found
        .try_for_each(|(name, public)| check_public(name, public))
        .map_err(|why| format!("identity.trusted_dir: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_address_is_a_host_and_a_port() {
        for valid in ["127.0.0.1:80", "[::1]:7001", "[::]:0", "localhost:8443", "my_host-1.example.:65535"] {
            assert!(is_address(valid), "{valid}");
        }
        let invalid = [
            "",
            ":80",
            "localhost",
            "localhost:",
            "localhost:65536",
            "localhost:+80",
            "localhost:http",
            "::1:7001",
            "[::1]",
            "[localhost]:80",
            "127.0.0.1 :80",
            " localhost:80",
            "127.0.0.1: 80",
            "127.0.0.999:80",
            "http://localhost:80",
            "localhost:80/",
        ];
        for invalid in invalid {
            assert!(!is_address(invalid), "{invalid}");
        }
    }
}
