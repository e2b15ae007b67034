//! Settings that need another setting to have an effect.

use super::Config;
use crate::part::Part;

/// Rejects settings that have no effect in any process.
pub(super) fn check(config: &Config) -> Result<(), String> {
    for name in config.identity.trusted.keys() {
        Part::named(name).map_err(|expected| format!("identity.trusted.{name}: {expected}"))?;
    }
    let (gateway, defaults) = (&config.gateway, gateway::Config::default());
    let tls = &gateway.tls;
    let (has_tls, has_proxies) = (!tls.listen.is_empty(), !gateway.trusted_proxies.is_empty());
    let has_clients = tls.client_certificates != gateway::config::ClientCertificates::Off;
    let clients = "gateway.tls.client_certificates";
    let needs = [
        (clients, has_clients, "gateway.tls.listen", has_tls),
        ("gateway.tls.client_ca", !tls.client_ca.is_empty(), clients, has_clients),
        ("gateway.tls.client_crl", !tls.client_crl.is_empty(), clients, has_clients),
        ("gateway.tls.client_certificate_methods", !tls.client_certificate_methods.is_empty(), clients, has_clients),
        ("gateway.tls.certificate", !tls.certificate.is_empty(), "gateway.tls.listen", has_tls),
        ("gateway.tls.key", !tls.key.is_empty(), "gateway.tls.listen", has_tls),
        ("gateway.tls.hsts", tls.hsts != defaults.tls.hsts, "gateway.tls.listen", has_tls),
        ("gateway.proxy_protocol", gateway.proxy_protocol, "gateway.trusted_proxies", has_proxies),
        (
            "gateway.client_address_header",
            gateway.client_address_header != defaults.client_address_header,
            "gateway.trusted_proxies",
            has_proxies,
        ),
    ];
    let forwards = |(prefix, of): (&String, &gateway::config::ExternalConfig)| {
        (of.forward_client_certificate && !has_clients).then(|| prefix.clone())
    };
    if let Some(prefix) = gateway.external.iter().find_map(forwards) {
        return Err(format!("gateway.external.{prefix:?}.forward_client_certificate has no effect without {clients}"));
    }
    match needs.into_iter().find(|(_, is_set, _, has)| *is_set && !has) {
        Some((key, _, needed, _)) => Err(format!("{key} has no effect without {needed}")),
        None => Ok(()),
    }
}

/// Whether the key has no effect in this process, because another key that it needs is not set. Such keys are no errors:
/// several processes may share one file, and get the other key as a variable.
pub(super) fn is_idle(config: &Config, key: &str) -> bool {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    match section {
        "trace" => name != "endpoint" && config.trace.endpoint.is_empty(),
        "limiter" => config.redis.url.expose().is_empty(),
        "redis" => name != "url" && config.redis.url.expose().is_empty(),
        "balance.shed" => name != "enabled" && !config.balance.shed.enabled,
        _ => key == "users.cooling_handles" && config.users.handle_cooling.0.is_zero(),
    }
}
