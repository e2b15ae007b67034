//! The checks of a start that open no port, no connection and no key of a part. `trellis config` makes the same checks, so
//! that both refuse the same settings with the same error.

use std::path::Path;

use kit::{
    balance,
    identity::{check_public, read_trusted},
    policy::Table as Policies,
    tls::MeshTls,
};

use crate::{cleartext, config::Config, part::Part, services::Service};

/// The parts of the process that reads the configuration.
#[derive(Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// One process of these parts, which starts.
    Process(&'a [Part]),
    /// Any process that may read the configuration, for `trellis config`.
    Any,
}

impl Scope<'_> {
    /// Whether the part runs in the process.
    pub(crate) fn runs(self, part: Part) -> bool {
        match self {
            Self::Process(parts) => parts.contains(&part),
            Self::Any => true,
        }
    }

    /// Whether the process calls the service at the addresses in `peers`.
    pub(crate) fn calls(self, service: Service) -> bool {
        match self {
            Self::Process(parts) => !parts.contains(&Part::Service(service)),
            Self::Any => true,
        }
    }

    /// Whether all parts run in one process, which generates its identities and uses no TLS of its own.
    fn is_whole(self) -> bool {
        matches!(self, Self::Process(parts) if parts.len() > 1)
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

/// Checks the form of a listening address. Its host may be a name, which only the start resolves.
fn address(key: &str, text: &str) -> Result<(), String> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
        _ => Err(format!("{key}: {text:?} is not a valid host:port, such as 127.0.0.1:8080")),
    }
}

fn gateway(config: &Config, scope: Scope<'_>) -> Result<(), String> {
    if !scope.runs(Part::Gateway) {
        return Ok(());
    }
    let policies = Policies::from_descriptors(proto::DESCRIPTORS).map_err(|e| e.to_string())?;
    config.gateway.check(&policies)
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
